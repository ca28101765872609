use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread::{self, JoinHandle};

use super::owner;

/// Calls that change the disk. A set makes all its changes through them, so that a test can cut the power at each
/// call.
pub(super) trait Disk: Send + Sync + 'static {
    /// File that is being written.
    type File: Send;

    /// Creates a file, or empties an existing one.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to append to it.
    fn append(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes all the bytes.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Syncs a file's contents to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Begins to sync a file's contents while more is written. [`Syncing::end`] reports whether it failed.
    fn begin_sync(&self, file: &Self::File) -> io::Result<Syncing>;
    /// Syncs the names in a folder to the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, in place of any file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates one folder.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file the owner and the permissions of another file, or the owner of a folder.
    fn dress(&self, path: &Path, like: &Path) -> io::Result<()>;
    /// Returns the free space in bytes, if the system reports it.
    fn free(&self, path: &Path) -> Option<u64>;
}

/// Sync that runs while more is written.
#[derive(Debug, Default)]
pub(super) struct Syncing(Option<JoinHandle<io::Result<()>>>);

impl Syncing {
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the sync and reports its error.
    ///
    /// The error must be taken here: the system reports each error once, so the last sync would not repeat it.
    pub(super) fn end(self) -> io::Result<()> {
        match self.0 {
            Some(syncing) => {
                syncing.join().map_err(|_| io::Error::other("the thread that syncs has ended"))?
            }
            None => Ok(()),
        }
    }
}

/// Syncs of files that run side by side. Many small files, synced one after the other, would each wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Syncs(VecDeque<Syncing>);

impl Syncs {
    /// Number of syncs beyond which `add` waits for the oldest one. Each sync takes a thread.
    const MAX: usize = 16;

    pub(super) fn add(&mut self, syncing: Syncing) -> io::Result<()> {
        self.0.push_back(syncing);
        if self.0.len() <= Self::MAX {
            return Ok(());
        }
        self.0.pop_front().map_or(Ok(()), Syncing::end)
    }

    /// Waits for all syncs.
    pub(super) fn end(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(Syncing::end)
    }
}

/// Disk of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        File::options().append(true).open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn begin_sync(&self, file: &File) -> io::Result<Syncing> {
        let file = file.try_clone()?;
        Ok(Syncing(Some(thread::spawn(move || file.sync_all()))))
    }

    /// Syncs the names in a folder, where the system can.
    ///
    /// Windows has no such call, so the journal of its file system has to do. Some other file systems have none either.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if !cfg!(unix) {
            return Ok(());
        }
        match File::open(path)?.sync_all() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                tracing::warn!(path = %path.display(), %error, "the folder cannot be synced");
                Ok(())
            }
            synced => synced,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        match path.parent() {
            Some(above) => owner::give(path, &fs::metadata(above)?),
            None => Ok(()),
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn dress(&self, path: &Path, like: &Path) -> io::Result<()> {
        let like = fs::metadata(like)?;
        owner::give(path, &like)?;
        // A change of owner takes away some permissions, so the permissions come last.
        if like.is_file() { fs::set_permissions(path, like.permissions()) } else { Ok(()) }
    }

    fn free(&self, path: &Path) -> Option<u64> {
        fs4::available_space(path).ok()
    }
}
