//! State of one plain offer at the sender: events go in, and an outcome comes out. No clock and no socket, so that
//! every order of events can be tested.

use std::collections::HashMap;
use std::mem::replace;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::address::Advertised;
use crate::mqtt::Ack;
use crate::outcome::Outcome;
use crate::serve::DropCause;
use crate::wire::{DevicePath, Digest, Reason, State, Status};

/// Event that an [`Exchange`] handles.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The broker has acknowledged the offer.
    Acknowledged(Ack),
    /// The device's announcement came, and is not known to be new.
    Announced,
    /// The device announced itself after the offer. In between it has booted, or lost its connection.
    AnnouncedAnew,
    /// The device reports its progress, perhaps with another offer.
    Status(Status),
    /// A client is being served. `is_device` is true if it may be the device.
    Connected {
        peer: SocketAddr,
        is_device: bool,
    },
    Dropped {
        peer: SocketAddr,
        sent: u64,
        cause: DropCause,
    },
    Delivered {
        peer: SocketAddr,
    },
    /// The port is closed, and no client is connected.
    Closed,
    /// The time of [`Exchange::patience`] is over.
    Expired,
}

/// Kind of event that is waited for, which decides how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Connection of a client.
    Connection,
    /// Progress of a connected client. The server has a time-out of its own for it.
    Transfer,
    /// Report of the device on what it took.
    Confirmation,
}

/// Content of an offer, and what is known of the device.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) path: DevicePath,
    pub(crate) digest: Digest,
    /// Length of the file, in bytes.
    pub(crate) total: u64,
    pub(crate) topic: String,
    pub(crate) advertised: Advertised,
    /// True if the device reports what it does with the offer.
    pub(crate) reports: bool,
    /// Address that the device has announced.
    pub(crate) device: Option<IpAddr>,
    /// Time for which a device that is not subscribed is waited for.
    ///
    /// `None` ends the offer at once: waiting is turned off, or nothing shows that the device exists.
    pub(crate) waits: Option<Duration>,
    /// Free space that the device has announced, in bytes. `None` if it is unknown or sufficient.
    pub(crate) lacks: Option<u64>,
}

/// State of one offer.
#[derive(Debug)]
pub(crate) struct Exchange {
    terms: Terms,
    acknowledged: bool,
    /// True if every answer of the broker so far was that nobody is subscribed, and the device has neither reported nor
    /// connected.
    absent: bool,
    receiving: bool,
    /// True if the device has noted the offer, and fetches it at its boot.
    at_boot: bool,
    /// Clients that are being served. The value is true if the client may be the device.
    clients: HashMap<SocketAddr, bool>,
    /// True once the server has begun to serve a client that may be the device.
    has_come: bool,
    /// True if a client that may be the device has taken the file.
    delivered: bool,
    /// True if a client from the announced address has taken the file. Any address counts if none is announced.
    is_home: bool,
    /// Client from another address that has taken the file, as long as no client from the announced address has.
    taker: Option<SocketAddr>,
    dropped: Option<(u64, DropCause)>,
}

impl Exchange {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            acknowledged: false,
            absent: false,
            receiving: false,
            at_boot: false,
            clients: HashMap::new(),
            has_come: false,
            delivered: false,
            is_home: false,
            taker: None,
            dropped: None,
        }
    }

    /// Handles one event. Returns the outcome once there is one.
    pub(crate) fn step(&mut self, input: Input) -> Option<Outcome> {
        match input {
            Input::Acknowledged(ack) => {
                // A further acknowledgement, of an offer that may have been lost with the broker, tells less: the
                // device may need longer than we did to be back there.
                let is_first = !replace(&mut self.acknowledged, true);
                let came = self.delivered || self.has_come || self.receiving;
                self.absent = ack == Ack::NoSubscribers && !came && (is_first || self.absent);
                if self.absent && self.terms.waits.is_none() {
                    return Some(self.not_subscribed());
                }
            }
            Input::Announced => self.terms.reports = true,
            Input::AnnouncedAnew => {
                self.terms.reports = true;
                // A device that dropped the transfer and starts anew does not come back for it. A device that does so
                // at its boot reports the result next, or comes again.
                if self.patience() == Patience::Connection && self.dropped.is_some() && !self.at_boot {
                    return self.expired();
                }
            }
            Input::Status(status) if self.is_answered_by(&status) => {
                self.terms.reports = true;
                self.absent = false;
                match status.state {
                    State::Receiving => {
                        self.receiving = true;
                        self.at_boot = status.is_at_boot();
                        if self.at_boot {
                            // The device gives up what it had begun.
                            self.clients.clear();
                            (self.delivered, self.is_home, self.taker, self.dropped) =
                                (false, false, None, None);
                        }
                        // The report shows that the device does not have the file.
                        let needed = self.terms.total;
                        return self.terms.lacks.map(|free| Outcome::NoRoom { needed, free });
                    }
                    State::Installed if status.detail == Status::UNCHANGED && !self.is_taken() => {
                        return Some(Outcome::Unchanged);
                    }
                    State::Installed => return Some(Outcome::Installed),
                    State::Failed => return Some(Outcome::of_failure(&status)),
                    _ => {}
                }
            }
            Input::Status(_) => {}
            Input::Connected { peer, is_device } => {
                self.clients.insert(peer, is_device);
                self.has_come |= is_device;
                self.absent &= !is_device;
            }
            Input::Dropped { peer, sent, cause } => {
                let is_device = self.clients.remove(&peer).unwrap_or_default();
                // The one that got furthest was the device rather than a port scan.
                if is_device && self.dropped.as_ref().is_none_or(|(before, _)| sent >= *before) {
                    self.dropped = Some((sent, cause));
                }
            }
            Input::Delivered { peer } => {
                let is_device = self.clients.remove(&peer).unwrap_or_default();
                self.delivered |= is_device;
                let address = peer.ip().to_canonical();
                if self.terms.device.is_none_or(|device| device.to_canonical() == address) {
                    (self.is_home, self.taker) = (true, None);
                } else if !self.is_home {
                    self.taker = Some(peer);
                }
            }
            Input::Closed if self.is_taken() => {}
            Input::Closed => {
                self.clients.clear();
                return self.expired();
            }
            Input::Expired => return self.expired(),
        }
        (self.delivered && self.acknowledged && !self.terms.reports).then_some(Outcome::Unconfirmed)
    }

    /// Returns the kind of event that is being waited for.
    pub(crate) fn patience(&self) -> Patience {
        let is_served = |who: bool| self.clients.values().any(|is_device| *is_device == who);
        match self {
            // A client that may be the device comes first: a stranger may have been taken for it, and have taken
            // everything.
            _ if is_served(true) => Patience::Transfer,
            Self { delivered: true, .. } => Patience::Confirmation,
            Self { taker: Some(_), .. } => Patience::Confirmation,
            _ if is_served(false) => Patience::Transfer,
            _ => Patience::Connection,
        }
    }

    /// Returns true if a client that may be the device is being served, or has taken the file.
    pub(crate) fn is_served(&self) -> bool {
        self.delivered || self.clients.values().any(|is_device| *is_device)
    }

    /// Returns true if a client that may be the device has taken the file.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered
    }

    /// Returns true if the device is waited for although the broker reports that it is not subscribed.
    pub(crate) fn is_absent(&self) -> bool {
        self.absent
    }

    /// Returns true if the device fetches the file at its boot.
    pub(crate) fn is_at_boot(&self) -> bool {
        self.at_boot
    }

    /// Returns true if anything was heard of the device.
    pub(crate) fn has_met(&self) -> bool {
        self.receiving || self.has_come
    }

    /// Records what the device has announced since: its address, and its free space if that is too little.
    pub(crate) fn know(&mut self, device: Option<IpAddr>, lacks: Option<u64>) {
        (self.terms.device, self.terms.lacks) = (device, lacks);
    }

    /// Returns true if a status is about this offer.
    ///
    /// The status of a plain offer names only the file and the hash, so a failure may be that of an earlier offer of
    /// the same file. A failure to connect belongs to an earlier offer if it names another address. A failed stream
    /// belongs to an earlier offer if nothing was heard of the device yet. A status that names an offer is about an
    /// extended offer.
    pub(crate) fn is_answered_by(&self, status: &Status) -> bool {
        let Terms { path, digest, advertised, .. } = &self.terms;
        if !status.answers(path, digest) || status.offer.is_some() {
            return false;
        }
        if status.state != State::Failed {
            return true;
        }
        match status.reason() {
            (Reason::Connect, text) => advertised.is_named_in(text) != Some(false),
            (Reason::Timeout | Reason::Short | Reason::HashMismatch, _) => self.has_met(),
            _ => true,
        }
    }

    fn is_taken(&self) -> bool {
        self.delivered || self.taker.is_some()
    }

    fn not_subscribed(&self) -> Outcome {
        Outcome::NotSubscribed { topic: self.terms.topic.clone(), waited: self.terms.waits }
    }

    fn expired(&mut self) -> Option<Outcome> {
        let (advertised, total) = (self.terms.advertised.clone(), self.terms.total);
        match (self.patience(), self.dropped.take()) {
            (Patience::Transfer, dropped) => {
                self.dropped = dropped;
                None
            }
            (Patience::Confirmation, _) if !self.terms.reports => Some(Outcome::Unconfirmed),
            (Patience::Confirmation, _) => Some(match (self.taker, self.terms.device) {
                (Some(peer), Some(device)) => Outcome::TakenByAnother { peer, device },
                _ => Outcome::Silent,
            }),
            (Patience::Connection, Some((sent, cause))) => Some(Outcome::Interrupted { sent, total, cause }),
            (Patience::Connection, None) if self.absent => Some(self.not_subscribed()),
            (Patience::Connection, None) if self.at_boot => Some(Outcome::NotFetchedAtBoot { advertised }),
            (Patience::Connection, None) => {
                Some(Outcome::NobodyConnected { advertised, receiving: self.receiving })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Why;
    use crate::wire::Algorithm;
    use proptest::prelude::*;

    fn exchange(reports: bool) -> Exchange {
        let advertised = Advertised {
            host: "192.168.1.10".parse().unwrap(),
            port: 4000.try_into().unwrap(),
            why: Why::DefaultRoute,
        };
        Exchange::new(Terms {
            path: "main.py".parse().unwrap(),
            digest: Digest::of(Algorithm::Sha1, b"x"),
            total: 9,
            topic: "L/OTA".to_owned(),
            advertised,
            reports,
            device: None,
            waits: None,
            lacks: None,
        })
    }

    fn status(state: State, detail: &str) -> Input {
        let digest = Digest::of(Algorithm::Sha1, b"x");
        Input::Status(Status::new(state, &"main.py".parse().unwrap(), &digest, detail))
    }

    /// Returns the outcome of the last input. No earlier input may have an outcome.
    fn run(reports: bool, inputs: impl IntoIterator<Item = Input>) -> Option<Outcome> {
        run_in(exchange(reports), inputs)
    }

    fn run_in(mut exchange: Exchange, inputs: impl IntoIterator<Item = Input>) -> Option<Outcome> {
        let mut last = None;
        for input in inputs {
            assert_eq!(last, None, "ended before {input:?}");
            last = exchange.step(input);
        }
        last
    }

    use Input::{Acknowledged, Announced, Expired};
    const ACK: Input = Acknowledged(Ack::Accepted);
    const NOBODY: Input = Acknowledged(Ack::NoSubscribers);

    /// Returns the address of a client that may be the device, because no address was announced.
    fn peer() -> SocketAddr {
        "192.168.1.7:1".parse().unwrap()
    }

    fn dropped(sent: u64) -> Input {
        Input::Dropped { peer: peer(), sent, cause: DropCause::Closed }
    }

    fn connected() -> Input {
        Input::Connected { peer: peer(), is_device: true }
    }

    fn delivered() -> Input {
        Input::Delivered { peer: peer() }
    }

    #[test]
    fn a_device_that_reports_is_believed_and_nobody_else() {
        let receiving = || status(State::Receiving, "");
        let installed = || status(State::Installed, "");
        let whole = [ACK, receiving(), connected(), delivered(), installed()];
        assert_eq!(run(true, whole), Some(Outcome::Installed));
        assert_eq!(run(true, [ACK, connected(), delivered()]), None);
        assert_eq!(run(true, [ACK, connected(), delivered(), Expired]), Some(Outcome::Silent));
        assert_eq!(run(true, [ACK, status(State::Installed, "unchanged")]), Some(Outcome::Unchanged));
    }

    #[test]
    fn the_status_may_overtake_the_end_of_the_stream_and_the_acknowledgement() {
        assert_eq!(run(true, [connected(), status(State::Installed, "")]), Some(Outcome::Installed));
    }

    #[test]
    fn a_device_that_announces_nothing_is_unconfirmed_as_soon_as_it_has_the_file() {
        assert_eq!(run(false, [ACK, connected(), delivered()]), Some(Outcome::Unconfirmed));
        assert_eq!(run(false, [connected(), delivered()]), None);
        assert_eq!(run(false, [connected(), delivered(), ACK]), Some(Outcome::Unconfirmed));
        assert_eq!(run(false, [connected(), delivered(), Announced, ACK]), None);
    }

    #[test]
    fn a_device_that_dropped_the_transfer_and_starts_anew_is_not_waited_for() {
        use Input::AnnouncedAnew;
        let cause = DropCause::Closed;
        let interrupted = Outcome::Interrupted { sent: 5, total: 9, cause };
        assert_eq!(run(true, [ACK, connected(), dropped(5), AnnouncedAnew]), Some(interrupted));
        assert_eq!(run(true, [ACK, AnnouncedAnew, connected(), AnnouncedAnew]), None);
        assert_eq!(run(true, [ACK, connected(), delivered(), AnnouncedAnew]), None);
    }

    #[test]
    fn a_status_is_as_good_as_an_announcement() {
        assert_eq!(run(false, [ACK, status(State::Receiving, ""), connected(), delivered()]), None);
    }

    #[test]
    fn a_status_of_another_offer_changes_nothing() {
        let other = Digest::of(Algorithm::Sha1, b"other");
        let other = Status::new(State::Installed, &"main.py".parse().unwrap(), &other, "");
        assert_eq!(run(true, [ACK, Input::Status(other), connected()]), None);
    }

    #[test]
    fn the_device_s_own_reason_is_the_outcome() {
        let detail = "connect 192.168.1.10:4000 ECONNREFUSED";
        let outcome = run(true, [ACK, status(State::Failed, detail)]).unwrap();
        let text = "192.168.1.10:4000 ECONNREFUSED".to_owned();
        assert_eq!(outcome, Outcome::Failed { reason: Reason::Connect, text });
        assert!(outcome.may_pass());
    }

    #[test]
    fn nobody_there_is_not_subscribed_unless_somebody_has_come_already() {
        let topic = "L/OTA".to_owned();
        assert_eq!(run(true, [NOBODY]), Some(Outcome::NotSubscribed { topic, waited: None }));
        assert_eq!(run(true, [connected(), NOBODY]), None);
    }

    #[test]
    fn a_device_that_is_not_yet_back_at_a_broker_that_was_lost_is_waited_for() {
        assert_eq!(run(true, [ACK, NOBODY]), None);
    }

    #[test]
    fn a_port_scan_before_the_device_does_not_use_the_offer_up() {
        let end = [ACK, connected(), dropped(0), connected(), delivered(), status(State::Installed, "")];
        assert_eq!(run(true, end), Some(Outcome::Installed));
    }

    #[test]
    fn the_end_of_patience_says_what_was_missing() {
        assert!(matches!(run(true, [ACK, Expired]), Some(Outcome::NobodyConnected { receiving: false, .. })));
        let told = [ACK, status(State::Receiving, ""), Expired];
        assert!(matches!(run(true, told), Some(Outcome::NobodyConnected { receiving: true, .. })));
        assert_eq!(run(true, [ACK, connected(), Expired]), None);
        let scan_after = [ACK, connected(), dropped(5), connected(), dropped(0), Expired];
        let cause = DropCause::Closed;
        assert_eq!(run(true, [ACK, connected(), delivered(), Input::Closed]), None);
        assert!(run(true, [ACK, connected(), Input::Closed]).is_some());
        assert_eq!(run(true, scan_after), Some(Outcome::Interrupted { sent: 5, total: 9, cause }));
    }

    #[test]
    fn what_is_waited_for_follows_the_transfer() {
        let mut exchange = exchange(true);
        assert_eq!(exchange.patience(), Patience::Connection);
        for (input, patience) in [
            (connected(), Patience::Transfer),
            (another(true), Patience::Transfer),
            (Input::Dropped { peer: stranger(), sent: 1, cause: DropCause::Closed }, Patience::Transfer),
            (dropped(1), Patience::Connection),
            (connected(), Patience::Transfer),
            (delivered(), Patience::Confirmation),
        ] {
            exchange.step(input);
            assert_eq!(exchange.patience(), patience);
        }
    }

    /// Returns the address of a client that is not at the announced address.
    fn stranger() -> SocketAddr {
        "192.168.1.66:1".parse().unwrap()
    }

    fn another(is_device: bool) -> Input {
        Input::Connected { peer: stranger(), is_device }
    }

    /// Creates an offer to a device that has announced its address, and therefore exists.
    fn announced() -> Exchange {
        let mut exchange = exchange(true);
        exchange.terms.device = Some(peer().ip());
        exchange.terms.waits = Some(Duration::from_secs(30));
        exchange
    }

    fn taken_by_a_stranger() -> [Input; 3] {
        [ACK, another(false), Input::Delivered { peer: stranger() }]
    }

    #[test]
    fn a_stranger_who_took_the_file_is_named_and_not_the_device_blamed() {
        let taken = Outcome::TakenByAnother { peer: stranger(), device: peer().ip() };
        assert_eq!(
            run_in(announced(), taken_by_a_stranger().into_iter().chain([Expired])),
            Some(taken.clone())
        );
        // A stranger was taken for the device, because the device has not come from its own address.
        let behind_a_router = [ACK, another(true), Input::Delivered { peer: stranger() }, Expired];
        assert_eq!(run_in(announced(), behind_a_router), Some(taken));
        let both = taken_by_a_stranger().into_iter().chain([connected(), delivered(), Expired]);
        assert_eq!(run_in(announced(), both), Some(Outcome::Silent));
        let other_order =
            [ACK, connected(), delivered(), another(false), Input::Delivered { peer: stranger() }];
        assert_eq!(run_in(announced(), other_order.into_iter().chain([Expired])), Some(Outcome::Silent));
    }

    #[test]
    fn after_a_stranger_took_the_file_the_device_may_still_come() {
        let mut exchange = announced();
        taken_by_a_stranger().into_iter().for_each(|input| assert_eq!(exchange.step(input), None));
        assert_eq!(exchange.patience(), Patience::Confirmation);
        assert_eq!(exchange.step(connected()), None);
        assert_eq!(exchange.patience(), Patience::Transfer);
        assert_eq!(exchange.step(Expired), None);
        assert_eq!(exchange.step(delivered()), None);
        assert_eq!(exchange.step(status(State::Installed, "")), Some(Outcome::Installed));
    }

    #[test]
    fn strangers_are_no_contact() {
        let scan =
            [ACK, another(false), Input::Dropped { peer: stranger(), sent: 5, cause: DropCause::Closed }];
        let outcome = run_in(announced(), scan.into_iter().chain([Expired]));
        assert!(matches!(outcome, Some(Outcome::NobodyConnected { .. })), "{outcome:?}");
    }

    #[test]
    fn a_device_that_exists_and_is_not_subscribed_is_waited_for_and_then_named() {
        let outcome = run_in(announced(), [NOBODY, NOBODY, Expired]);
        let waited = Some(Duration::from_secs(30));
        assert_eq!(outcome, Some(Outcome::NotSubscribed { topic: "L/OTA".to_owned(), waited }));
        let back = [NOBODY, NOBODY, ACK, connected(), delivered(), status(State::Installed, "")];
        assert_eq!(run_in(announced(), back), Some(Outcome::Installed));
        // A device that was back and does not come has another reason.
        let outcome = run_in(announced(), [NOBODY, ACK, Expired]);
        assert!(matches!(outcome, Some(Outcome::NobodyConnected { .. })), "{outcome:?}");
        let outcome = run_in(announced(), [NOBODY, status(State::Receiving, ""), Expired]);
        assert!(matches!(outcome, Some(Outcome::NobodyConnected { .. })), "{outcome:?}");
    }

    #[test]
    fn a_failure_of_an_earlier_offer_of_the_same_file_is_no_answer() {
        let elsewhere = || status(State::Failed, "connect 192.168.1.10:3999 ECONNREFUSED");
        assert_eq!(run(true, [ACK, elsewhere(), status(State::Receiving, ""), elsewhere()]), None);
        let installed = [ACK, elsewhere(), connected(), delivered(), status(State::Installed, "")];
        assert_eq!(run(true, installed), Some(Outcome::Installed));
        for reason in ["timeout after 0 bytes", "short after 9 bytes: 104", "hash-mismatch 9 bytes"] {
            let failed = || status(State::Failed, reason);
            assert_eq!(run(true, [ACK, failed()]), None, "{reason}: nobody has come");
            assert!(run(true, [ACK, connected(), failed()]).is_some(), "{reason}");
            assert!(run(true, [ACK, status(State::Receiving, ""), failed()]).is_some(), "{reason}");
            assert_eq!(
                run_in(announced(), [ACK, another(false), failed()]),
                None,
                "{reason}: a stranger has"
            );
        }
        for reason in ["no-space 9", "write EROFS", "bad-name", "low-battery", "connect the network is down"]
        {
            assert!(run(true, [ACK, status(State::Failed, reason)]).is_some(), "{reason}");
        }
    }

    fn at_boot() -> Input {
        status(State::Receiving, "at-boot")
    }

    #[test]
    fn a_device_that_fetches_at_its_boot_may_announce_itself_before_it_comes_and_before_its_word() {
        use Input::AnnouncedAnew;
        let fetches = || [ACK, at_boot(), AnnouncedAnew, at_boot(), connected(), delivered()].into_iter();
        assert_eq!(run(true, fetches().chain([status(State::Installed, "")])), Some(Outcome::Installed));
        assert_eq!(run(true, fetches().chain([AnnouncedAnew, AnnouncedAnew])), None);
        assert_eq!(run(true, fetches().chain([Expired])), Some(Outcome::Silent));
        // The device itself reports the result of a connection that broke.
        let broken = || [ACK, at_boot(), connected(), dropped(5), AnnouncedAnew].into_iter();
        assert_eq!(run(true, broken()), None);
        let failed = run(true, broken().chain([status(State::Failed, "short 5 bytes")]));
        assert!(matches!(failed, Some(Outcome::Failed { reason: Reason::Short, .. })), "{failed:?}");
        assert!(matches!(run(true, broken().chain([Expired])), Some(Outcome::Interrupted { sent: 5, .. })));
    }

    #[test]
    fn a_device_that_does_not_come_at_its_boot_is_named_also_if_it_had_begun_before() {
        let not_fetched = |outcome| matches!(outcome, Some(Outcome::NotFetchedAtBoot { .. }));
        assert!(not_fetched(run(true, [ACK, at_boot(), Expired])));
        let receiving = || status(State::Receiving, "");
        let begun = [ACK, receiving(), connected(), at_boot(), dropped(5), Expired];
        assert!(not_fetched(run(true, begun)));
        let begun = [ACK, receiving(), connected(), dropped(5), at_boot(), Expired];
        assert!(not_fetched(run(true, begun)));
        let mut whole = exchange(true);
        for input in [ACK, receiving(), connected(), delivered(), at_boot()] {
            assert_eq!(whole.step(input), None);
        }
        assert_eq!((whole.patience(), whole.is_at_boot()), (Patience::Connection, true));
        // The device has the room by now, and takes the file at once.
        assert_eq!(whole.step(receiving()), None);
        assert!(!whole.is_at_boot());
    }

    #[test]
    fn an_answer_that_names_an_offer_is_about_another_one() {
        let digest = Digest::of(Algorithm::Sha1, b"x");
        for (state, detail) in [(State::Failed, "no-memory"), (State::Installed, "")] {
            let status = Status::new(state, &"main.py".parse().unwrap(), &digest, detail);
            let status = status.answering("0123456789abcdef".parse().ok());
            assert_eq!(run(true, [ACK, Input::Status(status)]), None, "{state:?}");
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_before_its_first_byte_unless_it_is_there_already() {
        let full = || {
            let mut exchange = announced();
            exchange.terms.lacks = Some(5);
            exchange
        };
        let no_room = Outcome::NoRoom { needed: 9, free: 5 };
        assert_eq!(run_in(full(), [ACK, status(State::Receiving, "")]), Some(no_room));
        let unchanged = status(State::Installed, "unchanged");
        assert_eq!(run_in(full(), [ACK, unchanged]), Some(Outcome::Unchanged));
        let mut emptied = full();
        assert_eq!(emptied.step(ACK), None);
        emptied.know(None, None);
        assert_eq!(emptied.step(status(State::Receiving, "")), None);
    }

    fn any_input() -> impl Strategy<Value = Input> {
        let state = prop_oneof![
            Just(State::Receiving),
            Just(State::Installed),
            Just(State::Failed),
            Just(State::Running)
        ];
        let peer = || prop_oneof![Just(peer()), Just(stranger())];
        prop_oneof![
            Just(ACK),
            Just(NOBODY),
            Just(Announced),
            Just(Input::AnnouncedAnew),
            Just(Expired),
            Just(Input::Closed),
            (state, "(unchanged|at-boot|busy x|connect 1.1.1.1:1 x|timeout|)")
                .prop_map(|(state, detail)| status(state, &detail)),
            (peer(), any::<bool>()).prop_map(|(peer, is_device)| Input::Connected { peer, is_device }),
            (peer(), 0u64..9).prop_map(|(peer, sent)| Input::Dropped {
                peer,
                sent,
                cause: DropCause::Closed
            }),
            peer().prop_map(|peer| Input::Delivered { peer }),
        ]
    }

    proptest! {
        #[test]
        fn property_only_the_device_s_word_makes_it_installed_and_no_stranger_ends_an_offer(
            inputs in proptest::collection::vec(any_input(), 0..20)
        ) {
            let mut exchange = announced();
            for input in inputs {
                let said = format!("{input:?}");
                let Some(outcome) = exchange.step(input) else { continue };
                let is_word = said.starts_with("Status");
                prop_assert!(!outcome.is_confirmed() || is_word && said.contains("Installed"), "{} {}", outcome, said);
                let is_of_a_client = ["Connected", "Dropped", "Delivered"].iter().any(|start| said.starts_with(start));
                prop_assert!(!is_of_a_client, "{} after {}", outcome, said);
                prop_assert!(outcome != Outcome::Unconfirmed, "it reports");
                break;
            }
        }
    }
}
