use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for a mark to come back.
const LATE: Duration = Duration::from_secs(5);
/// Wait where no marks can be made.
const BLIND: Duration = Duration::from_millis(20);

/// File without a name that is watched together with the folders. The system reports all events in order, so everything
/// before a mark in this file has been heard when the mark is.
#[derive(Debug, Default)]
pub(super) struct Marker {
    file: Option<(File, PathBuf)>,
    heard: Mutex<u64>,
    is_new: Condvar,
}

impl Marker {
    /// Creates a marker. It can be watched where the system allows that.
    pub(super) fn new() -> Self {
        let file = Self::file().inspect_err(|error| tracing::debug!(%error, "no marks can be made"));
        Self { file: file.ok().flatten(), ..Self::default() }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn file() -> io::Result<Option<(File, PathBuf)>> {
        use std::os::fd::AsRawFd as _;
        let file = tempfile::tempfile()?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        Ok(Some((file, path)))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn file() -> io::Result<Option<(File, PathBuf)>> {
        Ok(None)
    }

    /// Returns the path to watch.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(_, path)| path.as_path())
    }

    /// Takes note that a mark was reported.
    pub(super) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.is_new.notify_all();
    }

    /// Makes a mark and waits until it is heard. Returns true if everything reported before has been heard. Where no
    /// mark can be made, waits for a fixed time and returns true. Blocking.
    pub(super) fn pass(&self) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *heard;
        if self.make().is_err() {
            drop(heard);
            std::thread::sleep(BLIND);
            return true;
        }
        let waiting = self.is_new.wait_timeout_while(heard, LATE, |heard| *heard == before);
        !waiting.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    #[cfg(unix)]
    fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let (file, _) = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        file.write_all_at(b"x", 0)
    }

    #[cfg(not(unix))]
    fn make(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
