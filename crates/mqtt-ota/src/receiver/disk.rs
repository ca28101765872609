use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

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
    /// Gives a file the permissions of another.
    fn dress(&self, path: &Path, like: &Path) -> io::Result<()>;
    /// The space that is left, in bytes, where the system tells it.
    fn free(&self, path: &Path) -> Option<u64>;
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
        fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn dress(&self, path: &Path, like: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::metadata(like)?.permissions())
    }

    fn free(&self, path: &Path) -> Option<u64> {
        fs4::available_space(path).ok()
    }
}
