use std::fs::Metadata;
use std::time::SystemTime;

/// Metadata that change with a file. The length alone is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    pub(super) modified: Option<SystemTime>,
    /// Time of the last change to anything about the file. Nobody can set it back.
    #[cfg(unix)]
    changed: (i64, i64),
    /// Device and number of the file. A file that was replaced within a tick of the clock has the same times.
    #[cfg(unix)]
    identity: (u64, u64),
}

impl Stamp {
    /// Takes the stamp from metadata.
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

    /// Returns the device and number of the file.
    #[cfg(all(unix, feature = "keeper"))]
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        Some(self.identity)
    }

    /// Returns `None`, because files have no such numbers here.
    #[cfg(all(not(unix), feature = "keeper"))]
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        None
    }

    /// Returns true if the lengths and the times are the same. Some file systems give a file a new number each time.
    #[cfg(feature = "keeper")]
    pub(super) fn is_of_same_time(&self, other: &Self) -> bool {
        #[cfg(unix)]
        let (changed, other_changed) = (self.changed, other.changed);
        #[cfg(not(unix))]
        let (changed, other_changed) = ((), ());
        (self.len, self.modified, changed) == (other.len, other.modified, other_changed)
    }
}
