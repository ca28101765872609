use std::collections::BTreeSet;
use std::time::Duration;

use super::rest::Quiet;
use super::watch::HEARS_CLOSING;
use super::window::Window;
use crate::wire::DeviceName;

/// Default time for which a folder has to be quiet.
const SETTLE: Duration = Duration::from_millis(250);
/// Default time for which a folder has to be quiet after a single file was closed.
const SETTLE_ONE: Duration = Duration::from_millis(100);

/// Options of a [`Keeper`](super::Keeper).
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// Name shared by this keeper and others of the same folder: one MQTT topic level. Of the keepers with one name at
    /// one broker, one is at work. `None`: the name of the folder.
    pub name: Option<String>,
    /// Number of devices that are given their files at the same time. Default: 16.
    pub at_once: usize,
    /// Number of failures in a row after which a device is left alone until its folder changes. Default: 5.
    pub attempts: u32,
    /// Devices that go first. The others wait until each of these has a folder and has confirmed its set. Default:
    /// none.
    pub canaries: BTreeSet<DeviceName>,
    /// Groups, as [`SETTINGS_FILE`](super::SETTINGS_FILE) names them, whose devices go first as well. The others wait
    /// for a group without members too. Default: none.
    pub canary_groups: BTreeSet<String>,
    /// Number of devices that are left alone, or have taken their set back, at which deliveries stop until a folder
    /// changes. `None`: no limit.
    pub stop_after: Option<usize>,
    /// Hours of the day in which devices are updated. `None`: always.
    pub window: Option<Window>,
    /// Time for which a folder must have been quiet before its contents count. A file that another process has open,
    /// and git's work under way, are waited for however long they take. `None`: 250 ms, and 100 ms after a single file
    /// was closed where the system reports that.
    pub settle: Option<Duration>,
    /// Time for which an offered device may be silent before it is taken to be away. Default: 30 s.
    pub connect_timeout: Duration,
    /// Time for which a device may take nothing of what it asked for. Default: 20 s.
    pub idle_timeout: Duration,
    /// Time, beyond the connect timeout, for which a device may send nothing and take nothing, while it hashes and
    /// copies its files. Default: 2 min.
    pub confirm_timeout: Duration,
}

impl KeeperOptions {
    /// Returns the time for which nothing must have changed.
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
