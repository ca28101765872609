use std::time::Duration;

use crate::check::{Findings, Refused};
use crate::event::{Event, Observer};
use crate::wire::{Announcement, DevicePath};

/// Options for sending one file.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// File name on the device. Default: `None`, for the payload's name.
    pub path: Option<DevicePath>,
    /// Reboots the device afterwards. Default: true.
    pub reboot: bool,
    /// Waits until the device has announced itself again. Default: false.
    ///
    /// If the connection to the broker is lost in just that moment, the announcement is recognised only if it has
    /// changed, for example by a different amount of free space.
    pub wait_for_boot: bool,
    /// Number of retries after a transient failure. Default: 2.
    pub retries: u32,
    /// Pause before a retry. Default: 2 s.
    pub retry_pause: Duration,
    /// Time for a device to connect, from the broker's acknowledgement on. Default: 30 s.
    pub connect_timeout: Duration,
    /// Waits as long for a device that is not subscribed, if it has announced itself or was here before. It may be at
    /// its reboot. Default: true.
    ///
    /// Needs MQTT 5. A broker of 3.1.1 does not report subscribers, so the sender waits for every device.
    ///
    /// The sender also waits as long for a device that postpones the offer
    /// ([`Outcome::Postponed`](crate::Outcome::Postponed)), from the first time that it does.
    pub wait_for_device: bool,
    /// Longest time for which a connected device may take no byte. Default: 20 s.
    pub idle_timeout: Duration,
    /// Time for a device to report once it has the whole file. Default: 30 s.
    pub confirm_timeout: Duration,
    /// Time for a device to be back after its reboot, and to have confirmed a set. Default: 60 s.
    pub boot_timeout: Duration,
    /// Findings about the file. A file with a refused finding is not offered, and warnings are reported as
    /// [`Event::Noticed`]. `None` skips both.
    pub check: Option<Findings>,
    /// Observer that receives progress events. `None` disables them.
    pub observer: Option<Observer>,
}

impl SendOptions {
    /// Calls `tell` with every event. `tell` must not block, because it is called during the transfer.
    #[must_use]
    pub fn on_event(mut self, tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(tell));
        self
    }

    pub(crate) fn tell(&self, event: Event) {
        tracing::debug!(?event);
        if let Some(observer) = &self.observer {
            observer.tell(event);
        }
    }

    /// Checks that the device may have the files, and reports the warnings.
    ///
    /// # Errors
    /// Returns an error if the files are refused.
    pub(crate) fn allow(&self, device: Option<&Announcement>) -> Result<(), Refused> {
        let Some(check) = &self.check else { return Ok(()) };
        check.allow(device)?;
        check.warnings(device).for_each(|finding| self.tell(Event::Noticed(finding.clone())));
        Ok(())
    }

    /// Reports an event of the sender itself, if anybody wants to know.
    pub(crate) fn tell_own(&self, event: impl FnOnce() -> Event) {
        let is_told = self.observer.as_ref().is_some_and(Observer::is_curious);
        if is_told || tracing::enabled!(tracing::Level::DEBUG) {
            self.tell(event());
        }
    }
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            path: None,
            reboot: true,
            wait_for_boot: false,
            retries: 2,
            retry_pause: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(30),
            wait_for_device: true,
            idle_timeout: Duration::from_secs(20),
            confirm_timeout: Duration::from_secs(30),
            boot_timeout: Duration::from_secs(60),
            check: None,
            observer: None,
        }
    }
}
