use std::path::PathBuf;

/// Event that the system reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::keeper) enum Told {
    /// File created, or given another name. A process that has created it has it open.
    Created(PathBuf),
    /// File written to or truncated by a process that has it open.
    Written(PathBuf),
    /// File closed by a process that could write to it.
    Closed(PathBuf),
    /// Path renamed, in the place of what was there before.
    Moved {
        /// Old path.
        from: PathBuf,
        /// New path.
        to: PathBuf,
    },
    /// Path that came from a folder that is not watched.
    Arrived(PathBuf),
    /// Path that is no longer there.
    Gone(PathBuf),
    /// Path with any other change.
    Other(PathBuf),
    /// Change in an unknown place.
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

    /// Returns true if the event leaves a whole file.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Moved { .. })
    }
}
