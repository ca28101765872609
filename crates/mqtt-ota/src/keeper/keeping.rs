mod claiming;
mod giving;
mod hearing;
mod looking;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::delivery::Delivered;
use super::device::Device;
use super::duty::{Due, Ended, Input, NOT_BACK};
use super::ear::{Ear, Said};
use super::echo::Echo;
use super::error::KeeperError;
use super::folders::Folders;
use super::lease::Lease;
use super::lookout::{Lookout, Sight};
use super::memory::{Memory, State};
use super::options::KeeperOptions;
use super::others::Others;
use super::outbox::Outbox;
use super::queue::Queue;
use super::role::{Role, Roles};
use super::roll_call::RollCall;
use super::rollout::Gate;
use super::slots::Slots;
use super::standing::Standing;
use super::window::Window;
use crate::mqtt::LinkError;
use crate::sender::Sender;
use crate::wire::{Algorithm, Announcement, DeviceName};

/// Time for which devices that were asked for by name may be silent.
const SILENT: Duration = Duration::from_secs(2);

/// Loop of a keeper, with all its state.
pub(super) struct Keeping {
    sender: Arc<Sender>,
    options: Arc<KeeperOptions>,
    /// Subscription, opened once the folders have been scanned.
    ear: Option<Ear>,
    /// True once the connection was lost: retained messages may be new since.
    was_lost: bool,
    lookout: Lookout,
    folders: Arc<Folders>,
    /// True if the folders could be read the last time.
    is_readable: bool,
    /// Hash functions that devices have asked for.
    algorithms: BTreeSet<Algorithm>,
    devices: HashMap<DeviceName, Device>,
    queue: Queue,
    slots: Slots,
    /// Time at which to check which deliveries may give way to a device that waits.
    room_at: Option<Instant>,
    outbox: Outbox,
    lease: Lease,
    others: Others,
    /// Devices without a folder that a keeper of this name has claimed, while this one is not at work.
    odd: BTreeSet<DeviceName>,
    echo: Echo,
    /// Time at which something was last heard.
    heard_at: Instant,
    /// Time at which to report devices that were not heard of. Beyond any lifetime once that was done.
    silent_by: Option<Instant>,
    /// Time at which missed messages were last reported.
    missed_at: Option<Instant>,
    roll_call: RollCall,
    role: watch::Sender<Option<Role>>,
    /// Devices that go first.
    canaries: BTreeSet<DeviceName>,
    /// Groups whose devices go first, and that have no member.
    empty_groups: BTreeSet<String>,
    gate: Gate,
    failures: usize,
}

impl Keeping {
    pub(super) fn new(
        sender: Arc<Sender>,
        options: KeeperOptions,
        lookout: Lookout,
        lease: Lease,
        outbox: Outbox,
    ) -> Self {
        Self {
            sender,
            options: Arc::new(options),
            ear: None,
            was_lost: false,
            lookout,
            folders: Arc::default(),
            is_readable: false,
            algorithms: BTreeSet::from([Algorithm::Sha256]),
            devices: HashMap::new(),
            queue: Queue::default(),
            slots: Slots::default(),
            room_at: None,
            outbox,
            lease,
            others: Others::default(),
            odd: BTreeSet::new(),
            echo: Echo::default(),
            heard_at: Instant::now(),
            silent_by: None,
            missed_at: None,
            roll_call: RollCall::default(),
            role: watch::Sender::new(None),
            canaries: BTreeSet::new(),
            empty_groups: BTreeSet::new(),
            gate: Gate::Open,
            failures: 0,
        }
    }

    /// Returns true if this keeper is at work.
    pub(super) fn is_at_work(&self) -> bool {
        self.lease.is_held()
    }

    /// Gives up every delivery. The returned lookout reserves the folder for this keeper as long as it lives.
    pub(super) fn give_up(self) -> Lookout {
        self.lookout
    }

    /// Returns the roles that this keeper takes.
    pub(super) fn roles(&self) -> Roles {
        Roles::of(&self.role)
    }

    /// Scans the folders for the first time, and keeps the devices from then on.
    pub(super) async fn run(&mut self) -> Result<Infallible, KeeperError> {
        self.look();
        while !self.is_readable {
            match self.lookout.next().await {
                Sight::Unreadable(error) => return Err(error),
                sight => self.see(sight),
            }
        }
        if self.ear.is_none() {
            let keeper = Some(self.outbox.keeper().to_owned());
            let opening = Ear::open(self.sender.link(), Arc::clone(&self.folders), keeper);
            self.ear = Some(opening.await?);
            self.roll_call.begin_anew();
        }
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            self.tell_role();
            self.begin();
            self.outbox.set_busy(self.slots.len() > 0);
            let tick = self.options.window.map(|_| Instant::now() + Window::TICK);
            let times = self
                .queue
                .next()
                .into_iter()
                .chain(tick)
                .chain(self.room_at)
                .chain(self.others.next())
                .chain(self.echo.at())
                .chain(self.silent_by)
                .chain(self.roll_call.at());
            let next = times.fold(self.lease.next(), Instant::min);
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = &mut timer => {
                    // Messages come first, as another keeper may have said in time that it is at work.
                    self.hear_all();
                    self.claim();
                    self.check_that_it_is_heard()?;
                    self.take_over();
                    if self.roll_call.is_due() {
                        self.call_the_roll(true);
                        self.silent_by.get_or_insert(Instant::now() + SILENT);
                    }
                    self.tell_if_all_are_silent();
                    while let Some(device) = self.queue.take_expired(Instant::now()) {
                        self.consider(&device, false);
                    }
                }
                Some((device, delivered)) = self.slots.next() => self.end(&device, delivered),
                sight = self.lookout.next() => self.see(sight),
                // Messages come last in this `select!`, so that a flood of them stops nothing else.
                heard = heard(&mut self.ear) => {
                    heard.ok_or(LinkError::Lost)?.into_iter().for_each(|said| self.hear(said));
                    self.hear_all();
                }
            }
        }
    }

    /// Reports which keeper is at work, where that has changed.
    fn tell_role(&mut self) {
        let Some(role) = self.lease.role() else { return };
        if !self.role.send_if_modified(|told| told.replace(role) != Some(role)) {
            return;
        }
        match role {
            Role::AtWork => {}
            Role::StandingBy => {
                tracing::info!(
                    "standing by for another keeper of the name {}; if that keeps another folder, give one of them \
                     another name (--name)",
                    self.outbox.keeper()
                );
                self.slots.end_all();
            }
        }
    }

    /// Renews the lease, or tries to obtain it.
    fn claim(&mut self) {
        let was_held = self.lease.is_held();
        if let Some(claim) = self.lease.tick(Instant::now()) {
            self.outbox.put(self.outbox.lease_topic().to_owned(), claim);
        }
        self.relieved(was_held);
    }

    /// Acts on a gain or loss of the lease. Both are logged, and after a gain all devices are considered.
    fn relieved(&mut self, was_held: bool) {
        match (was_held, self.lease.is_held()) {
            (false, true) => {
                tracing::info!("at work");
                self.room_at = Some(Instant::now());
                // Notes have been left to another keeper until now.
                let known: Vec<_> = self.devices.keys().cloned().collect();
                known.iter().for_each(|device| self.consider(device, false));
                self.clear_odd();
                self.tell_elsewhere();
            }
            (true, false) => {
                tracing::info!("not at work: another keeper may be, or the broker is away");
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &DeviceName, delivered: Delivered) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let Delivered { mut end, position, sent } = delivered;
        if device.duty.wanted() == Some(end.set) {
            end.advanced = position > device.furthest;
            device.furthest = device.furthest.max(position);
        }
        let (set, result) = (end.set, end.result.clone());
        let is_known = match &result {
            Ended::Hindered { why } => device.duty.hindrance() == Some(why),
            Ended::Postponed { why, .. } => device.is_remembered(State::Postponed, why),
            _ => false,
        };
        device.is_new |= result == Ended::Installed;
        let now = Instant::now();
        device.duty.step(Input::Ended(end), now);
        device.tell_end(name, set, &result, sent, is_known, now);
        self.consider(name, false);
        self.forget_without_folder(name);
    }

    /// Queues a device as its duty says, and notes what others may want to know of it. A device that is `awake` now
    /// goes first.
    fn consider(&mut self, name: &DeviceName, awake: bool) {
        let Some(device) = self.devices.get_mut(name) else { return };
        if device.duty.grows_late(Instant::now()) {
            tracing::warn!("{name}: {NOT_BACK}");
        }
        let due = device.due(Instant::now());
        if awake && due == Due::Now {
            self.room_at = Some(Instant::now());
        }
        self.queue.put(name, due, awake);
        let standing = device.standing();
        if device.is_failure != standing.is_failure() {
            device.is_failure = standing.is_failure();
            self.failures =
                if device.is_failure { self.failures + 1 } else { self.failures.saturating_sub(1) };
        }
        if device.is_new && standing == Standing::InStep {
            device.is_new = false;
            if device.duty.announced().is_some_and(Announcement::understands_sets) {
                tracing::info!("{name}: back online with its set");
            }
        }
        // Notes are left as they are in three cases. The note of a device with an unclear folder may be about the set
        // that it is to have. A device with a folder that has not announced itself may only be unheard. The note of a
        // device that another keeper has belongs to that keeper.
        let is_silent = device.duty.announced().is_none() && self.folders.devices.contains_key(name);
        let is_unclear = device.is_unclear || is_silent;
        if is_unclear || device.elsewhere.is_some() || !self.lease.is_held() {
            return;
        }
        let memory = device.to_remember(self.outbox.keeper(), standing);
        self.note(name, memory);
    }

    /// Notes what others may want to know of a device. `None` clears the note.
    fn note(&mut self, name: &DeviceName, memory: Option<Memory>) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let is_known = match (&memory, &device.memory) {
            (Some(new), Some(old)) => new.is_like(old),
            (None, None) => true,
            _ => false,
        };
        if !is_known {
            let text = memory.as_ref().map(ToString::to_string).unwrap_or_default();
            if memory.as_ref().is_some_and(|memory| memory.state.is_good()) {
                self.outbox.put_later(name.memory_topic(), text);
            } else {
                self.outbox.put(name.memory_topic(), text);
            }
            device.memory = memory;
            self.echo.expect(Instant::now());
        }
    }

    /// Forgets a device that has no folder any more, once its delivery has ended.
    fn forget_without_folder(&mut self, name: &DeviceName) {
        if !self.folders.devices.contains_key(name) && !self.slots.has(name) {
            self.devices.remove(name);
            self.queue.remove(name);
            self.roll_call.forget(name);
        }
    }

    fn device(&mut self, name: &DeviceName) -> &mut Device {
        let attempts = self.options.attempts;
        self.devices.entry(name.clone()).or_insert_with(|| Device::new(attempts))
    }
}

/// Returns the next event, or `None` once the link is closed. The inner `None` is a message of no use. Cancel safe.
async fn heard(ear: &mut Option<Ear>) -> Option<Option<Said>> {
    match ear {
        Some(ear) => ear.next().await,
        None => pending().await,
    }
}
