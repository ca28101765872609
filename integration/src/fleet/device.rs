use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use mqtt_ota::wire::{Algorithm, InstalledSet, SetTerms, State, Status};
use mqtt_ota::{Announcement, DeviceName, Digest};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::at::At;
use super::awake::{Awake, Due, End, end_of};
use super::behaviour::{Behaviour, Rhythm};
use super::interface::Interface;
use super::ledger::{FleetDevice, Ledger};
use super::session::Session;
use super::staging::Staging;

/// First pause before a broker that refuses is asked again. The pause doubles each time, up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Reason that a device gives for taking a set back.
const BOOT_FAILED: &str = "the fleet takes it back";

/// Data that all devices of a fleet have in common.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) at: At,
    pub(super) ledger: Ledger,
    /// Limit on devices that connect to the broker at once, as its queue of connections is short.
    pub(super) connecting: Semaphore,
    /// Limit on devices that take an offer at once, so that there are enough open files for their connections.
    pub(super) taking: Semaphore,
    /// Duration of a reboot.
    pub(super) boot: Duration,
}

impl Ground {
    pub(super) fn heard(&self, index: usize) {
        self.ledger.change(index, |device| device.offers += 1);
    }

    pub(super) fn received(&self, index: usize, bytes: usize) {
        self.ledger.change(index, |device| device.received += bytes as u64);
    }
}

/// Actions of a test on a device.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// Wakes the device.
    pub(super) wake: Notify,
    /// Cuts the device's power.
    pub(super) cut: Notify,
}

/// Task of one device.
pub(super) struct Device {
    pub(super) ground: Arc<Ground>,
    pub(super) index: usize,
    pub(super) interface: Interface,
    pub(super) name: DeviceName,
    pub(super) behaviour: Behaviour,
    pub(super) switches: Arc<Switches>,
    pub(super) rng: Rng,
    pub(super) staging: Staging,
    /// Set that was taken back, until the device has reported it.
    pub(super) back: Option<Digest>,
}

impl Device {
    /// Runs for ever.
    pub(super) async fn run(mut self) {
        let Rhythm::Sleeps { period, awake, .. } = self.behaviour.rhythm else {
            loop {
                self.be_awake(None).await;
            }
        };
        let start = Instant::now();
        let mut next = start + period.mul_f64(self.rng.f64());
        let mut until = start;
        loop {
            while matches!(self.be_awake(Some(until)).await, End::Again) {}
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.switches.wake.notified() => {}
            }
            let now = Instant::now();
            until = now + awake;
            while next <= now {
                next += period;
            }
        }
    }

    async fn be_awake(&mut self, until: Option<Instant>) -> End {
        let switches = Arc::clone(&self.switches);
        let mut awake = Awake { session: None, noted: VecDeque::new(), until, due: None };
        let on = async {
            awake.session = Some(self.connect().await);
            self.serve(&mut awake).await
        };
        let end = tokio::select! {
            end = on => end,
            () = switches.cut.notified() => End::Cut,
        };
        if let (End::Asleep, Some(session)) = (&end, awake.session) {
            let _ = session.close().await;
        }
        self.change(|device| device.is_online = false);
        end
    }

    /// Connects, subscribes and announces, as often as it takes.
    async fn connect(&mut self) -> Session {
        let mut pause = PAUSE;
        loop {
            if let Ok(session) = self.join().await {
                return session;
            }
            // A random factor keeps the devices from asking all at once.
            sleep(pause.mul_f64(0.5 + self.rng.f64())).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    async fn join(&mut self) -> io::Result<Session> {
        let connecting = self.ground.connecting.acquire().await;
        let topic = self.name.offer_topic();
        let mut session = Session::open(&self.ground.at, self.interface, self.name.as_str(), &topic).await?;
        drop(connecting);
        let announcement = self.see(|device| self.announcement(device).to_string());
        session.publish(self.name.announcement_topic(), announcement, true)?;
        if let Some(digest) = self.back {
            let status = Status::new(State::RolledBack, &SetTerms::path(), &digest, BOOT_FAILED);
            session.publish(self.name.status_topic(), status.to_string(), false)?;
        }
        session.settle().await?;
        self.back = None;
        self.change(|device| {
            device.is_online = true;
            device.announcements += 1;
        });
        Ok(session)
    }

    fn announcement(&self, device: &FleetDevice) -> Announcement {
        let mut announcement = Announcement::new();
        announcement.client = Some("fleet 0".to_owned());
        announcement.address = Some(self.interface.address());
        announcement.free = Some(1_000_000);
        announcement.algorithms = vec![Algorithm::Sha256];
        if !self.behaviour.is_plain {
            announcement.set = Some(device.set.map_or(InstalledSet::Nothing, InstalledSet::Set));
            announcement.rolled_back = device.rolled_back;
            announcement.error = device.rolled_back.map(|_| BOOT_FAILED.to_owned());
        }
        announcement
    }

    async fn serve(&mut self, awake: &mut Awake) -> End {
        loop {
            let message = match (awake.noted.pop_front(), &mut awake.session) {
                (Some(noted), _) => noted,
                (None, _) if awake.due.is_some() => return self.reboot(awake).await,
                (None, None) => return End::Again,
                (None, Some(session)) => tokio::select! {
                    biased;
                    message = session.message() => {
                        let Ok(message) = message else { return End::Again };
                        self.ground.heard(self.index);
                        message
                    }
                    () = end_of(awake.until) => return End::Asleep,
                },
            };
            if let Some(end) = self.answer(awake, &message).await {
                return end;
            }
        }
    }

    /// Reboots after an installation, once the broker has acknowledged the status.
    async fn reboot(&mut self, awake: &mut Awake) -> End {
        if let Some(session) = &mut awake.session {
            let _ = session.settle().await;
        }
        if let Some(Due { digest, former, .. }) = awake.due.take() {
            self.back = former.as_ref().map(|_| digest);
            self.change(|device| {
                (device.is_online, device.is_to_reboot) = (false, false);
                *device.reboots.entry(digest).or_default() += 1;
                if let Some(former) = former {
                    (device.set, device.files, device.set_files) =
                        (former.set, former.files, former.set_files);
                    device.rolled_back = Some(digest);
                }
            });
            if !self.ground.boot.is_zero() {
                sleep(self.ground.boot).await;
            }
        }
        // A board that resets says nothing to its broker, which notices when the board is back.
        awake.session = None;
        End::Again
    }

    pub(super) fn see<T>(&self, see: impl FnOnce(&FleetDevice) -> T) -> T {
        self.ground.ledger.look(|devices| see(&devices[self.index]))
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut FleetDevice) -> T) -> T {
        self.ground.ledger.change(self.index, change)
    }
}
