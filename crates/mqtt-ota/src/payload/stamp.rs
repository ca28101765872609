use std::fs::Metadata;
use std::time::SystemTime;

/// What changes with a file. The length alone is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    pub(super) modified: Option<SystemTime>,
    /// The time of the last change to anything about the file, which nobody can set back.
    #[cfg(unix)]
    changed: (i64, i64),
    /// Which file it is: one that was replaced within a tick of the clock has the same times.
    #[cfg(unix)]
    identity: (u64, u64),
}

impl Stamp {
    /// As it looks now.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt;
                (metadata.ctime(), metadata.ctime_nsec())
            },
            #[cfg(unix)]
            identity: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
        }
    }

    /// Which file it is.
    #[cfg(all(unix, feature = "keeper"))]
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        Some(self.identity)
    }

    /// Which file it is.
    #[cfg(all(not(unix), feature = "keeper"))]
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        None
    }

    /// Whether the lengths and the times are the same. Some file systems have another identity for a file each time.
    #[cfg(feature = "keeper")]
    pub(super) fn is_of_same_time(&self, other: &Self) -> bool {
        #[cfg(unix)]
        let (changed, other_changed) = (self.changed, other.changed);
        #[cfg(not(unix))]
        let (changed, other_changed) = ((), ());
        (self.len, self.modified, changed) == (other.len, other.modified, other_changed)
    }
}
