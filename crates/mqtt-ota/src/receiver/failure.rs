use std::io;

use crate::wire::Reason;

/// Reason why an offer was not installed, as the status reports it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// Returns the failure for a file that is longer than `limit`, in bytes.
    pub(super) fn over(limit: u64) -> Self {
        Self::new(Reason::NoSpace, format!("over {limit} bytes"))
    }

    /// Returns the failure for an error of the disk.
    pub(super) fn write(error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Reason::NoSpace
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                return Self::new(Reason::Write, "the file system is read-only");
            }
            _ => Reason::Write,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::write(&error)
    }
}
