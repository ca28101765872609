use std::io;
use std::path::PathBuf;

/// Error returned if a file cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The file does not exist, or may not be read.
    #[error("cannot open {}", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The path is a folder, a device, a pipe or a socket.
    #[error("{} is {}, not a file", path.display(), if *folder { "a folder" } else { "something else" })]
    NotAFile {
        /// Path.
        path: PathBuf,
        /// True if the path is a folder.
        folder: bool,
    },
    /// The file could be opened but not read.
    #[error("cannot read {name}")]
    Read {
        /// File name.
        name: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The bytes are no longer those that were hashed.
    #[error("{name} changed while it was being sent")]
    Changed {
        /// File name.
        name: String,
    },
}
