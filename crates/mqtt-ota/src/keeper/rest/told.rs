use std::path::PathBuf;

/// What the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::keeper) enum Told {
    /// A file was made, or got another name; who has made it has it open.
    Created(PathBuf),
    /// Somebody who has it open has written to it, or cut it off.
    Written(PathBuf),
    /// Somebody who might write to it has closed it.
    Closed(PathBuf),
    /// It has another name, and what was there before is gone.
    Moved {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// It came from where nobody watches.
    Arrived(PathBuf),
    /// It is no longer there.
    Gone(PathBuf),
    /// Something else about it has changed.
    Other(PathBuf),
    /// Something has changed somewhere.
    Anything,
}

impl Told {
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, other) = match self {
            Self::Created(path)
            | Self::Written(path)
            | Self::Closed(path)
            | Self::Arrived(path)
            | Self::Gone(path)
            | Self::Other(path) => (Some(path), None),
            Self::Moved { from, to } => (Some(from), Some(to)),
            Self::Anything => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// Whether a file is whole by that.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Moved { .. })
    }
}
