//! What is to be done for one device, given what was heard. No clock and no socket.

use std::time::Duration;

use tokio::time::Instant;

use super::standing::Standing;
use crate::wire::{Announcement, Digest, InstalledSet};

/// The pause after a delivery has failed; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long a device that has installed its files may take to be heard of, before it is offered them again.
const LONGEST_BOOT: Duration = Duration::from_secs(300);
/// How long that may take before it is said.
const LONG_BOOT: Duration = Duration::from_secs(60);
/// How often in a row a set that somebody else has replaced is sent again at once.
const REPLACED_AT_ONCE: u32 = 2;
/// What is said of one whose boot takes so long.
pub(super) const NOT_BACK: &str = "it has installed its files, and has not come back online since";
/// How soon after its announcement a device that does not come for what it is offered is not asleep: it cannot.
const AWAKE: Duration = Duration::from_secs(5);

/// What was heard or done.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// The folder has changed, or is looked at for the first time: the set that the device is to have.
    Wanted(Option<Digest>),
    /// The device has announced itself.
    Announced {
        announcement: Announcement,
        /// It did so now, and is awake.
        anew: bool,
    },
    /// Somebody has taken its announcement back.
    Withdrawn,
    /// The device has said that it takes an offer, or has taken it: what it reboots for is still to come.
    Taking {
        /// It has taken it, and has something else than before.
        installed: bool,
    },
    /// It was left alone with this set, by a keeper before this one.
    Remembered { set: Digest, why: String },
    /// It has said to a keeper before this one that it has this set, and announces no such thing.
    Told { set: Digest },
    /// It was given this set once more by a keeper before this one, after it had taken that back for want of a network.
    GivenAgain { set: Digest },
    /// The connection to the broker was lost and is back: what the device said meanwhile may be missing.
    Missed,
    /// A delivery begins.
    Started,
    /// It is over.
    Ended(End),
}

/// How a delivery ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The set that was delivered.
    pub(super) set: Digest,
    pub(super) result: Ended,
    /// Whether the device got further than ever before.
    pub(super) advanced: bool,
    /// Whether it has fetched it at its boot, and does not reboot for it again.
    pub(super) booted: bool,
}

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The device has it, and reboots.
    Installed,
    /// The device had it already.
    Unchanged,
    /// It had it, and has taken it back.
    RolledBack { why: String },
    /// The broker knows that it is not there.
    NotThere,
    /// Nobody came: it is asleep, or cannot reach the sender.
    NobodyCame { why: String },
    /// It has another set on trial, and cannot take this one now.
    Busy,
    /// It asks to be offered this again after such a time.
    Postponed { after: Duration, why: String },
    /// It had not said anything yet, and another one that is awake has its place.
    GaveWay,
    /// It went wrong.
    Failed {
        why: String,
        /// Whether it may go well a moment later.
        may_pass: bool,
    },
    /// It went wrong on this side, which says nothing about the device.
    Hindered { why: String },
}

/// When the device is to be given its files.
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
    /// It has said that it has the set, and has not announced it yet.
    Rebooting {
        set: Digest,
        /// When it is no longer waited for.
        until: Instant,
        /// It takes longer than [`LONG_BOOT`].
        is_late: bool,
    },
    /// Another sender has given it something, for which it reboots, or which it has on trial and may confirm without a
    /// word.
    Occupied {
        /// When it is asked again.
        until: Instant,
    },
    Asleep,
    /// It has asked to be offered its files again at that time.
    Postponed {
        until: Instant,
        why: String,
    },
    Pausing {
        until: Instant,
        why: String,
        /// It got further, and goes on when it wakes.
        resumes: bool,
    },
    LeftAlone {
        why: String,
    },
}

/// What went wrong on this side. The device has no part in it, so it is tried for as long as it lasts.
#[derive(Debug)]
struct Hindrance {
    why: String,
    /// How often in a row.
    count: u32,
}

/// The state of one device.
#[derive(Debug)]
pub(super) struct Duty {
    wanted: Option<Digest>,
    announced: Option<Announcement>,
    /// When it was last heard to be awake.
    awake_at: Option<Instant>,
    /// It has announced itself since it last said that it takes an offer, or has taken it.
    is_back: bool,
    /// What it has said that it has, where its announcement has not said otherwise since.
    told: Option<Digest>,
    phase: Phase,
    /// Failures in a row, with what is wanted now.
    failures: u32,
    /// How many of them there may be.
    limit: u32,
    /// What hinders its deliveries on this side, until one of them ends otherwise.
    hindrance: Option<Hindrance>,
    /// When the delivery that is under way has begun.
    started_at: Option<Instant>,
    /// The set that it was given once more, after it had taken that back for want of a network.
    given_again: Option<Digest>,
    /// The delivery that is under way gives it such a set.
    is_again: bool,
    /// How often in a row somebody else has replaced what it is to have, and when last.
    replaced: Option<(u32, Instant)>,
}

impl Duty {
    /// `limit`: after how many failures in a row a device is left alone.
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

    /// What it is to have.
    pub(super) fn wanted(&self) -> Option<Digest> {
        self.wanted
    }

    /// The device's last announcement.
    pub(super) fn announced(&self) -> Option<&Announcement> {
        self.announced.as_ref()
    }

    /// Whether it has said that it has this set, and nothing else was heard since.
    pub(super) fn has_told(&self, set: Digest) -> bool {
        self.told == Some(set)
    }

    /// Whether it was given this set once more, after it had taken that back for want of a network.
    pub(super) fn was_given_again(&self, set: Digest) -> bool {
        self.given_again == Some(set)
    }

    /// Whether it is to say next what became of a set.
    pub(super) fn awaits_word(&self) -> bool {
        matches!(self.phase, Phase::Rebooting { .. } | Phase::Occupied { .. })
    }

    /// What hindered its last delivery on this side, if anything did.
    pub(super) fn hindrance(&self) -> Option<&str> {
        self.hindrance.as_ref().map(|hindrance| hindrance.why.as_str())
    }

    /// Whether it was heard to be awake so lately that it may still be.
    pub(super) fn is_awake(&self, now: Instant) -> bool {
        self.awake_at.is_some_and(|awake| now.saturating_duration_since(awake) < AWAKE)
    }

    /// Takes what was heard.
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
                    // During a delivery its end tells what the device has.
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
                // It may be awake by now; and one that knows no sets may be back from its reboot, of which what
                // it announces tells nothing.
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
                // The end tells anew what it has.
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
        // One that knows no sets never says what it has, but when it was asked.
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

    /// Somebody else has given it another set. Once in a while that is put right at once; two who do so for ever would
    /// have it boot for ever.
    fn be_replaced(&mut self, now: Instant) {
        let count = self.count_replacement(now);
        if count > REPLACED_AT_ONCE && self.phase != Phase::Receiving {
            let until = now + pause(count - REPLACED_AT_ONCE);
            let why = format!("another sender has replaced its set {count} times in a row");
            self.phase = Phase::Pausing { until, why, resumes: false };
        }
    }

    /// Somebody else has given a file to one that knows no sets, and announces nothing of it: what it has now is found
    /// out by an offer, once it is back.
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

    /// How often in a row it was replaced, with this time.
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
        // What was found out about another set says nothing about this one.
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
                // One that knows no sets announces itself after its reboot, and may do so before its word is understood.
                let is_back = has_announced || (self.is_plain() && (self.is_back || booted));
                if result == Ended::Installed && !is_back {
                    self.phase = Phase::Rebooting { set, until: now + LONGEST_BOOT, is_late: false };
                }
            }
            // It came after the broker had looked for it, and will not say so twice.
            Ended::NotThere
                if self.awake_at.zip(started_at).is_some_and(|(awake, started)| awake > started) => {}
            Ended::NotThere => self.phase = Phase::Asleep,
            Ended::Busy => self.phase = Phase::Occupied { until: now + LONGEST_PAUSE },
            // It says itself when; but nobody is asked all the time.
            Ended::Postponed { after, why } if is_current => {
                self.phase = Phase::Postponed { until: now + after.max(FIRST_PAUSE), why };
            }
            // It is still due, and waits for its turn.
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
            // It announces so, and is given it once more.
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
                    // It has announced itself before its failure was understood, and goes on at once.
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

    /// It is no failure of the device, and passes some time. One that announces itself is tried at once, unless it was
    /// in vain that often that it would be so again.
    fn hinder(&mut self, why: String, now: Instant) {
        let count = self.hindrance.take().map_or(0, |hindrance| hindrance.count).saturating_add(1);
        self.hindrance = Some(Hindrance { why: why.clone(), count });
        self.phase = Phase::Pausing { until: now + pause(count), why, resumes: count < self.limit };
    }

    /// Looks at the clock; true once it reboots for longer than a device should.
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

    /// When it is to be given its files.
    pub(super) fn due(&self, now: Instant) -> Due {
        match (self.standing(), &self.phase) {
            (Standing::Pending, _) => Due::Now,
            (Standing::Rebooting, Phase::Occupied { until }) if *until > now => Due::At(*until),
            (Standing::Rebooting, Phase::Occupied { .. }) => Due::Now,
            (Standing::Rebooting, Phase::Rebooting { until, is_late: false, .. }) => {
                Due::At(*until - (LONGEST_BOOT - LONG_BOOT))
            }
            // One that is not heard of after so many reboots is best left alone; and so is one that was given its set
            // once more, until it says what became of it.
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

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        let Some(wanted) = self.wanted else { return Standing::Nothing };
        let Some(announced) = &self.announced else { return Standing::Unknown };
        if self.phase == Phase::Receiving {
            return Standing::Receiving;
        }
        let announces_it = announced.set.and_then(InstalledSet::digest) == Some(wanted);
        if announces_it {
            // It may take back what is on trial: nobody is to rely on it yet.
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

    /// How a device stands that has announced that it has taken its set back; None where its phase tells.
    ///
    /// A set that it has taken back for want of a network need not be at fault, and is given to it once more.
    fn after_taking_back(&self, wanted: Digest, announced: &Announcement) -> Option<Standing> {
        let why = why_taken_back(announced.error.as_deref());
        match &self.phase {
            _ if !announced.had_no_network() => Some(Standing::RolledBack { why }),
            Phase::Idle if !self.was_given_again(wanted) => {
                Some(Standing::Failing { why: format!("{why}: taken back, and sent once more") })
            }
            _ if !self.was_given_again(wanted) => None,
            // What it has announced is older.
            Phase::Rebooting { set, .. } if *set == wanted => None,
            _ => Some(Standing::RolledBack { why: format!("{why}, when it was sent once more as well") }),
        }
    }

    /// Whether it has announced itself, and knows no sets.
    fn is_plain(&self) -> bool {
        self.announced.as_ref().is_some_and(|said| !said.understands_sets())
    }

    /// Why it has taken back what it is to have; None where it has not.
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

/// A device of 0.1 may have said nothing.
fn why_taken_back(why: Option<&str>) -> String {
    let why = why.filter(|why| !why.trim().is_empty());
    why.unwrap_or("taken back by the device, which did not say why").to_owned()
}

/// How long to wait after that many times in a row.
fn pause(times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
