use std::io;
use std::path::PathBuf;

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is not there, or may not be read.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, a device, a pipe or a socket.
    #[error("{} is {}, not a file", path.display(), if *folder { "a folder" } else { "something else" })]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// Whether it is a folder.
        folder: bool,
    },
    /// It could be opened and cannot be read.
    #[error("cannot read {name}")]
    Read {
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its bytes are no longer those that were hashed.
    #[error("{name} changed while it was being sent")]
    Changed {
        /// The file.
        name: String,
    },
}
