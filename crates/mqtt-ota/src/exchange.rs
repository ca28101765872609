//! One offer's life as its sender sees it: what was heard goes in, what it means comes out. No clock and no
//! socket, so that every order of events can be tried.

use std::mem::replace;

use crate::address::Advertised;
use crate::mqtt::Ack;
use crate::outcome::Outcome;
use crate::serve::DropCause;
use crate::wire::{DevicePath, Digest, State, Status};

/// What was heard.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The broker has the offer.
    Acknowledged(Ack),
    /// The device announced itself.
    Announced,
    /// The device announced itself after the offer: it has booted, or lost its connection, in between.
    AnnouncedAnew,
    /// The device says something, perhaps of another offer.
    Status(Status),
    Connected,
    Dropped {
        sent: u64,
        cause: DropCause,
    },
    Delivered,
    /// The port is closed, and nobody is connected.
    Closed,
    /// The time of [`Exchange::patience`] is over.
    Expired,
}

/// How long to wait for the next input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For a client to connect.
    Connection,
    /// For one that is connected; the server has a time-out of its own for it.
    Transfer,
    /// For the device's word on what it took.
    Confirmation,
}

/// The state of one offer.
#[derive(Debug)]
pub(crate) struct Exchange {
    path: DevicePath,
    digest: Digest,
    topic: String,
    advertised: Advertised,
    total: u64,
    /// The device will say what it does.
    reports: bool,
    acknowledged: bool,
    receiving: bool,
    connected: usize,
    delivered: bool,
    dropped: Option<(u64, DropCause)>,
}

impl Exchange {
    pub(crate) fn new(
        (path, digest, total): (DevicePath, Digest, u64),
        topic: String,
        advertised: Advertised,
        reports: bool,
    ) -> Self {
        Self {
            path,
            digest,
            topic,
            advertised,
            total,
            reports,
            acknowledged: false,
            receiving: false,
            connected: 0,
            delivered: false,
            dropped: None,
        }
    }

    /// Takes what was heard; yields the outcome once there is one.
    pub(crate) fn step(&mut self, input: Input) -> Option<Outcome> {
        match input {
            Input::Acknowledged(ack) => {
                // A further one, of an offer that may have been lost with the broker, tells less: the device may
                // need longer to be back there than we did.
                let is_first = !replace(&mut self.acknowledged, true);
                let came = self.delivered || self.connected > 0 || self.receiving;
                if ack == Ack::NoSubscribers && is_first && !came {
                    return Some(Outcome::NotSubscribed { topic: self.topic.clone() });
                }
            }
            Input::Announced => self.reports = true,
            Input::AnnouncedAnew => {
                self.reports = true;
                // A device that dropped the transfer and starts anew does not come back for it.
                if self.patience() == Patience::Connection && self.dropped.is_some() {
                    return self.expired();
                }
            }
            Input::Status(status) if status.answers(&self.path, &self.digest) => {
                self.reports = true;
                match status.state {
                    State::Receiving => self.receiving = true,
                    State::Installed if status.detail == Status::UNCHANGED && !self.delivered => {
                        return Some(Outcome::Unchanged);
                    }
                    State::Installed => return Some(Outcome::Installed),
                    State::Failed => {
                        let (reason, text) = status.reason();
                        return Some(Outcome::Failed { reason, text: text.to_owned() });
                    }
                    State::Planned | State::Running | State::RolledBack => {}
                }
            }
            Input::Status(_) => {}
            Input::Connected => self.connected += 1,
            Input::Dropped { sent, cause } => {
                self.connected = self.connected.saturating_sub(1);
                // The one that got furthest was the device rather than a port scan.
                if self.dropped.as_ref().is_none_or(|(before, _)| sent >= *before) {
                    self.dropped = Some((sent, cause));
                }
            }
            Input::Delivered => self.delivered = true,
            Input::Closed if self.delivered => {}
            Input::Closed => {
                self.connected = 0;
                return self.expired();
            }
            Input::Expired => return self.expired(),
        }
        (self.delivered && self.acknowledged && !self.reports).then_some(Outcome::Unconfirmed)
    }

    /// What is being waited for.
    pub(crate) fn patience(&self) -> Patience {
        match self {
            Self { delivered: true, .. } => Patience::Confirmation,
            Self { connected: 1.., .. } => Patience::Transfer,
            _ => Patience::Connection,
        }
    }

    fn expired(&mut self) -> Option<Outcome> {
        match (self.patience(), self.dropped.take()) {
            (Patience::Transfer, dropped) => {
                self.dropped = dropped;
                None
            }
            (Patience::Confirmation, _) if self.reports => Some(Outcome::Silent),
            (Patience::Confirmation, _) => Some(Outcome::Unconfirmed),
            (Patience::Connection, Some((sent, cause))) => {
                Some(Outcome::Interrupted { sent, total: self.total, cause })
            }
            (Patience::Connection, None) => Some(Outcome::NobodyConnected {
                advertised: self.advertised.clone(),
                receiving: self.receiving,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Why;
    use crate::wire::{Algorithm, Reason};

    fn exchange(reports: bool) -> Exchange {
        let advertised = Advertised {
            host: "192.168.1.10".parse().unwrap(),
            port: 4000.try_into().unwrap(),
            why: Why::DefaultRoute,
        };
        let file = ("main.py".parse().unwrap(), Digest::of(Algorithm::Sha1, b"x"), 9);
        Exchange::new(file, "L/OTA".to_owned(), advertised, reports)
    }

    fn status(state: State, detail: &str) -> Input {
        let digest = Digest::of(Algorithm::Sha1, b"x");
        Input::Status(Status::new(state, &"main.py".parse().unwrap(), &digest, detail))
    }

    /// The outcome of the last input; none of the others may have had one.
    fn run(reports: bool, inputs: impl IntoIterator<Item = Input>) -> Option<Outcome> {
        let mut exchange = exchange(reports);
        let mut last = None;
        for input in inputs {
            assert_eq!(last, None, "ended before {input:?}");
            last = exchange.step(input);
        }
        last
    }

    use Input::{Acknowledged, Announced, Connected, Delivered, Expired};
    const ACK: Input = Acknowledged(Ack::Accepted);

    fn dropped(sent: u64) -> Input {
        Input::Dropped { sent, cause: DropCause::Closed }
    }

    #[test]
    fn a_device_that_reports_is_believed_and_nobody_else() {
        let receiving = || status(State::Receiving, "");
        let installed = || status(State::Installed, "");
        let whole = [ACK, receiving(), Connected, Delivered, installed()];
        assert_eq!(run(true, whole), Some(Outcome::Installed));
        assert_eq!(run(true, [ACK, Connected, Delivered]), None);
        assert_eq!(run(true, [ACK, Connected, Delivered, Expired]), Some(Outcome::Silent));
        assert_eq!(run(true, [ACK, status(State::Installed, "unchanged")]), Some(Outcome::Unchanged));
    }

    #[test]
    fn the_status_may_overtake_the_end_of_the_stream_and_the_acknowledgement() {
        assert_eq!(run(true, [Connected, status(State::Installed, "")]), Some(Outcome::Installed));
    }

    #[test]
    fn a_device_that_announces_nothing_is_unconfirmed_as_soon_as_it_has_the_file() {
        assert_eq!(run(false, [ACK, Connected, Delivered]), Some(Outcome::Unconfirmed));
        assert_eq!(run(false, [Connected, Delivered]), None);
        assert_eq!(run(false, [Connected, Delivered, ACK]), Some(Outcome::Unconfirmed));
        assert_eq!(run(false, [Connected, Delivered, Announced, ACK]), None);
    }

    #[test]
    fn a_device_that_dropped_the_transfer_and_starts_anew_is_not_waited_for() {
        use Input::AnnouncedAnew;
        let cause = DropCause::Closed;
        let interrupted = Outcome::Interrupted { sent: 5, total: 9, cause };
        assert_eq!(run(true, [ACK, Connected, dropped(5), AnnouncedAnew]), Some(interrupted));
        assert_eq!(run(true, [ACK, AnnouncedAnew, Connected, AnnouncedAnew]), None);
        assert_eq!(run(true, [ACK, Connected, Delivered, AnnouncedAnew]), None);
    }

    #[test]
    fn a_status_is_as_good_as_an_announcement() {
        assert_eq!(run(false, [ACK, status(State::Receiving, ""), Connected, Delivered]), None);
    }

    #[test]
    fn a_status_of_another_offer_changes_nothing() {
        let other = Digest::of(Algorithm::Sha1, b"other");
        let other = Status::new(State::Installed, &"main.py".parse().unwrap(), &other, "");
        assert_eq!(run(true, [ACK, Input::Status(other), Connected]), None);
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
        let nobody = || Acknowledged(Ack::NoSubscribers);
        let topic = "L/OTA".to_owned();
        assert_eq!(run(true, [nobody()]), Some(Outcome::NotSubscribed { topic }));
        assert_eq!(run(true, [Connected, nobody()]), None);
    }

    #[test]
    fn a_device_that_is_not_yet_back_at_a_broker_that_was_lost_is_waited_for() {
        assert_eq!(run(true, [ACK, Acknowledged(Ack::NoSubscribers)]), None);
    }

    #[test]
    fn a_port_scan_before_the_device_does_not_use_the_offer_up() {
        let end = [ACK, Connected, dropped(0), Connected, Delivered, status(State::Installed, "")];
        assert_eq!(run(true, end), Some(Outcome::Installed));
    }

    #[test]
    fn the_end_of_patience_says_what_was_missing() {
        assert!(matches!(run(true, [ACK, Expired]), Some(Outcome::NobodyConnected { receiving: false, .. })));
        let told = [ACK, status(State::Receiving, ""), Expired];
        assert!(matches!(run(true, told), Some(Outcome::NobodyConnected { receiving: true, .. })));
        assert_eq!(run(true, [ACK, Connected, Expired]), None);
        let scan_after = [ACK, Connected, dropped(5), Connected, dropped(0), Expired];
        let cause = DropCause::Closed;
        assert_eq!(run(true, [ACK, Connected, Delivered, Input::Closed]), None);
        assert!(run(true, [ACK, Connected, Input::Closed]).is_some());
        assert_eq!(run(true, scan_after), Some(Outcome::Interrupted { sent: 5, total: 9, cause }));
    }

    #[test]
    fn what_is_waited_for_follows_the_transfer() {
        let mut exchange = exchange(true);
        assert_eq!(exchange.patience(), Patience::Connection);
        for (input, patience) in [
            (Connected, Patience::Transfer),
            (Connected, Patience::Transfer),
            (dropped(1), Patience::Transfer),
            (dropped(1), Patience::Connection),
            (Connected, Patience::Transfer),
            (Delivered, Patience::Confirmation),
        ] {
            exchange.step(input);
            assert_eq!(exchange.patience(), patience);
        }
    }
}
