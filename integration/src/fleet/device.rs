use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use mqtt_ota::wire::{Algorithm, AnyOffer, Content, ExtendedOffer, InstalledSet, SetTerms, State, Status};
use mqtt_ota::{Announcement, DeviceName, Digest, Offer, Reason};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::behaviour::{Behaviour, Ending, Rhythm};
use super::ledger::{FleetDevice, Ledger};
use super::session::{At, Session};
use super::transfer::{Failure, Staging, take_plain};

/// How many offers a device notes while it is busy with one, as the companion client does.
const NOTED: usize = 4;
/// The first pause before a broker that refuses is asked again; it doubles, but not beyond [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// What a device that takes back says why.
const BOOT_FAILED: &str = "the fleet takes it back";

/// What all devices of a fleet have in common.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) at: At,
    pub(super) ledger: Ledger,
    /// Devices that connect to the broker at once: its queue of connections is short.
    pub(super) connecting: Semaphore,
    /// Devices that take something at once, so that there are files enough for their connections.
    pub(super) taking: Semaphore,
}

impl Ground {
    fn heard(&self, index: usize) {
        self.ledger.change(index, |device| device.offers += 1);
    }

    fn received(&self, index: usize, bytes: usize) {
        self.ledger.change(index, |device| device.received += bytes as u64);
    }
}

/// What a test does to a device.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// It wakes now.
    pub(super) wake: Notify,
    /// Its power is cut now.
    pub(super) cut: Notify,
}

/// The task that is one device.
pub(super) struct Device {
    pub(super) ground: Arc<Ground>,
    pub(super) index: usize,
    pub(super) name: DeviceName,
    pub(super) behaviour: Behaviour,
    pub(super) switches: Arc<Switches>,
    pub(super) rng: Rng,
    pub(super) staging: Staging,
    /// The set that was taken back, until that is said.
    pub(super) back: Option<Digest>,
}

/// One time that the device is on, from its boot or its waking to its end.
struct Awake {
    /// None where the broker is lost.
    session: Option<Session>,
    /// Offers that came meanwhile.
    noted: VecDeque<Bytes>,
    until: Option<Instant>,
    /// What was installed, and waits for its reboot.
    due: Option<Due>,
}

/// A reboot that is due.
struct Due {
    digest: Digest,
    is_set: bool,
    /// What the boot puts back.
    former: Option<Box<FleetDevice>>,
}

/// Why an [`Awake`] ends.
enum End {
    /// It boots or connects anew at once.
    Again,
    /// It goes to sleep.
    Asleep,
    /// Its power is gone.
    Cut,
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
            // Not all of them at once.
            sleep(pause.mul_f64(0.5 + self.rng.f64())).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
    }

    async fn join(&mut self) -> io::Result<Session> {
        let connecting = self.ground.connecting.acquire().await;
        let topic = self.name.offer_topic();
        let mut session = Session::open(&self.ground.at, self.name.as_str(), &topic).await?;
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
        announcement.address = Some(self.ground.at.address.ip());
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

    /// Takes one offer to its status.
    async fn answer(&mut self, awake: &mut Awake, message: &Bytes) -> Option<End> {
        let taken = match AnyOffer::parse(message) {
            Ok(AnyOffer::Plain(offer)) => self.answer_plain(awake, &offer).await,
            Ok(AnyOffer::Extended(_)) if self.behaviour.is_plain => {
                Ok(Err(Failure::new(Reason::BadOffer, "it takes plain offers")))
            }
            Ok(AnyOffer::Extended(offer)) => self.answer_extended(awake, &offer).await,
            Err(error) => Ok(Err(Failure::new(Reason::BadOffer, error))),
        };
        let failure = match taken {
            Ok(Ok(())) => return None,
            Ok(Err(failure)) => failure,
            Err(end) => return Some(end),
        };
        let detail = format!("{} {}", failure.reason, failure.text);
        self.change(|device| device.failures.push(detail.clone()));
        let (path, digest) = Offer::fields_of_invalid(message);
        let (path, digest) = (path.to_owned(), digest.to_owned());
        self.say(awake, Status { state: State::Failed, path, digest, detail });
        None
    }

    async fn answer_plain(&mut self, awake: &mut Awake, offer: &Offer) -> Result<Result<(), Failure>, End> {
        let status = |state, detail: &str| Status::new(state, &offer.path, &offer.digest, detail);
        if self.see(|device| device.files.get(&offer.path) == Some(&offer.digest)) {
            self.say(awake, status(State::Installed, Status::UNCHANGED));
            return Ok(Ok(()));
        }
        if self.behaviour.ending == Ending::NoSpace {
            return Ok(Err(no_space()));
        }
        self.say(awake, status(State::Receiving, ""));
        let (ground, index, is_cut) = (Arc::clone(&self.ground), self.index, self.is_cut());
        let taking = async {
            let _one = ground.taking.acquire().await;
            take_plain(offer, &|bytes| ground.received(index, bytes)).await
        };
        if let Err(failure) = awake.during(is_cut, || ground.heard(index), taking).await? {
            return Ok(Err(failure));
        }
        self.change(|device| {
            device.put(offer.path.clone(), offer.digest);
            device.is_to_reboot |= offer.reboot;
        });
        self.say(awake, status(State::Installed, ""));
        if offer.reboot {
            awake.due = Some(Due { digest: offer.digest, is_set: false, former: None });
        }
        Ok(Ok(()))
    }

    async fn answer_extended(
        &mut self,
        awake: &mut Awake,
        offer: &ExtendedOffer,
    ) -> Result<Result<(), Failure>, End> {
        let status = |state, detail: &str| Status::new(state, &offer.path(), &offer.digest, detail);
        let has_it = self.see(|device| match &offer.content {
            Content::File(path) => device.files.get(path) == Some(&offer.digest),
            _ => device.set == Some(offer.digest),
        });
        let is_on_trial = awake.due.as_ref().is_some_and(|due| due.is_set);
        match &offer.content {
            Content::Set(terms) if terms.dry_run => {
                return Ok(Err(Failure::new(Reason::BadOffer, "the fleet runs nothing dry")));
            }
            Content::Set(_) | Content::File(_) if has_it => {
                self.say(awake, status(State::Installed, Status::UNCHANGED));
                return Ok(Ok(()));
            }
            _ if is_on_trial => return Ok(Err(Failure::new(Reason::Busy, "a set is on trial"))),
            Content::Set(_) | Content::File(_) => {}
            _ => return Ok(Err(Failure::new(Reason::Gone, "the fleet keeps no copies"))),
        }
        if self.behaviour.ending == Ending::NoSpace {
            return Ok(Err(no_space()));
        }
        self.say(awake, status(State::Receiving, &offer.id.to_string()));
        let files = self.see(|device| device.files.clone());
        let (ground, index, is_cut) = (Arc::clone(&self.ground), self.index, self.is_cut());
        let staging = &mut self.staging;
        let taking = async {
            let _one = ground.taking.acquire().await;
            staging.take(offer, &files, &|bytes| ground.received(index, bytes)).await
        };
        let taken = awake.during(is_cut, || ground.heard(index), taking).await?;
        let taken = match taken {
            Ok(taken) => taken,
            Err(failure) => return Ok(Err(failure)),
        };
        let is_new = taken.as_ref().is_none_or(|(_, is_new)| *is_new);
        let former = (self.behaviour.ending == Ending::RollsBack).then(|| self.see(FleetDevice::clone));
        self.change(|device| {
            match (&taken, &offer.content) {
                (Some((manifest, _)), Content::Set(terms)) => {
                    device.install(offer.digest, manifest, terms.delete);
                }
                _ => device.put(offer.path(), offer.digest),
            }
            device.is_to_reboot = is_new && offer.reboot;
        });
        self.say(awake, status(State::Installed, if is_new { "" } else { Status::UNCHANGED }));
        if is_new && offer.reboot {
            let is_set = matches!(offer.content, Content::Set(_));
            awake.due =
                Some(Due { digest: offer.digest, is_set, former: former.filter(|_| is_set).map(Box::new) });
        }
        Ok(Ok(()))
    }

    /// Reboots because of what was installed, once the broker knows about it.
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
        }
        End::Again
    }

    fn say(&self, awake: &mut Awake, status: Status) {
        let Some(session) = &mut awake.session else { return };
        if session.publish(self.name.status_topic(), status.to_string(), false).is_err() {
            awake.session = None;
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self.behaviour.rhythm, Rhythm::Sleeps { is_cut: true, .. })
    }

    fn see<T>(&self, see: impl FnOnce(&FleetDevice) -> T) -> T {
        self.ground.ledger.look(|devices| see(&devices[self.index]))
    }

    fn change<T>(&self, change: impl FnOnce(&mut FleetDevice) -> T) -> T {
        self.ground.ledger.change(self.index, change)
    }
}

impl Awake {
    /// Notes what comes while `work` is done; ends it where the time is up and `is_cut` says so.
    async fn during<T>(
        &mut self,
        is_cut: bool,
        heard: impl Fn(),
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let until = self.until.filter(|_| is_cut);
        tokio::pin!(work);
        loop {
            let message = async {
                match &mut self.session {
                    Some(session) => session.message().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                message = message => match message {
                    Ok(message) => {
                        if self.noted.len() < NOTED {
                            self.noted.push_back(message);
                        }
                        heard();
                    }
                    Err(_) => self.session = None,
                },
                () = end_of(until) => return Err(End::Cut),
            }
        }
    }
}

fn no_space() -> Failure {
    Failure::new(Reason::NoSpace, "4096 bytes needed, 0 free")
}

async fn end_of(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
