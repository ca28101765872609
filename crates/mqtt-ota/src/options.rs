use std::time::Duration;

use crate::check::{Findings, Refused};
use crate::event::{Event, Observer};
use crate::wire::{Announcement, DevicePath};

/// How one file is sent.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// The file's name on the device; None: the payload's.
    pub path: Option<DevicePath>,
    /// Whether the device reboots afterwards. True.
    pub reboot: bool,
    /// Whether to wait until the device has announced itself again. False. Where the connection to the broker
    /// is lost in just that moment, it is heard of if its announcement says something new, such as another
    /// amount of free space.
    pub wait_for_boot: bool,
    /// How often a failure that may pass by itself is offered again. 2.
    pub retries: u32,
    /// The pause before offering again. 2 s.
    pub retry_pause: Duration,
    /// How long to wait for a device to connect, from the broker's acknowledgement on. 30 s.
    pub connect_timeout: Duration,
    /// Whether a device that is not subscribed is waited for as long, where it has announced itself or was here before:
    /// it may be at its reboot. True. Needs MQTT 5; a broker of 3.1.1 does not tell, and every device is waited for.
    ///
    /// So is one that postpones what it is offered ([`Outcome::Postponed`](crate::Outcome::Postponed)): as long, from the first time on that it does.
    pub wait_for_device: bool,
    /// How long a connected device may take nothing. Every byte that it takes renews it. 20 s.
    pub idle_timeout: Duration,
    /// How long to wait for a device's word once it has the whole file. 30 s.
    pub confirm_timeout: Duration,
    /// The time-out for a device that reboots: it is back by then, and has confirmed a set. 60 s.
    pub boot_timeout: Duration,
    /// What was found in the file: what is refused is not offered, and warnings are told as
    /// [`Event::Noticed`]. `None` skips both.
    pub check: Option<Findings>,
    /// Who is told what happens; None: nobody.
    pub observer: Option<Observer>,
}

impl SendOptions {
    /// Calls `tell` with everything that happens. It is called in between, so it must not block.
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

    /// Makes sure that the device may have the files, and tells the warnings.
    ///
    /// # Errors
    /// They are refused.
    pub(crate) fn allow(&self, device: Option<&Announcement>) -> Result<(), Refused> {
        let Some(check) = &self.check else { return Ok(()) };
        check.allow(device)?;
        check.warnings(device).for_each(|finding| self.tell(Event::Noticed(finding.clone())));
        Ok(())
    }

    /// Tells what the sender itself does, where anybody wants to know.
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
