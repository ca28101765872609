/// State of a device, as its keeper sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Never announced itself.
    Unknown,
    /// Has the set that it is to have.
    InStep,
    /// Due to be given its files as soon as there is room.
    Pending,
    /// Being given its files.
    Receiving,
    /// Rebooting with its files and not heard of since, or trying them.
    Rebooting,
    /// Asleep, and given its files when it wakes.
    Asleep,
    /// Offered its files again later, as the device has asked.
    Postponed {
        /// Requested wait, and the device's own words.
        why: String,
    },
    /// Failed, and tried again.
    Failing {
        /// Last reason.
        why: String,
    },
    /// Failed, and left alone until its folder changes.
    LeftAlone {
        /// Last reason.
        why: String,
    },
    /// Rolled back to what it had before, and left alone until its folder changes.
    RolledBack {
        /// Device's own words, or that it has given no reason.
        why: String,
    },
    /// Nothing new is sent: the keeper has noted that the folder is being written, or that git has not finished with
    /// it.
    Waiting {
        /// Activity under way.
        why: String,
    },
    /// Held back by its settings.
    Held,
    /// Kept by a keeper of another name.
    KeptElsewhere {
        /// Name of that keeper.
        keeper: String,
    },
    /// Nothing to send.
    Nothing,
}

impl Standing {
    /// Returns true if, as far as is known, the device does not work with what it is to have.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::LeftAlone { .. } | Self::RolledBack { .. })
    }
}
