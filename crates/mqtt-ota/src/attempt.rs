use std::collections::HashSet;
use std::mem::replace;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::address::Advertised;
use crate::boot;
use crate::delivery::{Delivery, OFFER_AGAIN, Wanted, at};
use crate::error::SendError;
use crate::event::{Event, Strangers};
use crate::exchange::{Exchange, Input, Patience, Terms};
use crate::feed::{Feed, Heard};
use crate::mqtt::{Ack, Link, Retention};
use crate::options::SendOptions;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::serve::{Known, ServeEvent, Server, Serving};
use crate::wire::{DeviceName, Offer, State, Status};

/// Largest number of times that a device can renew its time by reporting that it fetches the file at its boot.
const BOOTS: u32 = 3;
/// Plain offer that is published and served: the sockets and the clock around an [`Exchange`].
pub(crate) struct Attempt<'a> {
    pub(crate) link: &'a Link,
    pub(crate) device: &'a DeviceName,
    pub(crate) payload: &'a Payload,
    pub(crate) offer: &'a Offer,
    pub(crate) advertised: &'a Advertised,
    pub(crate) options: &'a SendOptions,
    /// Time for which a device that is not subscribed is waited for. `None` to report it at once.
    pub(crate) waits: Option<Duration>,
}

/// Record of the clients, and of the device's reports.
#[derive(Default)]
struct Taken {
    /// Clients that are being served and may be the device.
    devices: HashSet<SocketAddr>,
    /// Last of these clients to which everything was sent, and the time of that.
    whole: Option<(SocketAddr, Instant)>,
    /// Client among them that then closed its connection in turn.
    closed: Option<SocketAddr>,
    /// Bytes sent to all clients whose connections have ended.
    sent: u64,
    strangers: Strangers,
    /// True if the device has reported that it takes the offer.
    is_receiving: bool,
    /// Number of reports that the device fetches the file at its boot.
    boots: u32,
    /// Time at which the device last did something about the offer.
    contact: Option<Instant>,
}

/// Deadlines of an attempt.
#[derive(Default)]
struct Limits {
    connect_by: Option<Instant>,
    confirm_by: Option<Instant>,
}

impl Limits {
    /// Sets or clears the deadline of the device's report. `is_anew` is true if the device has just taken the file.
    fn follow(&mut self, exchange: &Exchange, is_anew: bool, options: &SendOptions) {
        // The deadline also ends if the file is to be fetched anew at a boot.
        if is_anew || exchange.patience() == Patience::Connection {
            self.confirm_by = None;
        }
        if self.confirm_by.is_none() && exchange.patience() == Patience::Confirmation {
            let at_least = if exchange.is_at_boot() { boot::UNTIL_ITS_WORD } else { Duration::ZERO };
            self.confirm_by = Some(Instant::now() + options.confirm_timeout.max(at_least));
        }
    }
}

impl Attempt<'_> {
    /// Publishes the offer, and serves it until there is an outcome.
    ///
    /// # Errors
    /// Returns an error if the offer cannot be published, or if the file cannot be read or has changed.
    ///
    /// Cancellation: the port is closed.
    pub(crate) async fn run(&self, server: Server, feed: &mut Feed) -> Result<Delivery, SendError> {
        let Self { payload, offer, options, .. } = *self;
        let (topic, message) = (self.device.offer_topic(), Bytes::from(offer.to_string()));
        let mut exchange = Exchange::new(self.terms(topic.clone(), feed));

        let (last_call, called) = oneshot::channel::<()>();
        let mut last_call = Some(last_call);
        let (events, mut served) = ServeEvent::channel();
        let known =
            Known { address: feed.device_address(), receiving: None, reports: feed.announcement.is_some() };
        let (known, device) = watch::channel(known);
        let (payload_served, idle) = (payload.clone(), options.idle_timeout);
        let serving = Serving { payload: payload_served, digest: offer.digest, idle, device, events };
        let mut serving = pin!(server.run(serving, called));
        // The offer expires when the sender stops waiting: a device that wakes later must not act on it.
        let lasting = Retention::For(options.connect_timeout);
        let publish = || self.link.patiently(|| self.link.publish(&topic, message.clone(), lasting));
        let mut publishing = pin!(publish());
        let (mut is_serving, mut is_published, mut is_heard) = (true, false, true);
        let (mut limits, mut again_at) = (Limits::default(), None);
        let mut taken = Taken::default();
        let outcome = loop {
            let input = tokio::select! {
                // No client is served while the device lacks room for the file.
                () = &mut serving, if is_serving && self.lacks(feed).is_none() => {
                    is_serving = false;
                    continue;
                }
                event = served.recv(), if is_heard => match event {
                    Some(event) => match self.served(event, &mut taken)? {
                        Some(input) => input,
                        None => continue,
                    },
                    None => {
                        is_heard = false;
                        Input::Closed
                    }
                },
                acknowledged = &mut publishing, if !is_published => {
                    is_published = true;
                    limits.connect_by.get_or_insert_with(|| Instant::now() + options.connect_timeout);
                    match acknowledged {
                        // A device that was heard knows the offer, even if the broker did not acknowledge it.
                        Err(_) if exchange.has_met() => Input::Acknowledged(Ack::Accepted),
                        answer => Input::Acknowledged(answer?),
                    }
                }
                Some(heard) = feed.next() => {
                    // Publishing an offer twice does no harm.
                    let may_be_lost = matches!(heard, Heard::Announced { anew: true } | Heard::Reconnected);
                    if may_be_lost && is_published && !exchange.is_served() {
                        is_published = false;
                        publishing.set(publish());
                    }
                    match self.heard(heard, feed, &mut exchange, &known, &mut taken, &mut limits) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                () = at(again_at), if again_at.is_some() => {
                    again_at = None;
                    if is_published {
                        is_published = false;
                        publishing.set(publish());
                    }
                    continue;
                }
                () = at(limits.confirm_by), if limits.confirm_by.is_some() => {
                    (limits.confirm_by, last_call) = (None, None);
                    Input::Expired
                }
                () = at(limits.connect_by), if limits.connect_by.is_some() && limits.confirm_by.is_none() => {
                    (limits.connect_by, last_call) = (None, None);
                    Input::Expired
                }
            };
            let (was_absent, was_taken) = (exchange.is_absent(), exchange.is_delivered());
            if let Some(outcome) = exchange.step(input) {
                break outcome;
            }
            if exchange.is_absent() && is_published && again_at.is_none() {
                again_at = Some(Instant::now() + OFFER_AGAIN);
                if !was_absent {
                    options.tell(Event::WaitingForDevice { limit: options.connect_timeout });
                }
            }
            let is_anew = exchange.is_delivered() && !was_taken;
            limits.follow(&exchange, is_anew, options);
        };
        drop(last_call);
        Ok(self.ended(outcome, &exchange, taken))
    }

    /// Reports the last events, and returns the result of the offer.
    fn ended(&self, outcome: Outcome, exchange: &Exchange, mut taken: Taken) -> Delivery {
        let Self { payload, options, .. } = *self;
        taken.strangers.event().into_iter().for_each(|event| options.tell(event));
        if let (Outcome::Installed, None, Some((peer, _))) = (&outcome, taken.closed, taken.whole) {
            // The device's report was faster than the end of its connection.
            taken.closed = Some(peer);
            taken.sent += payload.len();
            options.tell(Event::Delivered { peer });
        }
        Delivery {
            outcome,
            peer: taken.closed,
            taken: taken.whole.map(|(_, at)| at),
            sent: taken.sent,
            // A plain stream begins at its beginning each time.
            position: 0,
            wanted: Wanted::default(),
            met: exchange.has_met(),
            at_boot: taken.contact.filter(|_| exchange.is_at_boot()),
        }
    }

    /// Handles a message from the device. Returns the input for the exchange, if there is one.
    fn heard(
        &self,
        heard: Heard,
        feed: &Feed,
        exchange: &mut Exchange,
        known: &watch::Sender<Known>,
        taken: &mut Taken,
        limits: &mut Limits,
    ) -> Option<Input> {
        match heard {
            Heard::Announced { anew } => {
                let address = feed.device_address();
                known.send_modify(|known| (known.address, known.reports) = (address, true));
                exchange.know(address, self.lacks(feed));
                Some(if anew { Input::AnnouncedAnew } else { Input::Announced })
            }
            Heard::Status(status) => {
                if exchange.is_answered_by(&status) {
                    self.answered(&status, known, taken, limits);
                }
                Some(Input::Status(status))
            }
            Heard::Crashed(crash) => {
                self.options.tell(Event::Crashed(crash));
                None
            }
            Heard::Reconnected => None,
        }
    }

    /// Handles a status that is about this offer.
    fn answered(
        &self,
        status: &Status,
        known: &watch::Sender<Known>,
        taken: &mut Taken,
        limits: &mut Limits,
    ) {
        let (options, now) = (self.options, Instant::now());
        if let Some(by) = status.hidden_by() {
            options.tell(Event::Hidden { by: by.to_owned() });
        }
        if status.is_at_boot() {
            if taken.boots == 0 {
                options.tell(Event::AtBoot);
            }
            taken.boots += 1;
            taken.contact = Some(now);
            // The number of renewals is limited, for a device that reports this again and again.
            if taken.boots <= BOOTS {
                limits.connect_by = Some(now + options.connect_timeout.max(boot::UNTIL_IT_CONNECTS));
            }
        } else if status.state == State::Receiving && !replace(&mut taken.is_receiving, true) {
            options.tell(Event::Receiving);
            limits.connect_by = Some(now + options.connect_timeout);
            known.send_modify(|known| (known.receiving, known.reports) = (Some(now), true));
        }
    }

    fn terms(&self, topic: String, feed: &Feed) -> Terms {
        Terms {
            path: self.offer.path.clone(),
            digest: self.offer.digest,
            total: self.payload.len(),
            topic,
            advertised: self.advertised.clone(),
            reports: feed.announcement.is_some(),
            device: feed.device_address(),
            waits: self.waits,
            lacks: self.lacks(feed),
        }
    }

    /// Returns the free space that the device has announced, in bytes, if the file does not fit into it.
    ///
    /// The old file stays beside the new one until the new one is whole.
    fn lacks(&self, feed: &Feed) -> Option<u64> {
        let free = feed.announcement.as_ref()?.free?;
        (free < self.payload.len()).then_some(free)
    }

    fn served(&self, event: ServeEvent, taken: &mut Taken) -> Result<Option<Input>, SendError> {
        let total = self.payload.len();
        let (event, input) = match event {
            ServeEvent::Connected { peer, is_device } => {
                if is_device {
                    taken.devices.insert(peer);
                    taken.contact = Some(Instant::now());
                }
                (Event::Connected { peer }, Some(Input::Connected { peer, is_device }))
            }
            ServeEvent::Progress { peer, .. } if !taken.devices.contains(&peer) => return Ok(None),
            ServeEvent::Progress { peer, sent } => (Event::Progress { peer, sent, total }, None),
            ServeEvent::Written { peer, at } => {
                if taken.devices.contains(&peer) {
                    taken.whole = Some((peer, at));
                    taken.contact = Some(at);
                }
                return Ok(None);
            }
            ServeEvent::TurnedAway { peer, cause } => {
                taken.strangers.add(peer, cause);
                return Ok(None);
            }
            ServeEvent::Dropped { peer, sent, cause } => {
                taken.sent += sent;
                let input = Input::Dropped { peer, sent, cause: cause.clone() };
                if !taken.devices.remove(&peer) {
                    taken.strangers.add(peer, cause);
                    return Ok(Some(input));
                }
                (Event::Dropped { peer, sent, cause }, Some(input))
            }
            ServeEvent::Delivered { peer } => {
                taken.sent += total;
                if taken.devices.remove(&peer) {
                    taken.closed = Some(peer);
                    // An empty file makes no progress.
                    taken.whole.get_or_insert((peer, Instant::now()));
                }
                (Event::Delivered { peer }, Some(Input::Delivered { peer }))
            }
            ServeEvent::Spoilt(error) => return Err(error.into()),
        };
        self.options.tell(event);
        Ok(input)
    }
}

#[cfg(test)]
#[cfg(feature = "keeper")]
mod tests;
