//! State of one extended offer at the sender: events go in, and an outcome comes out. No clock and no socket, so that
//! every order of events can be tested.

use std::mem::replace;
use std::time::Duration;

use crate::address::Advertised;
use crate::mqtt::Ack;
use crate::outcome::Outcome;
use crate::serve::DropCause;
use crate::wire::{Announcement, DevicePath, Digest, InstalledSet, OfferId, Reason, State, Status};

/// Largest number of restarts of a device without progress. A device that crashes whenever it takes the offer would
/// restart for ever.
const RESTARTS: u32 = 3;

/// Offer that a [`Dialogue`] is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) path: DevicePath,
    pub(crate) digest: Digest,
    /// Length of all files together, in bytes.
    pub(crate) total: u64,
    pub(crate) is_set: bool,
    pub(crate) dry_run: bool,
    pub(crate) id: OfferId,
    /// Ids of the earlier offers of this delivery.
    pub(crate) earlier: Vec<OfferId>,
    /// Time for which a device that is not subscribed is waited for. `None` to report it at once.
    pub(crate) waits: Option<Duration>,
}

/// Event that a [`Dialogue`] handles.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The broker has acknowledged the offer.
    Acknowledged(Ack),
    /// The device announced itself after the offer.
    AnnouncedAnew(Announcement),
    /// The device reports its progress, perhaps with another offer.
    Status(Status),
    /// A client that knows the offer asks for something.
    Asked(Asked),
    /// A client that knows the offer has taken bytes. `position` counts the bytes of all files up to there.
    Progress { position: u64 },
    /// A client that knows the offer has taken everything that it asked for.
    Sent,
    /// The connection of a client that knows the offer has ended.
    Dropped(DropCause),
    /// The time of [`Dialogue::patience`] is over.
    Expired,
}

/// Kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// Manifest alone, with which the device compares its files. Also any request of a dry run.
    Manifest,
    /// Manifest and the files after it, before the device knows whether they differ.
    Everything,
    /// Files that differ.
    Files,
}

/// Kind of event that is waited for, which decides how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// First report or request of the device.
    Contact,
    /// Return of a device that fetches the offer at its boot.
    Boot,
    /// Next sign of the device. Every report, every request and all bytes taken renew the time.
    Silence,
}

/// Progress of a device that fetches the offer at its boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Booting {
    /// The device has noted the offer, and reboots.
    Away,
    /// The device has come for the offer since.
    Here,
}

/// State of one offer.
#[derive(Debug)]
pub(crate) struct Dialogue {
    subject: Subject,
    topic: String,
    advertised: Advertised,
    /// True if the device had announced this set before the offer. A repetition tells nothing.
    was_there: bool,
    was_rolled_back: bool,
    acknowledged: bool,
    /// True if every answer of the broker so far was that nobody is subscribed.
    absent: bool,
    receiving: bool,
    /// Progress of a fetch at the device's boot. `None` if the device does not wait for its boot.
    booting: Option<Booting>,
    /// Offer that the device said last that it takes, which may be another one. `None` if that is unknown.
    takes: Option<OfferId>,
    /// Largest request so far.
    asked: Option<Asked>,
    /// True if everything that was asked for last was sent.
    served: bool,
    position: u64,
    /// Number of new announcements since the last progress, after restarts or on request. The first request counts as
    /// progress.
    announced: u32,
    /// True after an announcement of a device that was heard before, until the device takes the offer or asks for
    /// something.
    may_have_restarted: bool,
    /// Number of times that the device began again after an announcement, without progress.
    restarts: u32,
    dropped: Option<DropCause>,
}

impl Dialogue {
    /// Creates the state of a new offer. `before` is the last announcement of the device.
    pub(crate) fn new(
        subject: Subject,
        topic: String,
        advertised: Advertised,
        before: Option<&Announcement>,
    ) -> Self {
        let digest = Some(subject.digest);
        Self {
            was_there: before.and_then(|before| before.set).and_then(InstalledSet::digest) == digest,
            was_rolled_back: before.is_some_and(|before| before.rolled_back == digest),
            subject,
            topic,
            advertised,
            acknowledged: false,
            absent: false,
            receiving: false,
            booting: None,
            takes: None,
            asked: None,
            served: false,
            position: 0,
            announced: 0,
            may_have_restarted: false,
            restarts: 0,
            dropped: None,
        }
    }

    /// Handles one event. Returns the outcome once there is one. `waited` is the time that has expired.
    pub(crate) fn step(&mut self, input: Input, waited: Duration) -> Option<Outcome> {
        match input {
            Input::Acknowledged(ack) => {
                // A further acknowledgement, of an offer that was published again, tells less: the device may need
                // longer than we did to be back at the broker.
                let is_first = !replace(&mut self.acknowledged, true);
                let nobody = ack == Ack::NoSubscribers && self.patience() == Patience::Contact;
                self.absent = nobody && (is_first || self.absent);
                if self.absent && self.subject.waits.is_none() {
                    return Some(self.not_subscribed());
                }
            }
            Input::AnnouncedAnew(announcement) => {
                self.announced += 1;
                self.may_have_restarted = self.has_met();
                return self.outcome_of(announcement);
            }
            Input::Status(status) => {
                let is_answer = self.is_answered_by(&status);
                let is_taken = status.state == State::Receiving;
                if is_taken && status.offer.is_some() {
                    self.takes = status.offer;
                }
                if is_answer {
                    let given_up = if is_taken { self.begins_again(waited) } else { None };
                    return given_up.or_else(|| self.said(status));
                }
            }
            Input::Asked(what) => {
                if self.asked.is_none() {
                    self.announced = 0;
                }
                self.asked = self.asked.max(Some(what));
                self.booting = self.booting.map(|_| Booting::Here);
                self.served = false;
                return self.begins_again(waited);
            }
            Input::Progress { position } => {
                if position > self.position {
                    self.position = position;
                    (self.announced, self.restarts) = (0, 0);
                }
            }
            Input::Sent => {
                self.served = true;
                self.dropped = None;
            }
            Input::Dropped(cause) => self.dropped = Some(cause),
            Input::Expired => return Some(self.expired(waited)),
        }
        None
    }

    /// Counts a restart if the device has announced itself since it last began. Returns the outcome if there were too
    /// many restarts.
    fn begins_again(&mut self, waited: Duration) -> Option<Outcome> {
        self.restarts += u32::from(replace(&mut self.may_have_restarted, false));
        (self.restarts > RESTARTS).then(|| self.expired(waited))
    }

    /// Returns the kind of event that is being waited for.
    pub(crate) fn patience(&self) -> Patience {
        match self.booting {
            Some(Booting::Away) => Patience::Boot,
            _ if self.asked.is_some() || self.receiving => Patience::Silence,
            _ => Patience::Contact,
        }
    }

    /// Returns true if anything was heard of the device.
    pub(crate) fn has_met(&self) -> bool {
        self.patience() != Patience::Contact
    }

    /// Returns true if the device fetches the offer at its boot.
    pub(crate) fn is_at_boot(&self) -> bool {
        self.booting.is_some()
    }

    /// Returns true if the time of [`Dialogue::patience`] begins anew when the device announces itself now.
    ///
    /// The number of renewals is limited, for a device that announces itself again and again without any progress.
    pub(crate) fn has_time_anew(&self) -> bool {
        self.announced < RESTARTS
    }

    /// Returns true if the device is waited for although the broker reports that it is not subscribed.
    pub(crate) fn is_absent(&self) -> bool {
        self.absent && self.patience() == Patience::Contact
    }

    /// Forgets which offer the device takes. The connection to the broker was lost, and reports of the device with it.
    pub(crate) fn missed_something(&mut self) {
        self.takes = None;
    }

    /// Returns true if a status is about this offer, or about an earlier offer of this delivery.
    ///
    /// Any state but a failure counts for either. A failure counts for one offer alone, and the device reports that of
    /// an earlier offer before it begins with this one.
    pub(crate) fn is_answered_by(&self, status: &Status) -> bool {
        let Subject { path, digest, id, earlier, .. } = &self.subject;
        if !status.answers(path, digest) {
            return false;
        }
        let has_failed = status.state == State::Failed;
        match status.offer {
            Some(offer) => offer == *id || !has_failed && earlier.contains(&offer),
            None if !has_failed => true,
            // Version 0.1 names the offer only when it takes it.
            None if self.takes.is_some_and(|takes| takes != *id) => false,
            None => match status.reason() {
                (Reason::Connect, text) => self.advertised.is_named_in(text) != Some(false),
                (Reason::Timeout | Reason::Short | Reason::HashMismatch, _) => self.has_met(),
                _ => true,
            },
        }
    }

    /// Returns the progress of the device, in bytes of all files.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the outcome that the announcement shows. The device of a set announces the result, so that a sender
    /// learns it even if the status was lost.
    fn outcome_of(&self, announcement: Announcement) -> Option<Outcome> {
        let Subject { digest, is_set: true, dry_run: false, .. } = self.subject else { return None };
        let is_there = announcement.set.and_then(InstalledSet::digest) == Some(digest);
        if is_there && !self.was_there {
            return Some(self.installed(false));
        }
        let may_have_it = self.asked >= Some(Asked::Everything);
        (announcement.rolled_back == Some(digest) && may_have_it && !self.was_rolled_back)
            .then(|| Outcome::RolledBack { text: announcement.error.unwrap_or_default() })
    }

    fn said(&mut self, status: Status) -> Option<Outcome> {
        match status.state {
            State::Receiving => {
                self.receiving = true;
                self.booting = status.is_at_boot().then_some(Booting::Away);
                None
            }
            State::Installed => Some(self.installed(status.detail == Status::UNCHANGED)),
            State::Failed => Some(Outcome::of_failure(&status)),
            State::Planned => self.subject.dry_run.then_some(Outcome::Planned),
            // A device gets the same offer again whose set it has taken back.
            State::RolledBack if status.offer.is_some() && !self.subject.dry_run => {
                Some(Outcome::RolledBack { text: status.detail })
            }
            _ => None,
        }
    }

    fn installed(&self, unchanged: bool) -> Outcome {
        // If something was found to differ, an earlier answer was lost.
        if unchanged && self.asked < Some(Asked::Files) { Outcome::Unchanged } else { Outcome::Installed }
    }

    fn not_subscribed(&self) -> Outcome {
        Outcome::NotSubscribed { topic: self.topic.clone(), waited: self.subject.waits }
    }

    fn expired(&mut self, waited: Duration) -> Outcome {
        if self.is_absent() {
            return self.not_subscribed();
        }
        if self.booting == Some(Booting::Away) {
            return Outcome::NotFetchedAtBoot { advertised: self.advertised.clone() };
        }
        if self.asked.is_none() {
            return Outcome::NobodyConnected {
                advertised: self.advertised.clone(),
                receiving: self.receiving,
            };
        }
        match self.dropped.take() {
            None if self.served => Outcome::Silent,
            // A device that has everything it asked for closes. With the manifest alone it has nothing yet.
            Some(DropCause::Closed) if self.served && self.asked >= Some(Asked::Everything) => {
                Outcome::Silent
            }
            cause => Outcome::Interrupted {
                sent: self.position,
                total: self.subject.total,
                cause: cause.unwrap_or(DropCause::Stalled(waited)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Why;
    use crate::wire::Algorithm;
    use proptest::prelude::*;

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha1, b"manifest")
    }

    fn id(number: u8) -> OfferId {
        OfferId::from_bytes([number; 8])
    }

    fn dialogue(dry_run: bool, before: &str) -> Dialogue {
        let advertised = Advertised {
            host: "192.168.1.10".parse().unwrap(),
            port: 4000.try_into().unwrap(),
            why: Why::DefaultRoute,
        };
        let path = "set".parse().unwrap();
        let (id, earlier) = (id(1), vec![id(0)]);
        let subject =
            Subject { path, digest: digest(), total: 9, is_set: true, dry_run, id, earlier, waits: None };
        let before = Announcement::parse(before.as_bytes()).unwrap();
        Dialogue::new(subject, "L/OTA".to_owned(), advertised, Some(&before))
    }

    const WAITED: Duration = Duration::from_secs(7);
    const BEFORE: &str = "v=1|set=-";

    /// Returns the outcome of the last input. No earlier input may have an outcome.
    fn run_after(before: &str, inputs: impl IntoIterator<Item = Input>) -> Option<Outcome> {
        let mut dialogue = dialogue(false, before);
        let mut last = None;
        for input in inputs {
            assert_eq!(last, None, "ended before {input:?}");
            last = dialogue.step(input, WAITED);
        }
        last
    }

    fn run(inputs: impl IntoIterator<Item = Input>) -> Option<Outcome> {
        run_after(BEFORE, inputs)
    }

    fn status(state: State, detail: &str) -> Input {
        Input::Status(Status::new(state, &"set".parse().unwrap(), &digest(), detail))
    }

    fn announces(keys: &str) -> Input {
        let text = format!("v=1|{keys}={}|error=ImportError", digest());
        Input::AnnouncedAnew(Announcement::parse(text.as_bytes()).unwrap())
    }

    use Input::{Acknowledged, Dropped, Expired, Progress, Sent};
    const ACK: Input = Acknowledged(Ack::Accepted);
    const MANIFEST: Input = Input::Asked(Asked::Manifest);
    const EVERYTHING: Input = Input::Asked(Asked::Everything);
    const FILES: Input = Input::Asked(Asked::Files);

    #[test]
    fn the_device_s_word_is_the_outcome() {
        assert_eq!(run([ACK, MANIFEST, FILES, status(State::Installed, "")]), Some(Outcome::Installed));
        assert_eq!(run([ACK, MANIFEST, status(State::Installed, "unchanged")]), Some(Outcome::Unchanged));
        assert_eq!(run([status(State::Installed, "unchanged")]), Some(Outcome::Unchanged));
        let text = "40000 bytes needed, 8192 free".to_owned();
        let failed = Outcome::Failed { reason: Reason::NoSpace, text: text.clone() };
        assert_eq!(run([ACK, MANIFEST, status(State::Failed, &format!("no-space {text}"))]), Some(failed));
    }

    #[test]
    fn unchanged_after_files_were_asked_for_is_the_answer_to_an_offer_whose_own_was_lost() {
        let end = [ACK, MANIFEST, FILES, Sent, status(State::Installed, "unchanged")];
        assert_eq!(run(end), Some(Outcome::Installed));
    }

    #[test]
    fn all_that_is_sent_does_not_make_it_installed() {
        assert_eq!(run([ACK, MANIFEST, FILES, Progress { position: 9 }, Sent]), None);
        let silent = [ACK, MANIFEST, FILES, Progress { position: 9 }, Sent, Expired];
        assert_eq!(run(silent), Some(Outcome::Silent));
        // The device may have installed the files all the same, if its report was lost with the broker.
        let closed = [FILES, Progress { position: 9 }, Sent, Dropped(DropCause::Closed), Expired];
        assert_eq!(run([ACK, MANIFEST].into_iter().chain(closed)), Some(Outcome::Silent));
        let early = [ACK, MANIFEST, Sent, Dropped(DropCause::Closed), Expired];
        assert!(matches!(run(early), Some(Outcome::Interrupted { sent: 0, .. })));
    }

    #[test]
    fn any_number_of_lost_connections_ends_nothing() {
        let again = || [FILES, Progress { position: 4 }, Dropped(DropCause::Closed)];
        let inputs = [ACK, MANIFEST, Sent].into_iter().chain((0..9).flat_map(|_| again()));
        assert_eq!(run(inputs.clone()), None);
        let cause = DropCause::Closed;
        let interrupted = Outcome::Interrupted { sent: 4, total: 9, cause };
        assert_eq!(run(inputs.clone().chain([Expired])), Some(interrupted));
        assert_eq!(run(inputs.chain([FILES, Sent, status(State::Installed, "")])), Some(Outcome::Installed));
        let cause = DropCause::Stalled(WAITED);
        let stalled = Outcome::Interrupted { sent: 0, total: 9, cause };
        assert_eq!(run([ACK, FILES, Expired]), Some(stalled));
    }

    #[test]
    fn an_announcement_is_as_good_as_a_status_that_was_lost() {
        assert_eq!(run([ACK, MANIFEST, FILES, Sent, announces("set")]), Some(Outcome::Installed));
        let text = "ImportError".to_owned();
        let rolled_back = Outcome::RolledBack { text };
        assert_eq!(run([ACK, MANIFEST, FILES, Sent, announces("rolled-back")]), Some(rolled_back));
    }

    #[test]
    fn a_device_that_crashes_at_each_try_is_offered_to_no_longer_unless_it_gets_further() {
        let anew = || Input::AnnouncedAnew(Announcement::parse(BEFORE.as_bytes()).unwrap());
        let crashes = |count: usize| (0..count).flat_map(move |_| [anew(), MANIFEST, FILES]);
        let starts = || [ACK, FILES, Dropped(DropCause::Closed)].into_iter();
        assert_eq!(run(starts().chain(crashes(3))), None);
        let fourth = crashes(3).chain([anew(), MANIFEST]);
        assert!(matches!(run(starts().chain(fourth)), Some(Outcome::Interrupted { .. })));
        // The device compares its files, and asks for nothing.
        let takes_it = || (0..4).flat_map(|_| [anew(), status(State::Receiving, "")]);
        assert!(matches!(run(starts().chain(takes_it())), Some(Outcome::Interrupted { .. })));
        let further = (1..9).flat_map(|position| crashes(2).chain([Progress { position }]));
        assert_eq!(run(starts().chain(further)), None);
    }

    #[test]
    fn a_device_that_is_asked_to_announce_itself_has_not_restarted() {
        let anew = || (0..20).map(|_| Input::AnnouncedAnew(Announcement::parse(BEFORE.as_bytes()).unwrap()));
        let installed = [status(State::Installed, "")];
        let inputs =
            [ACK].into_iter().chain(anew()).chain([MANIFEST]).chain(anew()).chain([FILES]).chain(anew());
        assert_eq!(run(inputs.chain(installed)), Some(Outcome::Installed));
    }

    #[test]
    fn a_device_that_announces_itself_has_its_time_anew_but_not_without_end() {
        let anew = || Input::AnnouncedAnew(Announcement::parse(BEFORE.as_bytes()).unwrap());
        let mut dialogue = dialogue(false, BEFORE);
        assert_eq!(dialogue.step(ACK, WAITED), None);
        for _ in 0..2 {
            for _ in 0..RESTARTS {
                assert!(dialogue.has_time_anew());
                assert_eq!(dialogue.step(anew(), WAITED), None);
            }
            assert!(!dialogue.has_time_anew());
            assert_eq!(dialogue.step(FILES, WAITED), None);
        }
        assert_eq!(dialogue.step(Progress { position: 1 }, WAITED), None);
        assert!(dialogue.has_time_anew(), "it got further");
    }

    #[test]
    fn an_announcement_of_what_was_so_before_tells_nothing() {
        let there = format!("v=1|set={}", digest());
        assert_eq!(run_after(&there, [ACK, announces("set"), FILES, announces("set")]), None);
        let rolled_back = format!("v=1|set=-|rolled-back={}", digest());
        assert_eq!(run_after(&rolled_back, [ACK, FILES, announces("rolled-back")]), None);
        assert_eq!(run([ACK, announces("rolled-back")]), None);
    }

    #[test]
    fn a_device_that_fetches_at_its_boot_is_waited_for_as_one_that_boots() {
        let at_boot = || status(State::Receiving, "at-boot");
        let anew = || Input::AnnouncedAnew(Announcement::parse(BEFORE.as_bytes()).unwrap());
        let mut dialogue = dialogue(false, BEFORE);
        for (input, patience) in [
            (ACK, Patience::Contact),
            (status(State::Receiving, ""), Patience::Silence),
            (MANIFEST, Patience::Silence),
            (at_boot(), Patience::Boot),
            // The device gives up what it had begun.
            (Dropped(DropCause::Closed), Patience::Boot),
            (anew(), Patience::Boot),
            (at_boot(), Patience::Boot),
            (FILES, Patience::Silence),
            (Sent, Patience::Silence),
        ] {
            assert_eq!(dialogue.step(input, WAITED), None);
            assert_eq!(dialogue.patience(), patience);
        }
        assert!(dialogue.is_at_boot());
        assert_eq!(dialogue.step(announces("set"), WAITED), Some(Outcome::Installed));
        // The device has the room by now, and takes the offer at once.
        assert_eq!(dialogue.step(status(State::Receiving, ""), WAITED), None);
        assert!(!dialogue.is_at_boot());
    }

    #[test]
    fn a_device_that_does_not_come_at_its_boot_is_named_and_one_that_boots_without_end_too() {
        let at_boot = || status(State::Receiving, "at-boot");
        let anew = || Input::AnnouncedAnew(Announcement::parse(BEFORE.as_bytes()).unwrap());
        let not_fetched = |outcome| matches!(outcome, Some(Outcome::NotFetchedAtBoot { .. }));
        assert!(not_fetched(run([ACK, at_boot(), Expired])));
        assert!(not_fetched(run([ACK, MANIFEST, Sent, at_boot(), Expired])));
        let boots = |count| (0..count).flat_map(|_| [anew(), at_boot()]);
        assert_eq!(run([ACK, at_boot()].into_iter().chain(boots(3))), None);
        assert!(not_fetched(run([ACK, at_boot()].into_iter().chain(boots(4)))));
        // A device that has come is late in another way.
        let all = || [ACK, at_boot(), EVERYTHING, FILES, Progress { position: 9 }, Sent].into_iter();
        assert_eq!(run(all().chain([Expired])), Some(Outcome::Silent));
        let rolled_back = Outcome::RolledBack { text: "ImportError".to_owned() };
        assert_eq!(run(all().chain([announces("rolled-back")])), Some(rolled_back));
        let interrupted = run([ACK, at_boot(), FILES, Dropped(DropCause::Closed), Expired]);
        assert!(matches!(interrupted, Some(Outcome::Interrupted { .. })), "{interrupted:?}");
    }

    #[test]
    fn who_asks_for_everything_may_find_that_it_has_it_or_get_it_and_take_it_back() {
        let unchanged = || status(State::Installed, "unchanged");
        assert_eq!(run([ACK, EVERYTHING, unchanged()]), Some(Outcome::Unchanged));
        assert_eq!(run([ACK, EVERYTHING, FILES, unchanged()]), Some(Outcome::Installed));
        assert_eq!(run([ACK, EVERYTHING, status(State::Installed, "")]), Some(Outcome::Installed));
        let taken_back = run([ACK, EVERYTHING, announces("rolled-back")]);
        assert!(matches!(taken_back, Some(Outcome::RolledBack { .. })), "{taken_back:?}");
    }

    #[test]
    fn a_dry_run_is_planned_and_nothing_else() {
        let mut dry = dialogue(true, BEFORE);
        assert_eq!(dry.step(announces("set"), WAITED), None);
        assert_eq!(dry.step(status(State::Planned, ""), WAITED), Some(Outcome::Planned));
        assert_eq!(run([ACK, status(State::Planned, "")]), None);
    }

    #[test]
    fn nobody_there_is_not_subscribed_unless_somebody_has_come_already() {
        let nobody = || Acknowledged(Ack::NoSubscribers);
        assert_eq!(run([nobody()]), Some(Outcome::NotSubscribed { topic: "L/OTA".to_owned(), waited: None }));
        assert_eq!(run([MANIFEST, nobody()]), None);
        assert_eq!(run([ACK, nobody()]), None);
    }

    #[test]
    fn strangers_are_no_contact() {
        let outcome = run([ACK, Dropped(DropCause::Stranger), Expired]);
        assert!(matches!(outcome, Some(Outcome::NobodyConnected { receiving: false, .. })));
        let outcome = run([ACK, status(State::Receiving, ""), Expired]);
        assert!(matches!(outcome, Some(Outcome::NobodyConnected { receiving: true, .. })));
    }

    fn any_input() -> impl Strategy<Value = Input> {
        let state = prop_oneof![
            Just(State::Receiving),
            Just(State::Installed),
            Just(State::Failed),
            Just(State::Planned),
            Just(State::Running),
            Just(State::RolledBack)
        ];
        prop_oneof![
            4 => (0_usize..3).prop_map(|what| [MANIFEST, EVERYTHING, FILES][what].clone()),
            4 => (0u64..20).prop_map(|position| Progress { position }),
            4 => Just(Sent),
            4 => Just(Dropped(DropCause::Closed)),
            2 => Just(ACK),
            1 => Just(Acknowledged(Ack::NoSubscribers)),
            1 => (state, "(unchanged|at-boot|busy x|)").prop_map(|(state, detail)| status(state, &detail)),
            1 => "(set|rolled-back|new)".prop_map(|key| announces(&key)),
            1 => Just(Expired),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_heard_only_the_device_s_own_word_makes_it_installed(
            inputs in proptest::collection::vec(any_input(), 0..20), dry_run in any::<bool>()
        ) {
            let mut dialogue = dialogue(dry_run, BEFORE);
            for input in inputs {
                let said = format!("{input:?}");
                let before = dialogue.position();
                let outcome = dialogue.step(input, WAITED);
                prop_assert!(dialogue.position() >= before);
                let Some(outcome) = outcome else { continue };
                let is_word = said.contains("Installed") || said.contains("AnnouncedAnew") && !dry_run;
                prop_assert!(!outcome.is_confirmed() || is_word, "{:?} after {}", outcome, said);
                prop_assert_eq!(outcome == Outcome::Planned, dry_run && said.contains("Planned"));
                break;
            }
        }
    }

    #[test]
    fn a_status_of_another_offer_changes_nothing() {
        let other = Digest::of(Algorithm::Sha1, b"other");
        let other = Status::new(State::Installed, &"set".parse().unwrap(), &other, "");
        assert_eq!(run([ACK, MANIFEST, Input::Status(other)]), None);
    }

    /// Number of the offer before this one in the same delivery. `STRANGE` is the number of somebody else's offer.
    const EARLIER: u8 = 0;
    const OURS: u8 = 1;
    const STRANGE: u8 = 9;

    fn answer(state: State, detail: &str, offer: u8) -> Input {
        let status = Status::new(state, &"set".parse().unwrap(), &digest(), detail);
        Input::Status(status.answering(Some(id(offer))))
    }

    #[test]
    fn a_status_that_names_another_offer_of_the_same_file_changes_nothing() {
        for state in [State::Receiving, State::Failed, State::Installed, State::Planned] {
            assert_eq!(run([ACK, answer(state, "busy", STRANGE)]), None, "{state:?}");
        }
        let silent = [ACK, answer(State::Receiving, "", STRANGE), Expired];
        assert!(matches!(run(silent), Some(Outcome::NobodyConnected { receiving: false, .. })));
        let failed = [
            ACK,
            answer(State::Failed, "connect 10.0.0.1:4 EIO", STRANGE),
            answer(State::Failed, "busy", OURS),
        ];
        assert!(matches!(run(failed), Some(Outcome::Failed { reason: Reason::Busy, .. })));
    }

    #[test]
    fn an_earlier_offer_of_the_delivery_may_have_installed_it_but_its_failure_is_not_this_one_s() {
        assert_eq!(run([ACK, answer(State::Installed, "", EARLIER)]), Some(Outcome::Installed));
        assert_eq!(run([ACK, answer(State::Failed, "connect 192.168.1.10:4000 EIO", EARLIER)]), None);
        let failed = [ACK, answer(State::Failed, "busy", EARLIER), answer(State::Failed, "timeout", OURS)];
        assert!(matches!(run(failed), Some(Outcome::Failed { reason: Reason::Timeout, .. })));
    }

    #[test]
    fn a_device_that_has_taken_back_what_is_offered_says_so_at_once() {
        let rolled_back = || Some(Outcome::RolledBack { text: "ImportError".to_owned() });
        assert_eq!(run([ACK, answer(State::RolledBack, "ImportError", OURS)]), rolled_back());
        assert_eq!(run([ACK, MANIFEST, answer(State::RolledBack, "ImportError", EARLIER)]), rolled_back());
        assert_eq!(run([ACK, answer(State::RolledBack, "ImportError", STRANGE)]), None);
        // A boot reports an earlier set without an id.
        assert_eq!(run([ACK, status(State::RolledBack, "ImportError")]), None);
        let mut dry = dialogue(true, BEFORE);
        assert_eq!(dry.step(answer(State::RolledBack, "ImportError", OURS), WAITED), None);
    }

    #[test]
    fn what_a_device_of_version_0_1_failed_with_is_told_by_what_it_took_and_by_the_address() {
        let failed = |detail: &str| status(State::Failed, detail);
        let ours = "connect 192.168.1.10:4000 ECONNREFUSED";
        for (inputs, is_answer) in [
            (vec![failed(ours)], true),
            (vec![failed("connect 192.168.1.10:3999 ECONNREFUSED")], false),
            (vec![answer(State::Receiving, "", STRANGE), failed(ours)], false),
            (vec![answer(State::Receiving, "", STRANGE), failed("no-space")], false),
            (vec![answer(State::Receiving, "", EARLIER), failed(ours)], false),
            (
                vec![answer(State::Receiving, "", STRANGE), answer(State::Receiving, "", OURS), failed(ours)],
                true,
            ),
            (vec![failed("timeout after 0 bytes")], false),
            (vec![MANIFEST, failed("timeout after 0 bytes")], true),
            (vec![failed("no-space 9 bytes needed")], true),
        ] {
            let said = format!("{inputs:?}");
            assert_eq!(run([ACK].into_iter().chain(inputs)).is_some(), is_answer, "{said}");
        }
        let mut dialogue = dialogue(false, BEFORE);
        assert_eq!(dialogue.step(answer(State::Receiving, "", STRANGE), WAITED), None);
        dialogue.missed_something();
        assert!(dialogue.step(failed(ours), WAITED).is_some(), "what it took since was perhaps not heard");
    }

    #[test]
    fn a_device_that_is_not_subscribed_now_is_waited_for_and_then_named() {
        let nobody = || Acknowledged(Ack::NoSubscribers);
        let waiting = || {
            let mut dialogue = dialogue(false, BEFORE);
            dialogue.subject.waits = Some(WAITED);
            assert_eq!(dialogue.step(nobody(), WAITED), None);
            assert!(dialogue.is_absent());
            dialogue
        };
        let mut dialogue = waiting();
        assert_eq!(dialogue.step(nobody(), WAITED), None);
        let outcome = Outcome::NotSubscribed { topic: "L/OTA".to_owned(), waited: Some(WAITED) };
        assert_eq!(dialogue.step(Expired, WAITED), Some(outcome));
        for back in [ACK, MANIFEST, answer(State::Receiving, "", OURS)] {
            let mut dialogue = waiting();
            assert_eq!(dialogue.step(back, WAITED), None);
            assert!(!dialogue.is_absent());
            assert!(!matches!(dialogue.step(Expired, WAITED), Some(Outcome::NotSubscribed { .. })));
        }
    }
}
