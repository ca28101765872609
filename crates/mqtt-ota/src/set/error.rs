use std::io;
use std::path::PathBuf;

use crate::payload::PayloadError;
use crate::wire::{Manifest, ManifestError, PathError};

/// The file that says which files of a folder are not sent, in the syntax of `.gitignore`.
pub const IGNORE_FILE: &str = ".mqttotaignore";

/// Why some files, or those of a folder, cannot be sent as a set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The folder, or something in it, is not there or may not be read.
    #[error("cannot read {}", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder in it cannot be read, or a line of a [`IGNORE_FILE`] not be understood.
    #[error("cannot tell which files are to be sent")]
    Walk(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is nothing to send in it.
    #[error("there is no file to send in {}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// More files than a set may have.
    #[error("there are more than {} files to send in {}", Manifest::MAX_LINES, path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A set without files.
    #[error("a set has at least one file")]
    Nothing,
    /// A link to a folder.
    #[error("{} is a link to a folder, which is not followed", path.display())]
    LinkToFolder {
        /// The link.
        path: PathBuf,
    },
    /// A link to a file that git-annex has not fetched.
    #[error("{} is a link to a file that git-annex has not fetched", path.display())]
    Annex {
        /// The link.
        path: PathBuf,
    },
    /// A file's name is not UTF-8.
    #[error("the name of {} is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file's own name cannot be its name on the device.
    #[error("{} cannot be a file on the device", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The rule that its name breaks.
        source: PathError,
    },
    /// A file.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// What the files are together.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SetError {
    /// What to try next, as a sentence.
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
