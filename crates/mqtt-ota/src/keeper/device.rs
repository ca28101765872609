use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::delivery::Sent;
use super::duty::{Due, Duty, Ended, Input};
use super::folders::Folder;
use super::memory::{Memory, State, clean, to_the_second};
use super::standing::Standing;
use super::words::{count, short, size, time};
use crate::wire::{Algorithm, Announcement, Crash, DeviceName, Digest};

/// Time after a logged crash of a device's application during which no other crash is logged.
const CRASH_PAUSE: Duration = Duration::from_secs(10);

/// Device, with everything that is known of it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) duty: Duty,
    pub(super) folder: Option<Arc<Folder>>,
    pub(super) memory: Option<Memory>,
    /// Name of the other keeper that has the device.
    pub(super) elsewhere: Option<String>,
    /// True after an installation, until the device is in step or has rolled the set back.
    pub(super) is_new: bool,
    /// True while the folder is unusable or not hashed yet: the device is to have something that cannot be told now.
    pub(super) is_unclear: bool,
    /// Furthest position that the device ever reached in the wanted set, in bytes.
    pub(super) furthest: u64,
    /// Reason why nothing new from the folder counts, where that has lasted.
    pub(super) held: Option<String>,
    pub(super) is_failure: bool,
    /// Time of the last message from the device, as far as it was heard.
    pub(super) heard: Option<SystemTime>,
    /// Findings in the device's files that were logged already.
    pub(super) said: Vec<String>,
    /// Last crash of the application, and the time at which one was logged.
    crash: Option<Crash>,
    crash_told_at: Option<Instant>,
}

impl Device {
    /// Creates a device that is left alone after `limit` failures in a row.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            duty: Duty::new(limit),
            folder: None,
            memory: None,
            elsewhere: None,
            is_new: false,
            is_unclear: false,
            furthest: 0,
            held: None,
            is_failure: false,
            heard: None,
            said: Vec::new(),
            crash: None,
            crash_told_at: None,
        }
    }

    /// Returns the hash function in which the device is told its set.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.duty.announced().map_or(Algorithm::Sha256, Announcement::set_algorithm)
    }

    /// Restores the state from the noted memory: leaves the device alone where it was, and gives no set a third time.
    /// The memory applies to a set only once the device has announced the hash function in which it is told its set.
    pub(super) fn recall(&mut self) {
        if let Some(Memory { again: true, set, .. }) = &self.memory {
            self.duty.step(Input::GivenAgain { set: *set }, Instant::now());
        }
        if let Some(Memory { state: State::LeftAlone, set, why, .. }) = &self.memory {
            self.duty.step(Input::Remembered { set: *set, why: why.clone() }, Instant::now());
        }
    }

    /// Returns true if this state is noted of the device, with this reason.
    pub(super) fn is_remembered(&self, state: State, why: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.state == state && memory.why == clean(why))
    }

    /// Takes note of a crash of the device's application, and logs it where it was reported just now (`anew`). An
    /// application may crash without end, so a crash is logged only now and then.
    pub(super) fn hear_crash(&mut self, name: &DeviceName, crash: Option<Crash>, anew: bool) {
        let now = Instant::now();
        let is_quiet = self.crash_told_at.is_some_and(|at| now < at + CRASH_PAUSE);
        if let Some(crash) =
            crash.as_ref().filter(|crash| anew && !is_quiet && self.crash.as_ref() != Some(*crash))
        {
            self.crash_told_at = Some(now);
            tracing::warn!("{name}: its application crashed: {}", crash.summary());
        }
        self.crash = crash;
    }

    /// Returns how the device stands.
    pub(super) fn standing(&self) -> Standing {
        match &self.elsewhere {
            Some(keeper) => Standing::KeptElsewhere { keeper: keeper.clone() },
            None => self.duty.standing(),
        }
    }

    /// Returns when the device is to be given its files.
    pub(super) fn due(&self, now: Instant) -> Due {
        if self.elsewhere.is_some() { Due::Never } else { self.duty.due(now) }
    }

    /// Logs how a delivery to the device has ended, after its duty has taken the end. A reason that `is_known` was
    /// logged before.
    pub(super) fn tell_end(
        &self,
        name: &DeviceName,
        set: Digest,
        result: &Ended,
        sent: Option<Sent>,
        is_known: bool,
        now: Instant,
    ) {
        let set = short(set);
        match result {
            Ended::Installed => {
                let took = sent.map(|Sent { files, bytes, elapsed, .. }| {
                    format!(" ({} sent, {} in {})", count(files, "file"), size(bytes), time(elapsed))
                });
                let booted = sent.is_some_and(|sent| sent.booted);
                let boot = if booted { "fetched at its boot" } else { "rebooting" };
                tracing::info!("{name}: set {set} installed{}, {boot}", took.unwrap_or_default());
            }
            Ended::Unchanged => tracing::info!("{name}: set {set} unchanged: the device already has it"),
            // The announcement that follows is logged instead.
            Ended::RolledBack { .. } if self.duty.taken_back().is_some() => {}
            Ended::RolledBack { .. } => tracing::warn!("{name}: set {set} rolled back"),
            Ended::GaveWay => tracing::debug!("{name}: another one that is awake goes first"),
            Ended::NotThere | Ended::NobodyCame { .. } => {
                tracing::info!("{name}: asleep or away; it is sent set {set} when it announces itself");
            }
            Ended::Busy => tracing::info!(
                "{name}: another set is on trial there; set {set} follows when that is confirmed or taken back"
            ),
            Ended::Postponed { why, .. } if is_known => {
                tracing::debug!("{name}: set {set} postponed again: it {why}");
            }
            Ended::Postponed { why, .. } => tracing::info!("{name}: set {set} postponed: it {why}"),
            Ended::Hindered { why } if is_known => tracing::debug!("{name}: set {set} still not sent: {why}"),
            Ended::Hindered { why } => {
                tracing::warn!("{name}: set {set} not sent: {why}; tried again, ever more slowly");
            }
            Ended::Failed { why, .. } => match self.due(now) {
                Due::At(at) => {
                    let pause = time(at.saturating_duration_since(now));
                    tracing::warn!("{name}: set {set}: {why}; again in {pause}");
                }
                Due::Now => tracing::warn!("{name}: set {set}: {why}; again at once"),
                Due::Never => {
                    tracing::warn!("{name}: set {set}: {why}; left alone until its folder changes");
                }
            },
        }
    }

    /// Returns what the keeper of this name notes of the device.
    pub(super) fn to_remember(&self, keeper: &str, standing: Standing) -> Option<Memory> {
        let set = self.duty.wanted()?;
        let knows_sets = self.duty.announced()?.understands_sets();
        // A state that only the memory knows is not overwritten.
        let is_only_here = matches!(standing, Standing::LeftAlone { .. } | Standing::RolledBack { .. })
            || (standing == Standing::InStep && !knows_sets);
        let (state, why) = match standing {
            _ if self.held.is_some() && !is_only_here => {
                (State::Waiting, self.held.clone().unwrap_or_default())
            }
            Standing::Asleep => (State::Asleep, String::new()),
            Standing::Postponed { why } => (State::Postponed, why),
            Standing::Failing { why } => (State::Failing, why),
            Standing::LeftAlone { why } => (State::LeftAlone, why),
            Standing::RolledBack { why } => (State::RolledBack, why),
            Standing::InStep if knows_sets => (State::Kept, String::new()),
            Standing::InStep => (State::InStep, String::new()),
            // A passing state is not worth another message.
            _ => {
                let is_valid = |memory: &&Memory| {
                    let is_own = memory.keeper.as_deref() == Some(keeper);
                    let is_over = match memory.state {
                        State::Waiting => true,
                        State::InStep => !self.duty.has_told(memory.set),
                        _ => false,
                    };
                    is_own && !is_over
                };
                match self.memory.as_ref().filter(is_valid) {
                    Some(known) => {
                        let again = known.again || self.duty.was_given_again(known.set);
                        return Some(Memory { again, ..known.clone() });
                    }
                    None => (State::Pending, String::new()),
                }
            }
        };
        let mut memory = Memory::now(keeper, state, set, &why);
        let is_same = |known: &&Memory| (known.state, known.set) == (state, set);
        if let Some(known) = self.memory.as_ref().filter(is_same) {
            memory.since = known.since;
        }
        memory.heard = self.heard.map(to_the_second);
        memory.again = self.duty.was_given_again(set);
        Some(memory)
    }
}
