/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It has never announced itself.
    Unknown,
    /// It has what it is to have.
    InStep,
    /// It is to be given its files as soon as there is room.
    Pending,
    /// It is being given its files.
    Receiving,
    /// It has its files and reboots, was not heard of since, or has them on trial.
    Rebooting,
    /// It is given its files when it wakes.
    Asleep,
    /// It has asked to be offered its files again later, and is.
    Postponed {
        /// For how long, and the device's own words.
        why: String,
    },
    /// It did not work, and is tried again.
    Failing {
        /// The last reason.
        why: String,
    },
    /// It did not work, and is left alone until its folder changes.
    LeftAlone {
        /// The last reason.
        why: String,
    },
    /// It has taken the set back, and is left alone until its folder changes.
    RolledBack {
        /// The device's own words, or that it has said none.
        why: String,
    },
    /// Nothing new is sent: its keeper has noted that its folder is written to, or that git has not finished with it.
    Waiting {
        /// What is under way.
        why: String,
    },
    /// Its settings say that it is held back.
    Held,
    /// A keeper of another name has it.
    KeptElsewhere {
        /// Its name.
        keeper: String,
    },
    /// There is nothing to send it.
    Nothing,
}

impl Standing {
    /// Whether the device does not work with what it is to have, as far as is known.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::LeftAlone { .. } | Self::RolledBack { .. })
    }
}
