use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::KeeperError;

/// Folder with the devices' folders, as it was found at its path. A link there may lead elsewhere later on, and another
/// folder may be put in its place.
#[derive(Debug)]
pub(super) struct Root {
    /// Path without links.
    path: PathBuf,
    /// Folder held open, so that no other folder can get its identity meanwhile. `None` where folders cannot be opened.
    folder: Option<File>,
    /// Device and number of the folder. `None` where folders have none.
    identity: Option<(u64, u64)>,
}

impl Root {
    /// Opens the folder that is at `path` now. Blocking.
    ///
    /// # Errors
    /// There is no folder that may be read.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        fs::read_dir(&path)?;
        let folder = File::open(&path).ok();
        let identity = folder.as_ref().and_then(identity);
        Ok(Self { path, folder, identity })
    }

    /// Returns the path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if the two are the same folder.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.path, self.identity) == (&other.path, other.identity)
    }

    /// Reserves the folder for this keeper, where the system can do that.
    ///
    /// # Errors
    /// The folder has another keeper on this machine.
    pub(super) fn lock(&self) -> Result<(), KeeperError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match fs4::FileExt::try_lock(folder) {
            Ok(()) => Ok(()),
            Err(fs4::TryLockError::WouldBlock) => Err(KeeperError::Taken { path: self.path.clone() }),
            Err(fs4::TryLockError::Error(error)) => {
                tracing::debug!(%error, "the folder cannot be locked");
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn identity(folder: &File) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &File) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_place_of_another_one_is_another_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("devices");
        fs::create_dir(&path).unwrap();
        let first = Root::at(&path).unwrap();
        assert!(first.is(&Root::at(&path).unwrap()));
        if cfg!(unix) {
            fs::remove_dir(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(!first.is(&Root::at(&path).unwrap()));
        }
    }

    #[test]
    fn a_folder_has_one_keeper_as_long_as_that_has_it() {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = (Root::at(home.path()).unwrap(), Root::at(home.path()).unwrap());
        first.lock().unwrap();
        if second.folder.is_some() {
            drop(Root::at(home.path()).unwrap());
            assert!(matches!(second.lock(), Err(KeeperError::Taken { .. })));
        }
        drop(first);
        second.lock().unwrap();
    }

    #[test]
    fn what_is_no_folder_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        assert!(Root::at(&home.path().join("gone")).is_err());
        fs::write(home.path().join("file"), "").unwrap();
        assert!(Root::at(&home.path().join("file")).is_err());
    }
}
