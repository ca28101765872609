use std::time::Duration;

/// What a device of a [`Fleet`](crate::Fleet) is like. As it comes: always awake, takes sets, installs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// When it is connected to the broker.
    pub rhythm: Rhythm,
    /// What becomes of the offers that it hears.
    pub ending: Ending,
    /// It announces no `set`, and takes plain offers alone.
    pub is_plain: bool,
}

/// When a device is connected to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rhythm {
    /// Always.
    #[default]
    Awake,
    /// It wakes every `period`, from a random moment on, and stays for `awake`. When the fleet starts it is there
    /// just long enough to announce itself.
    Sleeps {
        /// From one wake to the next.
        period: Duration,
        /// How long it is connected each time; longer where a transfer is under way at its end.
        awake: Duration,
        /// A transfer that is under way at the end is cut off hard, as by a battery. What was staged stays.
        is_cut: bool,
    },
}

/// What becomes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// It is installed.
    #[default]
    Installs,
    /// It does not fit: `failed`, with `no-space`.
    NoSpace,
    /// It is installed, and taken back by the boot that follows.
    RollsBack,
}
