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

/// How long nothing more is said of what a device's application dies of.
const CRASH_PAUSE: Duration = Duration::from_secs(10);

/// A device and what is known of it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) duty: Duty,
    pub(super) folder: Option<Arc<Folder>>,
    pub(super) memory: Option<Memory>,
    /// The keeper of another name that has it.
    pub(super) elsewhere: Option<String>,
    /// It was given its files, and was not heard of since.
    pub(super) is_new: bool,
    /// It is to have something, and what cannot be told now: its folder is unusable, or not hashed yet.
    pub(super) is_unclear: bool,
    /// How far it ever got with the set that is wanted, in bytes.
    pub(super) furthest: u64,
    /// Why nothing new from its folder counts, where that has lasted.
    pub(super) held: Option<String>,
    pub(super) is_failure: bool,
    /// When it last said something, as far as it was heard.
    pub(super) heard: Option<SystemTime>,
    /// What was said of its files.
    pub(super) said: Vec<String>,
    /// What its application has died of last, and when that was logged.
    crash: Option<Crash>,
    crash_told_at: Option<Instant>,
}

impl Device {
    /// `limit`: after how many failures in a row it is left alone.
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

    /// The hash function in which it is told its set.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.duty.announced().map_or(Algorithm::Sha256, Announcement::set_algorithm)
    }

    /// Leaves alone what is remembered to have been, and gives nothing a third time. Which set that was about is known only once the device has
    /// said in which hash function it is told its set.
    pub(super) fn recall(&mut self) {
        if let Some(Memory { again: true, set, .. }) = &self.memory {
            self.duty.step(Input::GivenAgain { set: *set }, Instant::now());
        }
        if let Some(Memory { state: State::LeftAlone, set, why, .. }) = &self.memory {
            self.duty.step(Input::Remembered { set: *set, why: why.clone() }, Instant::now());
        }
    }

    /// Whether it is noted that it stands so, and for this reason.
    pub(super) fn is_remembered(&self, state: State, why: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.state == state && memory.why == clean(why))
    }

    /// Its application has died of this; `anew`: that was said now. It may do so without end, and is told of now and then.
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

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        match &self.elsewhere {
            Some(keeper) => Standing::KeptElsewhere { keeper: keeper.clone() },
            None => self.duty.standing(),
        }
    }

    /// When it is to be given its files.
    pub(super) fn due(&self, now: Instant) -> Due {
        if self.elsewhere.is_some() { Due::Never } else { self.duty.due(now) }
    }

    /// Says how a delivery to it has ended, after its duty has heard of it. What is `known` was said before.
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
            // The announcement that follows says so.
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

    /// What the keeper of this name notes of it.
    pub(super) fn to_remember(&self, keeper: &str, standing: Standing) -> Option<Memory> {
        let set = self.duty.wanted()?;
        let knows_sets = self.duty.announced()?.understands_sets();
        // What only the memory knows is not overwritten.
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
            // What passes is not worth another message.
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
