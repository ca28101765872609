//! What is to be done for one device, given what was heard. No clock and no socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::{Announcement, Digest, InstalledSet};

/// The pause after a device has failed; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long a device that has installed its files may take to be heard of, before it is offered them again.
const LONGEST_BOOT: Duration = Duration::from_secs(300);
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
    /// It was left alone with this set, by a keeper before this one.
    Remembered { set: Digest, why: String },
    /// It has said to a keeper before this one that it has this set, and announces no such thing.
    Told { set: Digest },
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

/// How the device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has never announced itself.
    Unknown,
    /// It has what it is to have.
    InStep,
    /// It is to be given its files as soon as there is room.
    Pending,
    /// It is being given its files.
    Receiving,
    /// It has its files and reboots, was not heard of since, or has them on trial.
    Rebooting,
    /// It is given its files when it wakes.
    Asleep,
    /// It did not work, and is tried again.
    Failing {
        /// The last reason.
        why: String,
    },
    /// It did not work, and is left alone until its folder changes.
    LeftAlone {
        /// The last reason.
        why: String,
    },
    /// It has taken the set back, and is left alone until its folder changes.
    RolledBack {
        /// The device's own words; empty if it has said none.
        why: String,
    },
    /// Its settings say that it is held back.
    Held,
    /// There is nothing to send it.
    Nothing,
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
    },
    /// It has another set on trial, which it may confirm without a word.
    OnTrial {
        /// When it is asked again.
        until: Instant,
    },
    Asleep,
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

/// The state of one device.
#[derive(Debug)]
pub(super) struct Duty {
    wanted: Option<Digest>,
    announced: Option<Announcement>,
    /// When it was last heard to be awake.
    awake_at: Option<Instant>,
    /// What it has said that it has, where its announcement has not said otherwise since.
    told: Option<Digest>,
    phase: Phase,
    /// Failures in a row, with what is wanted now.
    failures: u32,
    /// How many of them there may be.
    limit: u32,
    /// When the delivery that is under way has begun.
    started_at: Option<Instant>,
}

impl Duty {
    /// `limit`: after how many failures in a row a device is left alone.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            wanted: None,
            announced: None,
            awake_at: None,
            told: None,
            phase: Phase::Idle,
            failures: 0,
            limit,
            started_at: None,
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
                if self.phase != Phase::Receiving {
                    self.phase = Phase::Idle;
                }
            }
            Input::Wanted(_) => {}
            Input::Announced { announcement, anew } => self.hear(announcement, anew, now),
            Input::Remembered { set, why } => {
                if self.wanted == Some(set) && self.phase == Phase::Idle {
                    self.phase = Phase::LeftAlone { why };
                }
            }
            Input::Told { set } => self.told = Some(set),
            Input::Missed => {
                let is_plain = self.announced.as_ref().is_some_and(|said| !said.understands_extended());
                // It may be awake by now; and one that knows no sets may be back from its reboot, of which what
                // it announces tells nothing.
                if self.phase == Phase::Asleep || (is_plain && matches!(self.phase, Phase::Rebooting { .. }))
                {
                    self.phase = Phase::Idle;
                }
            }
            Input::Started => {
                if matches!(self.phase, Phase::Rebooting { set, .. } if Some(set) == self.wanted) {
                    self.failures += 1;
                }
                self.phase = Phase::Receiving;
                self.started_at = Some(now);
            }
            Input::Ended(end) => self.end(end, now),
        }
    }

    fn hear(&mut self, announcement: Announcement, anew: bool, now: Instant) {
        let set = announcement.set.and_then(InstalledSet::digest);
        if set.is_some() && set == self.wanted {
            self.failures = 0;
        }
        // One that knows no sets never says what it has, but when it was asked.
        if anew && announcement.understands_extended() {
            self.told = None;
        }
        self.announced = Some(announcement);
        if !anew {
            return;
        }
        self.awake_at = Some(now);
        match &self.phase {
            Phase::Asleep | Phase::OnTrial { .. } | Phase::Pausing { resumes: true, .. } => {
                self.phase = Phase::Idle;
            }
            Phase::Rebooting { set: installed, .. } => {
                let installed = *installed;
                let is_plain = self.announced.as_ref().is_some_and(|said| !said.understands_extended());
                self.phase = Phase::Idle;
                if set != Some(installed) && !is_plain && !self.has_taken_back(installed) {
                    self.fail(
                        "it has installed the set, and does not have it after its reboot".to_owned(),
                        true,
                        now,
                    );
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, end: End, now: Instant) {
        let End { set, result, advanced } = end;
        let started_at = self.started_at.take();
        self.phase = Phase::Idle;
        // What was found out about another set says nothing about this one.
        let is_current = self.wanted == Some(set);
        if advanced && is_current {
            self.failures = 0;
        }
        match result {
            Ended::Installed | Ended::Unchanged => {
                self.told = Some(set);
                let has_announced = self.announced.as_ref().and_then(|said| said.set?.digest()) == Some(set);
                if result == Ended::Installed && !has_announced {
                    self.phase = Phase::Rebooting { set, until: now + LONGEST_BOOT };
                }
            }
            // It came after the broker had looked for it, and will not say so twice.
            Ended::NotThere
                if self.awake_at.zip(started_at).is_some_and(|(awake, started)| awake > started) => {}
            Ended::NotThere => self.phase = Phase::Asleep,
            Ended::Busy => self.phase = Phase::OnTrial { until: now + LONGEST_PAUSE },
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
            Ended::RolledBack { why } if is_current => self.phase = Phase::LeftAlone { why },
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
            Ended::RolledBack { .. } | Ended::Failed { .. } => {}
            Ended::Hindered { why } => {
                self.phase = Phase::Pausing { until: now + FIRST_PAUSE, why, resumes: true };
            }
        }
    }

    fn fail(&mut self, why: String, may_pass: bool, now: Instant) {
        self.failures += 1;
        self.phase = if may_pass && self.failures < self.limit {
            let doublings = (self.failures - 1).min(16);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
            Phase::Pausing { until: now + pause, why, resumes: false }
        } else {
            Phase::LeftAlone { why }
        };
    }

    /// When it is to be given its files.
    pub(super) fn due(&self, now: Instant) -> Due {
        match (self.standing(), &self.phase) {
            (Standing::Pending, _) => Due::Now,
            (Standing::Failing { .. }, Phase::Pausing { until, .. }) if *until > now => Due::At(*until),
            (Standing::Failing { .. }, _) => Due::Now,
            (Standing::Rebooting, Phase::OnTrial { until }) if *until > now => Due::At(*until),
            (Standing::Rebooting, Phase::OnTrial { .. }) => Due::Now,
            // One that is not heard of after so many reboots is best left alone.
            (Standing::Rebooting, Phase::Rebooting { until, .. }) if self.failures < self.limit => {
                if *until > now { Due::At(*until) } else { Due::Now }
            }
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
        if self.has_taken_back(wanted) {
            return Standing::RolledBack { why: announced.error.clone().unwrap_or_default() };
        }
        match &self.phase {
            Phase::Rebooting { set, .. } if *set == wanted => Standing::Rebooting,
            _ if self.told == Some(wanted) => Standing::InStep,
            Phase::Idle | Phase::Receiving | Phase::Rebooting { .. } => Standing::Pending,
            Phase::OnTrial { .. } => Standing::Rebooting,
            Phase::Asleep => Standing::Asleep,
            Phase::Pausing { why, .. } => Standing::Failing { why: why.clone() },
            Phase::LeftAlone { why } => Standing::LeftAlone { why: why.clone() },
        }
    }

    fn has_taken_back(&self, set: Digest) -> bool {
        self.announced.as_ref().is_some_and(|announced| announced.rolled_back == Some(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;
    use proptest::prelude::*;

    const LIMIT: u32 = 3;

    fn set(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    fn announces(text: &str, anew: bool) -> Input {
        Input::Announced { announcement: Announcement::parse(text.as_bytes()).unwrap(), anew }
    }

    fn has(number: u8) -> Input {
        announces(&format!("v=1|set={}", set(number)), true)
    }

    fn nothing() -> Input {
        announces("v=1|set=-", true)
    }

    fn taken_back(number: u8) -> Input {
        announces(&format!("v=1|set=-|rolled-back={}|error=boom", set(number)), true)
    }

    fn ended(number: u8, result: Ended) -> Input {
        Input::Ended(End { set: set(number), result, advanced: false })
    }

    fn failed() -> Ended {
        Ended::Failed { why: "weak".to_owned(), may_pass: true }
    }

    fn after(now: Instant, inputs: impl IntoIterator<Item = Input>) -> Duty {
        let mut duty = Duty::new(LIMIT);
        inputs.into_iter().for_each(|input| duty.step(input, now));
        duty
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_differs_is_due_and_one_that_does_not_is_in_step() {
        let now = Instant::now();
        assert_eq!(after(now, [Input::Wanted(Some(set(1)))]).due(now), Due::Never, "it was never heard of");
        assert_eq!(after(now, [nothing()]).due(now), Due::Never, "there is nothing to send");
        assert_eq!(after(now, [Input::Wanted(Some(set(1))), nothing()]).due(now), Due::Now);
        let in_step = after(now, [Input::Wanted(Some(set(1))), has(1)]);
        assert_eq!((in_step.due(now), in_step.standing()), (Due::Never, Standing::InStep));
        let retained = after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1)))]);
        assert_eq!(retained.due(now), Due::Now, "it may be awake");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_installed_is_not_sent_again_while_the_device_reboots() {
        let now = Instant::now();
        let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Installed)];
        let mut duty = after(now, start);
        assert_eq!((duty.due(now), duty.standing()), (Due::At(now + LONGEST_BOOT), Standing::Rebooting));
        duty.step(has(1), now);
        assert_eq!(duty.standing(), Standing::InStep);
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_forgets_what_it_installs_is_left_alone_in_the_end() {
        let mut now = Instant::now();
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
        let mut deliveries = 0;
        while duty.due(now) != Due::Never {
            if let Due::At(at) = duty.due(now) {
                now = at;
            }
            deliveries += 1;
            for input in [Input::Started, ended(1, Ended::Installed), nothing()] {
                duty.step(input, now);
            }
            assert!(deliveries <= 100, "it is updated for ever");
        }
        assert!(matches!(duty.standing(), Standing::LeftAlone { .. }), "{duty:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_is_not_heard_of_after_its_reboot_is_asked_a_few_times() {
        let mut now = Instant::now();
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
        let mut deliveries = 0;
        while duty.due(now) != Due::Never {
            if let Due::At(at) = duty.due(now) {
                now = at;
            }
            deliveries += 1;
            assert!(deliveries <= LIMIT + 1, "it reboots for ever");
            duty.step(Input::Started, now);
            duty.step(ended(1, Ended::Installed), now);
        }
        assert_eq!(duty.standing(), Standing::Rebooting);
        duty.step(has(1), now);
        assert_eq!(duty.standing(), Standing::InStep);
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_with_another_set_on_trial_is_asked_again_though_it_says_nothing() {
        let now = Instant::now();
        let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, ended(1, Ended::Busy)];
        let mut duty = after(now, start);
        assert_eq!(duty.due(now), Due::At(now + LONGEST_PAUSE));
        assert_eq!(duty.due(now + LONGEST_PAUSE), Due::Now);
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_was_taken_back_is_sent_only_after_the_folder_has_changed() {
        let now = Instant::now();
        let mut duty = after(now, [Input::Wanted(Some(set(1))), taken_back(1)]);
        assert_eq!(duty.standing(), Standing::RolledBack { why: "boom".to_owned() });
        assert_eq!(duty.due(now), Due::Never);
        duty.step(taken_back(1), now);
        assert_eq!(duty.due(now), Due::Never);
        duty.step(Input::Wanted(Some(set(2))), now);
        assert_eq!(duty.due(now), Due::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_make_ever_longer_pauses_and_an_end() {
        let mut now = Instant::now();
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
        for pause in [10, 20] {
            duty.step(Input::Started, now);
            duty.step(ended(1, failed()), now);
            let Due::At(at) = duty.due(now) else { panic!("{duty:?}") };
            assert_eq!(at - now, Duration::from_secs(pause));
            duty.step(nothing(), now);
            assert_eq!(duty.due(now), Due::At(at), "that it is awake does not mend it");
            now = at;
            assert_eq!(duty.due(now), Due::Now);
        }
        duty.step(Input::Started, now);
        duty.step(ended(1, failed()), now);
        assert_eq!(duty.standing(), Standing::LeftAlone { why: "weak".to_owned() });
        duty.step(nothing(), now);
        assert_eq!(duty.due(now), Due::Never);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_one_wake_goes_on_in_the_next() {
        let now = Instant::now();
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing()]);
        for _ in 0..20 {
            duty.step(Input::Started, now);
            duty.step(Input::Ended(End { set: set(1), result: failed(), advanced: true }), now);
            assert_ne!(duty.due(now), Due::Now);
            duty.step(nothing(), now);
            assert_eq!(duty.due(now), Due::Now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleeping_device_is_no_failure_and_is_due_when_it_wakes() {
        let now = Instant::now();
        let nobody = || Ended::NobodyCame { why: "nobody connected".to_owned() };
        for result in [Ended::NotThere, nobody()] {
            let mut duty = after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1)))]);
            for _ in 0..20 {
                duty.step(Input::Started, now);
                duty.step(ended(1, result.clone()), now);
                assert_eq!((duty.standing(), duty.due(now)), (Standing::Asleep, Due::Never));
                duty.step(Input::Wanted(None), now);
                duty.step(Input::Wanted(Some(set(1))), now);
                assert_eq!(duty.due(now), Due::Now, "it may have woken");
            }
            duty.step(Input::Started, now);
            duty.step(ended(1, result), now);
            duty.step(nothing(), now);
            assert_eq!(duty.due(now), Due::Now);
        }
        // One that is awake and does not come has another reason.
        let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing(), Input::Started]);
        duty.step(ended(1, nobody()), now + Duration::from_secs(30));
        assert!(matches!(duty.standing(), Standing::Failing { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_changes_during_a_delivery_is_delivered_next() {
        let now = Instant::now();
        for result in [Ended::Installed, failed(), Ended::Failed { why: String::new(), may_pass: false }] {
            let start = [Input::Wanted(Some(set(1))), nothing(), Input::Started, Input::Wanted(Some(set(2)))];
            let mut duty = after(now, start);
            assert_eq!(duty.due(now), Due::Never);
            duty.step(ended(1, result), now);
            assert_eq!(duty.due(now), Due::Now, "{duty:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_without_sets_is_in_step_by_its_word() {
        let now = Instant::now();
        let plain = || announces("v=1|client=x", true);
        let mut duty = after(now, [Input::Wanted(Some(set(1))), plain(), Input::Started]);
        duty.step(ended(1, Ended::Installed), now);
        assert_eq!(duty.standing(), Standing::Rebooting);
        duty.step(plain(), now);
        assert_eq!(duty.standing(), Standing::InStep);
        duty.step(plain(), now);
        assert_eq!(duty.standing(), Standing::InStep);
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_keeper_left_alone_is_left_alone() {
        let now = Instant::now();
        let remembered = || Input::Remembered { set: set(1), why: "full".to_owned() };
        let mut duty = after(now, [nothing(), Input::Wanted(Some(set(1))), remembered()]);
        assert_eq!(duty.standing(), Standing::LeftAlone { why: "full".to_owned() });
        duty.step(Input::Wanted(Some(set(2))), now);
        duty.step(remembered(), now);
        assert_eq!(duty.due(now), Due::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_wakes_while_the_broker_says_that_it_is_not_there_is_due_at_once() {
        let now = Instant::now();
        let mut duty =
            after(now, [announces("v=1|set=-", false), Input::Wanted(Some(set(1))), Input::Started]);
        let later = now + Duration::from_millis(1);
        duty.step(nothing(), later);
        duty.step(ended(1, Ended::NotThere), later);
        assert_eq!(duty.due(later), Due::Now);
        duty.step(Input::Started, later);
        duty.step(ended(1, Ended::NotThere), later);
        assert_eq!(duty.standing(), Standing::Asleep, "it says nothing new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_wakes_before_it_is_understood_that_it_broke_off_goes_on_at_once() {
        let now = Instant::now();
        for (advanced, due) in [(true, Due::Now), (false, Due::At(now + Duration::from_millis(10_001)))] {
            let mut duty = after(now, [Input::Wanted(Some(set(1))), nothing(), Input::Started]);
            let later = now + Duration::from_millis(1);
            duty.step(nothing(), later);
            duty.step(Input::Ended(End { set: set(1), result: failed(), advanced }), later);
            assert_eq!(duty.due(later), due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_device_has_on_trial_is_not_confirmed() {
        let now = Instant::now();
        let on_trial = announces(&format!("v=1|set={}|boots=1", set(1)), true);
        let mut duty = after(now, [Input::Wanted(Some(set(1))), on_trial]);
        assert_eq!((duty.standing(), duty.due(now)), (Standing::Rebooting, Due::Never));
        duty.step(has(1), now);
        assert_eq!(duty.standing(), Standing::InStep);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_connection_was_lost_a_device_may_be_awake_or_back() {
        let now = Instant::now();
        let mut duty = after(now, [nothing(), Input::Wanted(Some(set(1))), Input::Started]);
        duty.step(ended(1, Ended::NotThere), now);
        duty.step(Input::Missed, now);
        assert_eq!(duty.due(now), Due::Now);
        let plain = || announces("v=1|client=x", false);
        let mut duty = after(now, [Input::Wanted(Some(set(1))), plain(), Input::Started]);
        duty.step(ended(1, Ended::Installed), now);
        duty.step(Input::Missed, now);
        assert_eq!(duty.standing(), Standing::InStep);
    }

    fn any_input() -> impl Strategy<Value = Input> {
        let number = || 1_u8..4;
        let result = prop_oneof![
            Just(Ended::Installed),
            Just(Ended::Unchanged),
            Just(Ended::RolledBack { why: String::new() }),
            Just(Ended::NotThere),
            Just(Ended::NobodyCame { why: String::new() }),
            Just(Ended::Busy),
            Just(Ended::GaveWay),
            any::<bool>().prop_map(|may_pass| Ended::Failed { why: String::new(), may_pass }),
            Just(Ended::Hindered { why: String::new() }),
        ];
        prop_oneof![
            proptest::option::of(number()).prop_map(|number| Input::Wanted(number.map(set))),
            number().prop_map(has),
            number().prop_map(taken_back),
            Just(nothing()),
            Just(announces("v=1|set=-", false)),
            Just(announces("v=1", true)),
            number().prop_map(|number| Input::Remembered { set: set(number), why: String::new() }),
            Just(Input::Missed),
            Just(Input::Started),
            (number(), result, any::<bool>()).prop_map(|(number, result, advanced)| Input::Ended(End {
                set: set(number),
                result,
                advanced
            })),
        ]
    }

    proptest! {
        #[test]
        fn property_nothing_is_sent_that_is_there_or_was_taken_back_and_failures_come_to_an_end(
            inputs in proptest::collection::vec(any_input(), 0..60)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let now = Instant::now();
            let mut duty = Duty::new(LIMIT);
            let (mut wanted, mut said, mut receiving) = (None, None::<Announcement>, false);
            for input in inputs {
                // A delivery begins only where one is due, and ends only where one has begun.
                match &input {
                    Input::Started if duty.due(now) == Due::Never || receiving => continue,
                    Input::Ended(_) if !receiving => continue,
                    Input::Started => receiving = true,
                    Input::Ended(_) => receiving = false,
                    Input::Wanted(set) => wanted = *set,
                    Input::Announced { announcement, .. } => said = Some(announcement.clone()),
                    Input::Remembered { .. } | Input::Told { .. } | Input::Missed => {}
                }
                duty.step(input, now);
                if duty.due(now) != Due::Never {
                    let said = said.as_ref().expect("a device that was never heard of is due");
                    prop_assert!(wanted.is_some() && !receiving);
                    prop_assert_ne!(said.set.and_then(InstalledSet::digest), wanted);
                    prop_assert_ne!(said.rolled_back, wanted);
                }
                prop_assert!(duty.failures <= LIMIT, "{:?}", duty);
            }
        }
    }
}
