use std::fmt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Linux's file system in memory.
const MEMORY: &str = "/dev/shm";

/// Folder for files, on a disk or in memory. A device that syncs its files waits for the disk.
#[derive(Debug)]
pub(crate) struct Place {
    what: &'static str,
    folder: TempDir,
}

impl Place {
    /// Creates a folder on the disk that has the build, as the folder for temporary files may be in memory.
    pub(crate) fn disk() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
        Self { what: "disk", folder }
    }

    /// Creates a folder in memory, if this machine has room for `bytes` bytes there. Many containers do not.
    pub(crate) fn memory(bytes: u64) -> Option<Self> {
        let room = free(MEMORY)?;
        let folder = (room > bytes).then(|| tempfile::tempdir_in(MEMORY).ok())??;
        Some(Self { what: "memory", folder })
    }

    /// Creates a folder in each kind of place that has room for `bytes` bytes, the fastest first.
    pub(crate) fn all(bytes: u64) -> Vec<Self> {
        Self::memory(bytes).into_iter().chain([Self::disk()]).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

#[cfg(unix)]
fn free(folder: &str) -> Option<u64> {
    let room = rustix::fs::statvfs(folder).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

#[cfg(not(unix))]
fn free(_folder: &str) -> Option<u64> {
    None
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}
