use std::time::Duration;

/// Behaviour of a device of a [`Fleet`](crate::Fleet). The default device is always awake, takes sets and installs
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// Times at which the device is connected to the broker.
    pub rhythm: Rhythm,
    /// Result of the offers that the device hears.
    pub ending: Ending,
    /// True if the device announces no `set`, and takes plain offers alone.
    pub is_plain: bool,
}

/// Times at which a device is connected to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rhythm {
    /// Always connected.
    #[default]
    Awake,
    /// Connected for `awake` in every `period`, from a random moment on. When the fleet starts, the device is connected
    /// just long enough to announce itself.
    Sleeps {
        /// Time from one wake to the next.
        period: Duration,
        /// Duration of each connection. A transfer that is under way at its end prolongs it, unless `is_cut` is true.
        awake: Duration,
        /// True if a transfer that is under way at the end is cut off hard, as by a battery. What was staged stays.
        is_cut: bool,
    },
}

/// Result of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// The offer is installed.
    #[default]
    Installs,
    /// The offer does not fit: `failed`, with `no-space`.
    NoSpace,
    /// The set is installed, and taken back by the boot that follows.
    RollsBack,
}
