use std::collections::HashSet;
use std::mem::replace;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::address::Advertised;
use crate::error::SendError;
use crate::event::{Event, Strangers};
use crate::exchange::{Exchange, Input, Patience, Terms};
use crate::feed::{Feed, Heard};
use crate::mqtt::{Ack, Lasting, Link};
use crate::options::SendOptions;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::serve::{Known, ServeEvent, Server, Serving};
use crate::stream::Wanted;
use crate::wire::{DeviceName, Offer, State};

/// How often an offer is published again to a device that is not subscribed, and is waited for.
pub(crate) const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// One offer, published and served: the sockets and the clock around an [`Exchange`].
pub(crate) struct Attempt<'a> {
    pub(crate) link: &'a Link,
    pub(crate) device: &'a DeviceName,
    pub(crate) payload: &'a Payload,
    pub(crate) offer: &'a Offer,
    pub(crate) advertised: &'a Advertised,
    pub(crate) options: &'a SendOptions,
    /// How long the device is waited for where it is not subscribed.
    pub(crate) waits: Option<Duration>,
}

/// What became of it, and who took the file.
pub(crate) struct Delivery {
    pub(crate) outcome: Outcome,
    pub(crate) peer: Option<SocketAddr>,
    /// When somebody had been sent everything.
    pub(crate) taken: Option<Instant>,
    /// Bytes that clients took.
    pub(crate) sent: u64,
    /// How far the device got, with what it had already.
    pub(crate) position: u64,
    /// What a device that was offered a set asked for, or would ask for.
    pub(crate) wanted: Wanted,
    /// Whether anything was heard of the device.
    pub(crate) met: bool,
}

/// Who took what.
#[derive(Default)]
struct Taken {
    /// Those who are served and may be the device.
    devices: HashSet<SocketAddr>,
    /// The last of them who was sent everything, and when.
    whole: Option<(SocketAddr, Instant)>,
    /// The one who then closed in turn.
    closed: Option<SocketAddr>,
    /// Bytes for all who came and went.
    sent: u64,
    strangers: Strangers,
}

impl Attempt<'_> {
    /// Publishes the offer, and serves it until there is an outcome.
    ///
    /// Cancellation: the port is closed.
    pub(crate) async fn run(&self, server: Server, feed: &mut Feed) -> Result<Delivery, SendError> {
        let Self { payload, offer, options, .. } = *self;
        let (topic, message) = (self.device.offer_topic(), Bytes::from(offer.to_string()));
        let mut exchange = Exchange::new(self.terms(topic.clone(), feed));

        let (last_call, called) = oneshot::channel::<()>();
        let mut last_call = Some(last_call);
        let (events, mut served) = Server::events();
        let known =
            Known { address: feed.device_address(), receiving: None, reports: feed.announcement.is_some() };
        let (known, device) = watch::channel(known);
        let (payload_served, idle) = (payload.clone(), options.idle_timeout);
        let serving = Serving { payload: payload_served, digest: offer.digest, idle, device, events };
        let mut serving = pin!(server.run(serving, called));
        // Expires when the sender stops waiting: a device that wakes later must not act on it.
        let lasting = Lasting::For(options.connect_timeout);
        let publish = || self.link.patiently(|| self.link.publish(&topic, message.clone(), lasting));
        let mut publishing = pin!(publish());
        let (mut is_serving, mut is_published, mut is_heard, mut is_receiving) = (true, false, true, false);
        let (mut connect_by, mut confirm_by, mut again_at) = (None, None, None);
        let mut taken = Taken::default();
        let outcome = loop {
            let input = tokio::select! {
                // Nobody is served what the device has no room for.
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
                    connect_by.get_or_insert_with(|| Instant::now() + options.connect_timeout);
                    match acknowledged {
                        // Whoever came knows the offer, whether or not the broker could still say so.
                        Err(_) if exchange.has_met() => Input::Acknowledged(Ack::Accepted),
                        answer => Input::Acknowledged(answer?),
                    }
                }
                Some(heard) = feed.next() => match heard {
                    Heard::Announced { anew } => {
                        let address = feed.device_address();
                        known.send_modify(|known| (known.address, known.reports) = (address, true));
                        exchange.know(address, self.lacks(feed));
                        // A device that was away when the offer was published has not got it.
                        if anew && is_published && !exchange.is_served() {
                            is_published = false;
                            publishing.set(publish());
                        }
                        if anew { Input::AnnouncedAnew } else { Input::Announced }
                    }
                    Heard::Status(status) => {
                        if let Some(by) = status.hidden_by().filter(|_| exchange.is_answered_by(&status)) {
                            options.tell(Event::Hidden { by: by.to_owned() });
                        }
                        let takes_it = status.state == State::Receiving && exchange.is_answered_by(&status);
                        if takes_it && !replace(&mut is_receiving, true) {
                            options.tell(Event::Receiving);
                            connect_by = Some(Instant::now() + options.connect_timeout);
                            known.send_modify(|known| {
                                (known.receiving, known.reports) = (Some(Instant::now()), true)
                            });
                        }
                        Input::Status(status)
                    }
                    // The offer may be lost, and it does no harm twice.
                    Heard::Reconnected if is_published && !exchange.is_served() => {
                        is_published = false;
                        publishing.set(publish());
                        continue;
                    }
                    Heard::Reconnected => continue,
                },
                () = at(again_at), if again_at.is_some() => {
                    again_at = None;
                    if is_published {
                        is_published = false;
                        publishing.set(publish());
                    }
                    continue;
                }
                () = at(confirm_by), if confirm_by.is_some() => {
                    (confirm_by, last_call) = (None, None);
                    Input::Expired
                }
                () = at(connect_by), if connect_by.is_some() && confirm_by.is_none() => {
                    (connect_by, last_call) = (None, None);
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
            if exchange.is_delivered() && !was_taken {
                confirm_by = None;
            }
            if confirm_by.is_none() && exchange.patience() == Patience::Confirmation {
                confirm_by = Some(Instant::now() + options.confirm_timeout);
            }
        };
        drop(last_call);
        taken.strangers.tell(options);
        if let (Outcome::Installed, None, Some((peer, _))) = (&outcome, taken.closed, taken.whole) {
            // The device's word was faster than the end of its connection.
            taken.closed = Some(peer);
            taken.sent += payload.len();
            options.tell(Event::Delivered { peer });
        }
        Ok(Delivery {
            outcome,
            peer: taken.closed,
            taken: taken.whole.map(|(_, at)| at),
            sent: taken.sent,
            // A plain stream begins at its beginning each time.
            position: 0,
            wanted: Wanted::default(),
            met: exchange.has_met(),
        })
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

    /// The free space that the device has announced, in bytes, where the file does not fit into it. The old file stays
    /// beside the new one until that is whole.
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
                }
                (Event::Connected { peer }, Some(Input::Connected { peer, is_device }))
            }
            ServeEvent::Progress { peer, .. } if !taken.devices.contains(&peer) => return Ok(None),
            ServeEvent::Progress { peer, sent } => (Event::Progress { peer, sent, total }, None),
            ServeEvent::Written { peer, at } => {
                if taken.devices.contains(&peer) {
                    taken.whole = Some((peer, at));
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

/// The moment, which is guarded to be there.
pub(crate) async fn at(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}
