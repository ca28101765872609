use std::io;
use std::path::PathBuf;

use crate::payload::PayloadError;
use crate::wire::{Manifest, ManifestError, PathError};

/// Name of the file that lists the files of a folder that are not sent, in the syntax of `.gitignore`.
pub const IGNORE_FILE: &str = ".mqttotaignore";

/// Error returned if files, or those of a folder, cannot be sent as a set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The folder, or something in it, does not exist or may not be read.
    #[error("cannot read {}", path.display())]
    Folder {
        /// Path that cannot be read.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The path is not a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// Path.
        path: PathBuf,
    },
    /// An [`IGNORE_FILE`] cannot be read, or one of its lines cannot be understood.
    #[error("cannot tell which files are to be sent")]
    Walk(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder has no file to send.
    #[error("there is no file to send in {}", path.display())]
    Empty {
        /// Folder.
        path: PathBuf,
    },
    /// The folder has more files than a set may have.
    #[error("there are more than {} files to send in {}", Manifest::MAX_LINES, path.display())]
    TooMany {
        /// Folder.
        path: PathBuf,
    },
    /// The set has no files.
    #[error("a set has at least one file")]
    Nothing,
    /// The folder has a link to a folder.
    #[error("{} is a link to a folder, which is not followed", path.display())]
    LinkToFolder {
        /// Path of the link.
        path: PathBuf,
    },
    /// The folder has a link to a file that git-annex has not fetched.
    #[error("{} is a link to a file that git-annex has not fetched", path.display())]
    Annex {
        /// Path of the link.
        path: PathBuf,
    },
    /// The name of a file is not UTF-8.
    #[error("the name of {} is not UTF-8", path.display())]
    NotText {
        /// Path of the file.
        path: PathBuf,
    },
    /// The name of a file cannot be its name on the device.
    #[error("{} cannot be a file on the device", path.display())]
    Name {
        /// Path of the file.
        path: PathBuf,
        /// Rule that the name breaks.
        source: PathError,
    },
    /// A file cannot be sent.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The files together do not form a set.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SetError {
    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Folder { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "is the name right, and do its links point to files?".to_owned()
            }
            Self::NotAFolder { .. } => "a single file is sent with `mqtt-ota send`".to_owned(),
            Self::Walk(_) => format!("{IGNORE_FILE} has the syntax of .gitignore"),
            Self::Empty { .. } => format!(
                "files whose name begins with a dot are not sent, unless {IGNORE_FILE} says `!.name`, nor are those that it names"
            ),
            Self::Annex { .. } => "`git annex get` fetches it".to_owned(),
            Self::LinkToFolder { .. } => format!("copy what it points to, or name it in {IGNORE_FILE}"),
            Self::NotText { .. } | Self::Name { .. } => format!("rename it, or name it in {IGNORE_FILE}"),
            Self::TooMany { .. }
            | Self::Manifest(ManifestError::TooMany { .. } | ManifestError::TooLong { .. }) => {
                format!("name what the device does not need in {IGNORE_FILE}")
            }
            Self::Payload(PayloadError::NotAFile { .. }) => format!("name it in {IGNORE_FILE}"),
            Self::Payload(PayloadError::Changed { .. }) => {
                "the device keeps what it has: send again once the files are written".to_owned()
            }
            _ => return None,
        })
    }
}
