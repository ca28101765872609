//! Decision on the next step for one device, from what was heard of it. No clock and no socket.

use std::time::Duration;

use tokio::time::Instant;

use super::standing::Standing;
use crate::wire::{Announcement, Digest, InstalledSet};

/// Pause after the first failure of a delivery. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Time that a device may take to be heard of after it has installed its files, before it is offered them again.
const LONGEST_BOOT: Duration = Duration::from_secs(300);
/// Time after which such a device is reported as late.
const LONG_BOOT: Duration = Duration::from_secs(60);
/// Number of times in a row that a set replaced by another sender is sent again at once.
const REPLACED_AT_ONCE: u32 = 2;
/// Report on a device whose boot takes so long.
pub(super) const NOT_BACK: &str = "it has installed its files, and has not come back online since";
/// Time after its announcement for which a device counts as awake. A device that does not come for an offer made in
/// this time is not asleep, but cannot reach the sender.
const AWAKE: Duration = Duration::from_secs(5);

/// Event in the life of a device.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// Set that the device is to have, when its folder has changed or is scanned for the first time.
    Wanted(Option<Digest>),
    /// Announcement of the device.
    Announced {
        announcement: Announcement,
        /// True if the announcement was made now, so that the device is awake.
        anew: bool,
    },
    /// Withdrawal of the device's announcement by somebody.
    Withdrawn,
    /// Message of the device that it takes an offer or has taken one. Its reboot is still to come.
    Taking {
        /// True if the device has taken the offer and has something else than before.
        installed: bool,
    },
    /// Note of an earlier keeper that the device was left alone with this set.
    Remembered { set: Digest, why: String },
    /// Note of an earlier keeper that the device, which announces no sets, has said that it has this one.
    Told { set: Digest },
    /// Note of an earlier keeper that the device was given this set once more, after it had taken the set back for want
    /// of a network.
    GivenAgain { set: Digest },
    /// Possible loss of messages from the device, after a lost connection to the broker or a flood.
    Missed,
    /// Start of a delivery.
    Started,
    /// End of a delivery.
    Ended(End),
}

/// End of a delivery.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// Set that was delivered.
    pub(super) set: Digest,
    pub(super) result: Ended,
    /// True if the device got further than ever before.
    pub(super) advanced: bool,
    /// True if the device has fetched it at its boot and does not reboot for it again.
    pub(super) booted: bool,
}

/// Result of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// Installed: the device has the set and reboots.
    Installed,
    /// Unchanged: the device had the set already.
    Unchanged,
    /// Rolled back: the device had the set and has taken it back.
    RolledBack { why: String },
    /// Device not there, as the broker knows or as the end of its connection shows.
    NotThere,
    /// Device that did not come: it is asleep, or cannot reach the sender.
    NobodyCame { why: String },
    /// Device with another set on trial, which cannot take this one now.
    Busy,
    /// Request of the device to be offered the set again after this time.
    Postponed { after: Duration, why: String },
    /// Delivery that made way for another set, for another keeper, or for a device that is awake while this one had not
    /// answered yet.
    GaveWay,
    /// Failure of the delivery.
    Failed {
        why: String,
        /// True if the delivery may succeed a moment later.
        may_pass: bool,
    },
    /// Failure on this side, which says nothing about the device.
    Hindered { why: String },
}

/// Time at which a device is to be given its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
    /// Not before something else is heard.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Idle,
    Receiving,
    /// Device that has said that it has the set, and has not announced it yet.
    Rebooting {
        set: Digest,
        /// End of the wait for the device.
        until: Instant,
        /// True if the reboot takes longer than [`LONG_BOOT`].
        is_late: bool,
    },
    /// Device that another sender has given something. The device reboots for it, or has it on trial and may confirm it
    /// without a message.
    Occupied {
        /// Time at which the device is asked again.
        until: Instant,
    },
    Asleep,
    /// Device that has asked to be offered its files again at this time.
    Postponed {
        until: Instant,
        why: String,
    },
    Pausing {
        until: Instant,
        why: String,
        /// True if the device goes on when it wakes, because it got further.
        resumes: bool,
    },
    LeftAlone {
        why: String,
    },
}

/// Failure on this side. The device has no part in it, so deliveries are tried for as long as it lasts.
#[derive(Debug)]
struct Hindrance {
    why: String,
    /// Number of times in a row.
    count: u32,
}

/// State of one device.
#[derive(Debug)]
pub(super) struct Duty {
    wanted: Option<Digest>,
    announced: Option<Announcement>,
    /// Time at which the device was last heard to be awake.
    awake_at: Option<Instant>,
    /// True if the device has announced itself since its delivery began, and since it last said that it takes an offer
    /// or has taken one.
    is_back: bool,
    /// Set that the device has said that it has, as long as nothing later supersedes that.
    told: Option<Digest>,
    phase: Phase,
    /// Failures in a row with the wanted set.
    failures: u32,
    /// Number of failures at which the device is left alone.
    limit: u32,
    /// Hindrance to its deliveries on this side, until a delivery ends otherwise.
    hindrance: Option<Hindrance>,
    /// Start of the delivery under way.
    started_at: Option<Instant>,
    /// Set that the device was given once more, after it had taken the set back for want of a network.
    given_again: Option<Digest>,
    /// True if the delivery under way gives the device a set that it had taken back.
    is_again: bool,
    /// Number of times in a row that another sender has replaced the wanted set, and the time of the last one.
    replaced: Option<(u32, Instant)>,
}

impl Duty {
    /// Creates the state of a device that is left alone after `limit` failures in a row.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            wanted: None,
            announced: None,
            awake_at: None,
            is_back: false,
            told: None,
            phase: Phase::Idle,
            failures: 0,
            limit,
            hindrance: None,
            started_at: None,
            given_again: None,
            is_again: false,
            replaced: None,
        }
    }

    /// Returns the set that the device is to have.
    pub(super) fn wanted(&self) -> Option<Digest> {
        self.wanted
    }

    /// Returns the device's last announcement.
    pub(super) fn announced(&self) -> Option<&Announcement> {
        self.announced.as_ref()
    }

    /// Returns true if the device has said that it has this set, and nothing heard since supersedes that.
    pub(super) fn has_told(&self, set: Digest) -> bool {
        self.told == Some(set)
    }

    /// Returns true if the device was given this set once more, after it had taken the set back for want of a network.
    pub(super) fn was_given_again(&self, set: Digest) -> bool {
        self.given_again == Some(set)
    }

    /// Returns true if the device's next message is to tell what became of a set.
    pub(super) fn awaits_word(&self) -> bool {
        matches!(self.phase, Phase::Rebooting { .. } | Phase::Occupied { .. })
    }

    /// Returns what hindered the last delivery on this side, if anything did.
    pub(super) fn hindrance(&self) -> Option<&str> {
        self.hindrance.as_ref().map(|hindrance| hindrance.why.as_str())
    }

    /// Returns true if the device was heard to be awake so recently that it may still be.
    pub(super) fn is_awake(&self, now: Instant) -> bool {
        self.awake_at.is_some_and(|awake| now.saturating_duration_since(awake) < AWAKE)
    }

    /// Updates the state with an event.
    pub(super) fn step(&mut self, input: Input, now: Instant) {
        match input {
            Input::Wanted(wanted) if wanted != self.wanted => {
                self.wanted = wanted;
                self.failures = 0;
                self.hindrance = None;
                self.replaced = None;
                if self.phase != Phase::Receiving {
                    self.phase = Phase::Idle;
                }
            }
            Input::Wanted(_) => {}
            Input::Announced { announcement, anew } => self.hear(announcement, anew, now),
            Input::Withdrawn => {
                self.announced = None;
                self.told = None;
                if self.phase != Phase::Receiving {
                    self.phase = Phase::Idle;
                }
            }
            Input::Taking { installed } => {
                self.is_back = false;
                if installed && self.is_again && self.phase == Phase::Receiving {
                    self.given_again = self.wanted;
                }
                if installed && self.is_plain() {
                    let had = self.told.take();
                    // During a delivery, the end of the delivery tells what the device has.
                    if self.phase != Phase::Receiving && self.wanted.is_some() && had == self.wanted {
                        self.lose_plain(now);
                    }
                }
            }
            Input::Remembered { set, why } => {
                if self.wanted == Some(set) && self.phase == Phase::Idle {
                    self.phase = Phase::LeftAlone { why };
                }
            }
            Input::Told { set } => self.told = Some(set),
            Input::GivenAgain { set } => self.given_again = Some(set),
            Input::Missed => {
                // The device may be awake by now. A device that knows no sets may also be back from its reboot, which
                // its announcement does not show.
                if self.phase == Phase::Asleep
                    || (self.is_plain() && matches!(self.phase, Phase::Rebooting { .. }))
                {
                    self.phase = Phase::Idle;
                }
            }
            Input::Started => {
                if matches!(self.phase, Phase::Rebooting { set, .. } if Some(set) == self.wanted) {
                    self.failures += 1;
                }
                self.phase = Phase::Receiving;
                self.is_again = self.wanted.is_some_and(|wanted| self.has_taken_back(wanted));
                // The end tells anew what the device has.
                self.told = None;
                self.started_at = Some(now);
                self.is_back = false;
            }
            Input::Ended(end) => self.end(end, now),
        }
    }

    fn hear(&mut self, announcement: Announcement, anew: bool, now: Instant) {
        let set = announcement.set.and_then(InstalledSet::digest);
        if set.is_some() && set == self.wanted {
            self.failures = 0;
        }
        let had = self.announced.as_ref().and_then(|said| said.set?.digest());
        let is_replaced = had.is_some() && had == self.wanted && set.is_some() && set != self.wanted;
        // A device that knows no sets says what it has only when it is asked.
        if anew && announcement.understands_sets() {
            self.told = None;
        }
        self.announced = Some(announcement);
        if !anew {
            return;
        }
        self.awake_at = Some(now);
        self.is_back = true;
        match &self.phase {
            Phase::Asleep | Phase::Occupied { .. } | Phase::Pausing { resumes: true, .. } => {
                self.phase = Phase::Idle;
            }
            Phase::Rebooting { set: installed, .. } => {
                let installed = *installed;
                self.phase = Phase::Idle;
                if set != Some(installed) && !self.is_plain() && !self.has_taken_back(installed) {
                    self.fail(
                        "it has installed the set, and does not have it after its reboot".to_owned(),
                        true,
                        now,
                    );
                }
            }
            _ => {}
        }
        if is_replaced && self.wanted.is_some_and(|wanted| !self.has_taken_back(wanted)) {
            self.be_replaced(now);
        }
    }

    /// Takes note that another sender has given the device another set. An occasional replacement is put right at once.
    /// If two senders replaced each other's set for ever, the device would reboot for ever, so repeated ones are put
    /// right after a pause.
    fn be_replaced(&mut self, now: Instant) {
        let count = self.count_replacement(now);
        if count > REPLACED_AT_ONCE && self.phase != Phase::Receiving {
            let until = now + pause(count - REPLACED_AT_ONCE);
            let why = format!("another sender has replaced its set {count} times in a row");
            self.phase = Phase::Pausing { until, why, resumes: false };
        }
    }

    /// Takes note that another sender has given a file to a device that knows no sets and announces nothing of it. An
    /// offer finds out what the device has, once it is back.
    fn lose_plain(&mut self, now: Instant) {
        let count = self.count_replacement(now);
        self.phase = if count > REPLACED_AT_ONCE {
            let until = now + pause(count - REPLACED_AT_ONCE);
            let why = format!("another sender has replaced its files {count} times in a row");
            Phase::Pausing { until, why, resumes: false }
        } else {
            Phase::Occupied { until: now + FIRST_PAUSE }
        };
    }

    /// Counts a replacement. Returns the number of replacements in a row.
    fn count_replacement(&mut self, now: Instant) -> u32 {
        let is_soon =
            |(_, at): &(u32, Instant)| now.saturating_duration_since(*at) < LONGEST_PAUSE + FIRST_PAUSE;
        let count = self.replaced.filter(is_soon).map_or(1, |(count, _)| count.saturating_add(1));
        self.replaced = Some((count, now));
        count
    }

    fn end(&mut self, end: End, now: Instant) {
        let End { set, result, advanced, booted } = end;
        let started_at = self.started_at.take();
        self.phase = Phase::Idle;
        // A finding about another set says nothing about the wanted one.
        let is_current = self.wanted == Some(set);
        if advanced && is_current {
            self.failures = 0;
        }
        if !matches!(result, Ended::Hindered { .. } | Ended::GaveWay) {
            self.hindrance = None;
        }
        let was_given = matches!(result, Ended::Installed | Ended::Unchanged | Ended::RolledBack { .. });
        if self.is_again && was_given {
            self.given_again = Some(set);
        }
        self.is_again = false;
        match result {
            Ended::Installed | Ended::Unchanged => {
                self.told = Some(set);
                let has_announced = self.announced.as_ref().and_then(|said| said.set?.digest()) == Some(set);
                // A device that knows no sets announces itself after its reboot, perhaps before its status message is
                // processed.
                let is_back = has_announced || (self.is_plain() && (self.is_back || booted));
                if result == Ended::Installed && !is_back {
                    self.phase = Phase::Rebooting { set, until: now + LONGEST_BOOT, is_late: false };
                }
            }
            // The device came after the broker had looked for it, and will not announce itself twice.
            Ended::NotThere
                if self.awake_at.zip(started_at).is_some_and(|(awake, started)| awake > started) => {}
            Ended::NotThere => self.phase = Phase::Asleep,
            Ended::Busy => self.phase = Phase::Occupied { until: now + LONGEST_PAUSE },
            // The device chooses the time, but no device is asked all the time.
            Ended::Postponed { after, why } if is_current => {
                self.phase = Phase::Postponed { until: now + after.max(FIRST_PAUSE), why };
            }
            // The device is still due and waits for its turn.
            Ended::GaveWay => {}
            Ended::NobodyCame { why } => {
                let was_awake = self
                    .awake_at
                    .zip(started_at)
                    .is_some_and(|(awake, started)| started.saturating_duration_since(awake) < AWAKE);
                if was_awake && is_current {
                    self.fail(why, true, now);
                } else {
                    self.phase = Phase::Asleep;
                }
            }
            // The device announces the rollback, and is given the set once more.
            Ended::RolledBack { why }
                if Announcement::is_no_network(&why)
                    && self.has_taken_back(set)
                    && !self.was_given_again(set) => {}
            Ended::RolledBack { why } if is_current => {
                self.phase = Phase::LeftAlone { why: why_taken_back(Some(&why)) };
            }
            Ended::Failed { why, may_pass } if is_current => {
                self.fail(why, may_pass, now);
                let is_back = self.is_awake(now) && self.awake_at > started_at;
                match &mut self.phase {
                    // The device announced itself before its failure was processed, and goes on at once.
                    phase @ Phase::Pausing { .. } if advanced && is_back => *phase = Phase::Idle,
                    Phase::Pausing { resumes, .. } => *resumes = advanced,
                    _ => {}
                }
            }
            Ended::Hindered { why } if is_current => self.hinder(why, now),
            Ended::RolledBack { .. }
            | Ended::Postponed { .. }
            | Ended::Failed { .. }
            | Ended::Hindered { .. } => {}
        }
    }

    fn fail(&mut self, why: String, may_pass: bool, now: Instant) {
        self.failures += 1;
        self.phase = if may_pass && self.failures < self.limit {
            Phase::Pausing { until: now + pause(self.failures), why, resumes: false }
        } else {
            Phase::LeftAlone { why }
        };
    }

    /// Takes note of a failure on this side. It is no failure of the device and passes in time. A device that announces
    /// itself is tried at once, unless `limit` attempts in a row were in vain.
    fn hinder(&mut self, why: String, now: Instant) {
        let count = self.hindrance.take().map_or(0, |hindrance| hindrance.count).saturating_add(1);
        self.hindrance = Some(Hindrance { why: why.clone(), count });
        self.phase = Phase::Pausing { until: now + pause(count), why, resumes: count < self.limit };
    }

    /// Checks the clock. Returns true once, when the device has been rebooting for longer than it should.
    pub(super) fn grows_late(&mut self, now: Instant) -> bool {
        if self.standing() != Standing::Rebooting {
            return false;
        }
        let Phase::Rebooting { until, is_late, .. } = &mut self.phase else { return false };
        !*is_late && *until - (LONGEST_BOOT - LONG_BOOT) <= now && {
            *is_late = true;
            true
        }
    }

    /// Returns when the device is to be given its files.
    pub(super) fn due(&self, now: Instant) -> Due {
        match (self.standing(), &self.phase) {
            (Standing::Pending, _) => Due::Now,
            (Standing::Rebooting, Phase::Occupied { until }) if *until > now => Due::At(*until),
            (Standing::Rebooting, Phase::Occupied { .. }) => Due::Now,
            (Standing::Rebooting, Phase::Rebooting { until, is_late: false, .. }) => {
                Due::At(*until - (LONGEST_BOOT - LONG_BOOT))
            }
            // A device that is not heard of after so many reboots is best left alone. The same goes for a device that
            // was given its set once more, until it says what became of it.
            (_, Phase::Rebooting { set, .. })
                if self.failures >= self.limit || self.was_given_again(*set) =>
            {
                Due::Never
            }
            (Standing::Failing { .. }, Phase::Rebooting { until, .. }) => {
                if *until > now {
                    Due::At(*until)
                } else {
                    Due::Now
                }
            }
            (
                Standing::Failing { .. } | Standing::Postponed { .. },
                Phase::Pausing { until, .. } | Phase::Postponed { until, .. },
            ) if *until > now => Due::At(*until),
            (Standing::Failing { .. } | Standing::Postponed { .. }, _) => Due::Now,
            _ => Due::Never,
        }
    }

    /// Returns how the device stands.
    pub(super) fn standing(&self) -> Standing {
        let Some(wanted) = self.wanted else { return Standing::Nothing };
        let Some(announced) = &self.announced else { return Standing::Unknown };
        if self.phase == Phase::Receiving {
            return Standing::Receiving;
        }
        let announces_it = announced.set.and_then(InstalledSet::digest) == Some(wanted);
        if announces_it {
            // The device may still take back a set on trial, so nobody is to rely on it yet.
            return if announced.boots.is_some() { Standing::Rebooting } else { Standing::InStep };
        }
        if self.has_taken_back(wanted)
            && let Some(standing) = self.after_taking_back(wanted, announced)
        {
            return standing;
        }
        match &self.phase {
            Phase::Rebooting { set, is_late: true, .. } if *set == wanted => {
                Standing::Failing { why: NOT_BACK.to_owned() }
            }
            Phase::Rebooting { set, .. } if *set == wanted => Standing::Rebooting,
            _ if self.told == Some(wanted) => Standing::InStep,
            Phase::Idle | Phase::Receiving | Phase::Rebooting { .. } => Standing::Pending,
            Phase::Occupied { .. } => Standing::Rebooting,
            Phase::Asleep => Standing::Asleep,
            Phase::Postponed { why, .. } => Standing::Postponed { why: why.clone() },
            Phase::Pausing { why, .. } => Standing::Failing { why: why.clone() },
            Phase::LeftAlone { why } => Standing::LeftAlone { why: why.clone() },
        }
    }

    /// Returns the standing of a device that has announced that it took its set back, or `None` where its phase
    /// decides.
    ///
    /// A set taken back for want of a network need not be at fault, and is given to the device once more.
    fn after_taking_back(&self, wanted: Digest, announced: &Announcement) -> Option<Standing> {
        let why = why_taken_back(announced.error.as_deref());
        match &self.phase {
            _ if !announced.had_no_network() => Some(Standing::RolledBack { why }),
            Phase::Idle if !self.was_given_again(wanted) => {
                Some(Standing::Failing { why: format!("{why}: taken back, and sent once more") })
            }
            _ if !self.was_given_again(wanted) => None,
            // The announcement is older than this delivery.
            Phase::Rebooting { set, .. } if *set == wanted => None,
            _ => Some(Standing::RolledBack { why: format!("{why}, when it was sent once more as well") }),
        }
    }

    /// Returns true if the device has announced itself and knows no sets.
    fn is_plain(&self) -> bool {
        self.announced.as_ref().is_some_and(|said| !said.understands_sets())
    }

    /// Returns why the device has taken back the wanted set, or `None` if it has not.
    pub(super) fn taken_back(&self) -> Option<String> {
        let announced = self
            .announced
            .as_ref()
            .filter(|said| self.wanted.is_some() && said.rolled_back == self.wanted)?;
        Some(why_taken_back(announced.error.as_deref()))
    }

    fn has_taken_back(&self, set: Digest) -> bool {
        self.announced.as_ref().is_some_and(|announced| announced.rolled_back == Some(set))
    }
}

/// Returns the reason of a rollback. A device of version 0.1 may have given none.
fn why_taken_back(why: Option<&str>) -> String {
    let why = why.filter(|why| !why.trim().is_empty());
    why.unwrap_or("taken back by the device, which did not say why").to_owned()
}

/// Returns the pause after this number of times in a row.
fn pause(times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
