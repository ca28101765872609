mod giving;
mod helping;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::helping::Helping;
use super::crew::Crew;
use super::delivery::Delivered;
use super::device::Device;
use super::duty::{Due, Ended, Input};
use super::ear::{Ear, Said, Topics};
use super::error::{KeeperError, chain};
use super::folders::{Folders, Kept};
use super::lease::Lease;
use super::lookout::{Lookout, Sight};
use super::memory::{Memory, State};
use super::options::KeeperOptions;
use super::queue::Queue;
use super::role::{Role, Roles};
use super::roll_call::RollCall;
use super::rollout::Gate;
use super::slots::Slots;
use super::window::Window;
use crate::mqtt::{Lasting, LinkError};
use crate::sender::Sender;
use crate::wire::{Algorithm, DeviceName};

/// How many devices without a folder are remembered: one may have a folder later, and anybody can invent names.
const STRANGERS: usize = 16 * 1024;
/// How many messages are heard before it is looked at what is to be done: whoever floods us stops nothing.
const AT_ONE_GO: usize = 1024;

/// A topic, and what is to be retained there; empty: nothing any more.
pub(super) type Retained = (String, String);
/// A topic, and what is to be said there.
pub(super) type Saying = (String, String, Lasting);

/// A keeper at work.
pub(super) struct Keeping {
    sender: Arc<Sender>,
    options: Arc<KeeperOptions>,
    ear: Ear,
    /// The connection was lost: what the broker has kept since may be new.
    was_lost: bool,
    lookout: Lookout,
    folders: Arc<Folders>,
    /// The folders could be looked at the last time.
    is_readable: bool,
    /// The hash functions that devices have asked for.
    algorithms: BTreeSet<Algorithm>,
    devices: HashMap<DeviceName, Device>,
    queue: Queue,
    slots: Slots,
    /// When it is to be seen which of them may give way to one that waits.
    room_at: Option<Instant>,
    retained: mpsc::UnboundedSender<Retained>,
    saying: mpsc::UnboundedSender<Saying>,
    lease: Lease,
    topics: Topics,
    crew: Crew,
    helping: Helping,
    roll_call: RollCall,
    role: watch::Sender<Option<Role>>,
    /// Those that go first.
    canaries: BTreeSet<DeviceName>,
    gate: Gate,
    failures: usize,
}

impl Keeping {
    pub(super) fn new(
        sender: Arc<Sender>,
        options: KeeperOptions,
        (ear, lookout): (Ear, Lookout),
        (lease, topics): (Lease, Topics),
        (retained, saying): (mpsc::UnboundedSender<Retained>, mpsc::UnboundedSender<Saying>),
    ) -> Self {
        Self {
            sender,
            options: Arc::new(options),
            ear,
            was_lost: false,
            lookout,
            folders: Arc::default(),
            is_readable: false,
            algorithms: BTreeSet::from([Algorithm::Sha256]),
            devices: HashMap::new(),
            queue: Queue::default(),
            slots: Slots::default(),
            room_at: None,
            retained,
            saying,
            lease,
            topics,
            crew: Crew::default(),
            helping: Helping::default(),
            roll_call: RollCall::default(),
            role: watch::Sender::new(None),
            canaries: BTreeSet::new(),
            gate: Gate::Open,
            failures: 0,
        }
    }

    /// Whether it is this keeper that is at work.
    pub(super) fn is_at_work(&self) -> bool {
        self.lease.is_held()
    }

    /// Names it.
    pub(super) fn id(&self) -> &str {
        self.lease.id()
    }

    /// Gives up every delivery. What is yielded has the folder for this keeper alone as long as it lives.
    pub(super) fn give_up(self) -> Lookout {
        self.lookout
    }

    /// What it becomes.
    pub(super) fn roles(&self) -> Roles {
        Roles::of(&self.role)
    }

    /// Looks at the folders for the first time, and keeps the devices from then on.
    pub(super) async fn run(&mut self) -> Result<Infallible, KeeperError> {
        self.look();
        match self.lookout.next().await {
            Sight::Unreadable(error) => return Err(error),
            sight => self.see(sight),
        }
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            self.tell_role();
            self.begin();
            let tick = self.options.window.map(|_| Instant::now() + Window::TICK);
            let others = self.crew.next().into_iter().chain(self.helping.beat_at());
            let times = self
                .queue
                .next()
                .into_iter()
                .chain(tick)
                .chain(self.room_at)
                .chain(others)
                .chain(self.roll_call.at());
            let next = times.fold(self.lease.next(), Instant::min);
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                said = self.ear.next() => {
                    self.hear(said.ok_or(LinkError::Lost)?);
                    self.hear_all();
                }
                Some((device, delivered)) = self.slots.next() => self.end(&device, delivered),
                task = self.helping.next() => task.into_iter().for_each(|task| self.help(task)),
                sight = self.lookout.next() => self.see(sight),
                () = &mut timer => {
                    // Another keeper may have said in time that it is at work.
                    self.hear_all();
                    self.claim();
                    self.beat();
                    self.take_back();
                    self.call_the_roll();
                    while let Some(device) = self.queue.take_expired(Instant::now()) {
                        self.consider(&device, false);
                    }
                }
            }
        }
    }

    /// Tells which keeper is at work, where that is another one than before.
    fn tell_role(&mut self) {
        let Some(role) = self.lease.role() else { return };
        if !self.role.send_if_modified(|told| told.replace(role) != Some(role)) {
            return;
        }
        match role {
            Role::AtWork => self.stand_up(),
            Role::StandingBy => {
                let name = self.topics.lease.rsplit('/').next().unwrap_or_default();
                tracing::info!(
                    name,
                    "standing by for another keeper of this name; if that keeps another folder, give one of them another name"
                );
                self.stand_by();
            }
        }
    }

    fn look(&mut self) {
        self.lookout.look(&self.algorithms);
    }

    fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Due => self.look(),
            Sight::Clear(folders) => self.looked(folders),
            Sight::Blurred => {}
            // It is no other wish, and nobody's second chance.
            Sight::Unreadable(error) => {
                let error = &error as &dyn StdError;
                tracing::warn!(error, "nothing is sent until the folder can be read");
                self.is_readable = false;
            }
        }
    }

    /// Finds out who is to have something else now.
    fn looked(&mut self, folders: Arc<Folders>) {
        self.complain(&folders);
        self.is_readable = true;
        self.room_at = Some(Instant::now());
        let known: BTreeSet<_> = self.devices.keys().chain(folders.devices.keys()).cloned().collect();
        let first = &self.options.canary_groups;
        let in_group = folders.devices.iter().filter_map(|(name, kept)| {
            let groups = match kept {
                Kept::Folder(folder) => Some(&folder.settings.groups),
                Kept::Unusable { groups, .. } => groups.as_ref(),
            };
            // Whose groups nobody knows may be one of those that the others wait for.
            let is_first = groups.map_or(!first.is_empty(), |groups| !groups.is_disjoint(first));
            is_first.then_some(name)
        });
        self.canaries = self.options.canaries.iter().chain(in_group).cloned().collect();
        self.folders = folders;
        for device in known {
            self.want(&device);
            self.consider(&device, false);
        }
        self.roll_call.arrange();
    }

    /// Asks for those that have a folder and were not heard of.
    fn call_the_roll(&mut self) {
        let is_known = |name: &DeviceName| {
            self.devices.get(name).is_some_and(|device| device.duty.announced().is_some())
        };
        let missing = self.folders.devices.keys().filter(|name| !is_known(name));
        self.roll_call.call(missing, &self.sender);
    }

    /// Says what is wrong with the folders, where it was not so before.
    fn complain(&self, folders: &Folders) {
        for stray in &folders.strays {
            if !self.folders.strays.iter().any(|before| chain(before.as_ref()) == chain(stray.as_ref())) {
                tracing::warn!(error = stray.as_ref() as &dyn StdError, "a folder is no device's");
            }
        }
        for (device, kept) in &folders.devices {
            let Kept::Unusable { error, .. } = kept else { continue };
            let is_known = match self.folders.devices.get(device) {
                Some(Kept::Unusable { error: before, .. }) => chain(before.as_ref()) == chain(error.as_ref()),
                _ => false,
            };
            if !is_known {
                tracing::warn!(%device, error = error.as_ref() as &dyn StdError, "nothing can be sent");
            }
        }
        if folders.devices.is_empty() && (!self.is_readable || !self.folders.devices.is_empty()) {
            let path = self.lookout.path().display();
            tracing::warn!(%path, "there is no device's folder in it; a device's files are in a folder with its name");
        }
    }

    /// Tells a device's duty what its folder has.
    fn want(&mut self, name: &DeviceName) {
        let (folder, is_unusable) = match self.folders.devices.get(name) {
            Some(Kept::Folder(folder)) => (Some(Arc::clone(folder)), false),
            Some(Kept::Unusable { .. }) => (None, true),
            None => (None, false),
        };
        let device = self.device(name);
        let algorithm = device.algorithm();
        let wanted = folder
            .as_ref()
            .filter(|folder| !folder.settings.hold)
            .and_then(|folder| folder.prepared(algorithm))
            .map(|prepared| prepared.digest);
        let is_other = device.duty.wanted() != wanted;
        if is_other {
            device.furthest = 0;
        }
        let is_unhashed = folder.is_some() && !self.algorithms.contains(&algorithm);
        let is_held = folder.as_ref().is_some_and(|folder| folder.settings.hold);
        let device = self.device(name);
        device.is_unclear = is_unusable || (folder.is_some() && !is_held && wanted.is_none());
        device.folder = folder;
        device.duty.step(Input::Wanted(wanted), Instant::now());
        if is_other {
            device.recall();
            // It may be a mistake that is mended by now, or held back.
            self.slots.overtake(name, wanted);
        }
        if is_unhashed {
            self.algorithms.insert(algorithm);
            self.look();
        }
    }

    /// Goes on being the keeper that is at work, or tries to be.
    fn claim(&mut self) {
        let was_held = self.lease.is_held();
        if let Some(claim) = self.lease.tick(Instant::now()) {
            let _ = self.retained.send((self.topics.lease.clone(), claim));
        }
        self.relieved(was_held);
    }

    /// Says so if this keeper is now at work, or no longer.
    fn relieved(&mut self, was_held: bool) {
        match (was_held, self.lease.is_held()) {
            (false, true) => {
                tracing::info!("at work");
                self.room_at = Some(Instant::now());
                // What there is to remember has been left to another one.
                let known: Vec<_> = self.devices.keys().cloned().collect();
                known.iter().for_each(|device| self.consider(device, false));
            }
            (true, false) => {
                tracing::info!("not at work: another keeper may be, or the broker is away");
                self.crew.disband().into_iter().for_each(|(device, delivered)| self.end(&device, delivered));
            }
            _ => {}
        }
    }

    /// Hears what is there already.
    fn hear_all(&mut self) {
        for _ in 1..AT_ONE_GO {
            let Some(said) = self.ear.try_next() else { break };
            self.hear(said);
        }
    }

    fn hear(&mut self, said: Said) {
        let was_held = self.lease.is_held();
        match said {
            Said::AtWork { keeper } => {
                self.lease.hear(&keeper, Instant::now());
                self.relieved(was_held);
                self.follow(&keeper);
            }
            Said::Word(word) => self.hear_word(word),
            Said::Lost => {
                self.was_lost = true;
                self.lease.lost(Instant::now());
                self.relieved(was_held);
            }
            Said::Reconnected => {
                self.lease.reconnected(Instant::now());
                self.roll_call.begin_anew();
                self.relieved(was_held);
                for name in self.devices.keys().cloned().collect::<Vec<_>>() {
                    self.device(&name).duty.step(Input::Missed, Instant::now());
                    self.consider(&name, false);
                }
            }
            Said::Remembered { device, .. } | Said::Announced { device, .. } if !self.is_welcome(&device) => {
                tracing::debug!(%device, "there are too many devices without a folder");
            }
            Said::Remembered { device: name, memory } => {
                let device = self.device(&name);
                if let Some(Memory { state: State::InStep, set, .. }) = &memory {
                    device.duty.step(Input::Told { set: *set }, Instant::now());
                }
                device.memory = memory;
                device.recall();
            }
            Said::Answered { device: name, receiving } => {
                self.slots.spoke(&name);
                if let Some(device) = self.devices.get_mut(&name).filter(|_| receiving) {
                    device.duty.step(Input::Receiving, Instant::now());
                }
            }
            Said::Announced { device: name, announcement, anew } => {
                let was_lost = self.was_lost;
                let device = self.device(&name);
                let is_other = was_lost && device.duty.announced() != Some(&announcement);
                let anew = anew || is_other;
                let had = device.algorithm();
                let has = announcement.set_algorithm();
                device.duty.step(Input::Announced { announcement, anew }, Instant::now());
                if has != had {
                    self.want(&name);
                }
                if anew {
                    self.slots.spoke(&name);
                }
                self.consider(&name, anew);
            }
        }
    }

    /// Whether there is room for a device, which there always is for one that has a folder.
    fn is_welcome(&self, name: &DeviceName) -> bool {
        self.devices.contains_key(name)
            || self.folders.devices.contains_key(name)
            || self.devices.len() < self.folders.devices.len() + STRANGERS
    }

    fn end(&mut self, name: &DeviceName, delivered: Delivered) {
        if self.is_anothers(name, &delivered) {
            return;
        }
        let device = self.device(name);
        let Delivered { mut end, position } = delivered;
        if device.duty.wanted() == Some(end.set) {
            end.advanced = position > device.furthest;
            device.furthest = device.furthest.max(position);
        }
        match &end.result {
            Ended::Installed | Ended::Unchanged => {
                tracing::info!(device = %name, set = %end.set, result = ?end.result, "the device has its files");
            }
            // It is said once, and not at each try.
            Ended::Hindered { why } if device.duty.hindrance() == Some(why) => {
                tracing::debug!(device = %name, why, "the device was still not given its files");
            }
            Ended::GaveWay => tracing::debug!(device = %name, "another one that is awake goes first"),
            Ended::NotThere | Ended::NobodyCame { .. } | Ended::Busy => {
                tracing::info!(device = %name, result = ?end.result, "the device is given its files when it announces itself");
            }
            result => {
                tracing::warn!(device = %name, set = %end.set, ?result, "the device was not given its files")
            }
        }
        self.device(name).duty.step(Input::Ended(end), Instant::now());
        self.consider(name, false);
    }

    /// Queues a device as its duty says, and remembers what its announcement will not tell. One that is `awake`
    /// now goes first.
    fn consider(&mut self, name: &DeviceName, awake: bool) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let due = device.duty.due(Instant::now());
        if awake && due == Due::Now {
            self.room_at = Some(Instant::now());
        }
        self.queue.put(name, due, awake);
        let standing = device.duty.standing();
        if device.is_failure != standing.is_failure() {
            device.is_failure = standing.is_failure();
            self.failures =
                if device.is_failure { self.failures + 1 } else { self.failures.saturating_sub(1) };
        }
        if device.is_unclear {
            // What is remembered of it may be about the set that it is to have.
            return;
        }
        let memory = device.to_remember(standing);
        let is_known = match (&memory, &device.memory) {
            (Some(new), Some(old)) => new.is_like(old),
            (None, None) => true,
            _ => false,
        };
        if !is_known && self.lease.is_held() {
            let text = memory.as_ref().map(ToString::to_string).unwrap_or_default();
            device.memory = memory;
            let _ = self.retained.send((name.memory_topic(), text));
        }
    }

    fn device(&mut self, name: &DeviceName) -> &mut Device {
        let attempts = self.options.attempts;
        self.devices.entry(name.clone()).or_insert_with(|| Device::new(attempts))
    }
}
