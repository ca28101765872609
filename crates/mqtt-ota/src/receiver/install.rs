use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::disk::{Disk, SystemDisk};
use super::failure::Failure;
use super::owner;
use super::recovery::Recovery;
use super::store::Store;
use crate::wire::{DevicePath, Digest, Reason, STATE_FOLDER};

/// Prefix of the names of temporary files.
const INCOMING: &str = "incoming-";

/// Folder that holds the device's files.
#[derive(Debug, Clone)]
pub(super) struct Root(Arc<Store<SystemDisk>>);

impl Root {
    /// Opens the folder, as a boot of the device.
    ///
    /// Creates the folder and the one for state below it, removes files that an earlier run left half received, and
    /// finishes what was begun with a set.
    pub(super) async fn open(path: PathBuf) -> io::Result<(Self, Recovery)> {
        blocking(move || {
            let state = path.join(STATE_FOLDER);
            fs::create_dir_all(&state)?;
            for entry in fs::read_dir(&state)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                    fs::remove_file(entry.path())?;
                }
            }
            let store = Store::new(SystemDisk, path.canonicalize()?);
            let recovery = store.boot()?;
            Ok((Self(Arc::new(store)), recovery))
        })
        .await
    }

    /// Runs work on the files in a thread that may block.
    pub(super) async fn with<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        work: impl FnOnce(&Store<SystemDisk>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let store = Arc::clone(&self.0);
        spawn_blocking(move || work(&store)).await.map_err(io::Error::other)?
    }

    /// Creates a temporary file in the file system of the root. The file is removed unless it is installed.
    pub(super) async fn incoming(&self) -> Result<NamedTempFile, Failure> {
        self.with(|store| {
            let state = store.folder();
            fs::create_dir_all(&state)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(INCOMING);
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
            Ok(builder.tempfile_in(&state)?)
        })
        .await
    }

    /// Returns the place of a file, and creates its folder. With all links followed, the place must be below the
    /// root.
    pub(super) async fn place(&self, path: &DevicePath) -> Result<Place, Failure> {
        let path = path.clone();
        let target = self
            .with(move |store| {
                let target = store.locate(&path)?;
                store.make_folders(&target)?;
                if fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
                    return Err(Failure::new(Reason::BadName, "what has this name is no file"));
                }
                Ok(target)
            })
            .await?;
        Ok(Place { root: self.clone(), target })
    }
}

/// Place of one file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: Root,
    target: PathBuf,
}

impl Place {
    /// Returns true if the file in this place has this digest.
    pub(super) async fn holds(&self, digest: Digest) -> bool {
        let target = self.target.clone();
        self.root.with(move |store| Ok::<_, io::Error>(store.holds(&target, digest))).await.unwrap_or(false)
    }

    /// Replaces the old file by a checked one.
    ///
    /// The new file is synced and renamed over the old one, and the folder is synced. After a power cut, one or the
    /// other is there.
    pub(super) async fn install(self, incoming: NamedTempFile) -> Result<(), Failure> {
        let Self { root, target } = self;
        root.with(move |store| {
            incoming.as_file().sync_all()?;
            if let Ok(old) = fs::metadata(&target) {
                owner::give_open(incoming.as_file(), &old)?;
                #[cfg(unix)]
                incoming.as_file().set_permissions(old.permissions())?;
            } else if let Some(folder) = target.parent() {
                owner::give_open(incoming.as_file(), &fs::metadata(folder)?)?;
            }
            store.alter()?;
            incoming.persist(&target).map_err(|error| error.error)?;
            // The new file is in place, and some file systems cannot sync a folder. An error is therefore only
            // logged.
            if let Some(folder) = target.parent()
                && let Err(error) = store.disk.sync_folder(folder)
            {
                tracing::warn!(path = %target.display(), %error, "the folder could not be synced");
            }
            Ok(())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
