use std::collections::BTreeSet;
use std::time::Duration;

use super::rest::Quiet;
use super::watch::HEARS_CLOSING;
use super::window::Window;
use crate::wire::DeviceName;

/// How long a folder has to be quiet.
const SETTLE: Duration = Duration::from_millis(250);
/// The same, after one file was closed.
const SETTLE_ONE: Duration = Duration::from_millis(100);

/// How devices are kept.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// What this keeper and others of the same folder are called: one MQTT topic level. Of those with one name at
    /// one broker, one is at work. None: as the folder is.
    pub name: Option<String>,
    /// How many devices are given their files at once. 16.
    pub at_once: usize,
    /// After how many failures in a row a device is left alone until its folder changes. 5.
    pub attempts: u32,
    /// The devices that go first: the others wait until each of these has confirmed what it is to have, and until there
    /// is a folder for each. None.
    pub canaries: BTreeSet<DeviceName>,
    /// The groups, as [`SETTINGS_FILE`](super::SETTINGS_FILE) names them, whose devices go first as well. A group that
    /// nobody is in is waited for too. None.
    pub canary_groups: BTreeSet<String>,
    /// How many devices may be left alone, or have taken their set back, before nobody is given anything until
    /// a folder changes; None: any number.
    pub stop_after: Option<usize>,
    /// When devices are updated; None: always.
    pub window: Option<Window>,
    /// How long a folder must have been quiet before it counts what is in it. A file that somebody has open, and what git
    /// is at work on, is waited for however long that takes. None: 250 ms, and 100 ms after a single file was closed where
    /// the system tells of that.
    pub settle: Option<Duration>,
    /// How long an offered device may be silent before it is taken to be away. 30 s.
    pub connect_timeout: Duration,
    /// How long a device may take nothing of what it asked for. 20 s.
    pub idle_timeout: Duration,
    /// How long, beyond the connect time-out, a device may say, ask and take nothing: it hashes and copies its
    /// files. 2 min.
    pub confirm_timeout: Duration,
}

impl KeeperOptions {
    /// How long nothing must have changed.
    pub(super) fn quiet(&self) -> Quiet {
        let more = self.settle.unwrap_or(SETTLE);
        Quiet { one: if HEARS_CLOSING { self.settle.unwrap_or(SETTLE_ONE) } else { more }, more }
    }
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            name: None,
            at_once: 16,
            attempts: 5,
            canaries: BTreeSet::new(),
            canary_groups: BTreeSet::new(),
            stop_after: None,
            window: None,
            settle: None,
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(20),
            confirm_timeout: Duration::from_secs(120),
        }
    }
}
