use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread::{self, JoinHandle};

use super::owner;

/// The calls that change the disk. A set goes through no others, so that a test can end the power at each
/// of them.
pub(super) trait Disk: Send + Sync + 'static {
    /// A file that is being written.
    type File: Send;

    /// Makes a file, empty where it was there.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to write behind its end.
    fn append(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes all the bytes.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Brings what was written to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Begins to bring what was written to the disk, beside what is written next. The call to
    /// [`Syncing::end`] is what tells of a failure.
    fn begin_sync(&self, file: &Self::File) -> io::Result<Syncing>;
    /// Brings the names in a folder to the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of whatever file has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes one folder.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file the owner and the permissions of another, or the owner of a folder.
    fn dress(&self, path: &Path, like: &Path) -> io::Result<()>;
    /// The space that is left, in bytes, where the system tells it.
    fn free(&self, path: &Path) -> Option<u64>;
}

/// A sync that goes on beside the writing.
#[derive(Debug, Default)]
pub(super) struct Syncing(Option<JoinHandle<io::Result<()>>>);

impl Syncing {
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it. What it could not write must be heard here: the system tells each error once, so the
    /// last sync would not repeat it.
    pub(super) fn end(self) -> io::Result<()> {
        match self.0 {
            Some(syncing) => {
                syncing.join().map_err(|_| io::Error::other("the thread that syncs has ended"))?
            }
            None => Ok(()),
        }
    }
}

/// Syncs of files that go on side by side: many small ones one after the other wait for the disk each.
#[derive(Debug, Default)]
pub(super) struct Syncs(VecDeque<Syncing>);

impl Syncs {
    /// At once. Each is a thread.
    const MAX: usize = 16;

    pub(super) fn add(&mut self, syncing: Syncing) -> io::Result<()> {
        self.0.push_back(syncing);
        if self.0.len() <= Self::MAX {
            return Ok(());
        }
        self.0.pop_front().map_or(Ok(()), Syncing::end)
    }

    /// Waits for all of them.
    pub(super) fn end(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(Syncing::end)
    }
}

/// The disk of the system.
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

    /// Windows has no such call: there the file system's journal has to do. Nor have some file systems.
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
        // Another owner takes away some of them, so they come last.
        if like.is_file() { fs::set_permissions(path, like.permissions()) } else { Ok(()) }
    }

    fn free(&self, path: &Path) -> Option<u64> {
        fs4::available_space(path).ok()
    }
}
