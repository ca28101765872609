use std::mem::replace;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::address::Advertised;
use crate::error::SendError;
use crate::event::Event;
use crate::exchange::{Exchange, Input, Patience};
use crate::feed::{Feed, Heard};
use crate::mqtt::{Ack, Lasting, Link};
use crate::options::SendOptions;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::serve::{ServeEvent, Server};
use crate::stream::Wanted;
use crate::wire::{DeviceName, Offer, State};

/// One offer, published and served: the sockets and the clock around an [`Exchange`].
pub(crate) struct Attempt<'a> {
    pub(crate) link: &'a Link,
    pub(crate) device: &'a DeviceName,
    pub(crate) payload: &'a Payload,
    pub(crate) offer: &'a Offer,
    pub(crate) advertised: &'a Advertised,
    pub(crate) options: &'a SendOptions,
}

/// What became of it, and who took the file.
pub(crate) struct Delivery {
    pub(crate) outcome: Outcome,
    pub(crate) peer: Option<SocketAddr>,
    /// When somebody had been sent everything.
    pub(crate) taken: Option<Instant>,
    /// Bytes that were handed to the system for clients.
    pub(crate) sent: u64,
    /// How far the device got, with what it had already.
    pub(crate) position: u64,
    /// What a device that was offered a set asked for, or would ask for.
    pub(crate) wanted: Wanted,
}

/// Who took what.
#[derive(Default)]
struct Taken {
    /// The last who was sent everything, and when.
    whole: Option<(SocketAddr, Instant)>,
    /// The one who then closed in turn.
    closed: Option<SocketAddr>,
    /// Bytes for all who came and went.
    sent: u64,
}

impl Attempt<'_> {
    /// Publishes the offer, and serves it until there is an outcome.
    ///
    /// Cancellation: the port is closed.
    pub(crate) async fn run(&self, server: Server, feed: &mut Feed) -> Result<Delivery, SendError> {
        let Self { payload, offer, options, .. } = *self;
        let (topic, message) = (self.device.offer_topic(), Bytes::from(offer.to_string()));
        let file = (offer.path.clone(), offer.digest, payload.len());
        let mut exchange =
            Exchange::new(file, topic.clone(), self.advertised.clone(), feed.announcement.is_some());

        let (last_call, called) = oneshot::channel::<()>();
        let mut last_call = Some(last_call);
        let (events, mut served) = Server::events();
        let mut serving =
            pin!(server.run(payload.clone(), offer.digest, options.idle_timeout, events, called));
        // One that nobody waits for any more is of no use to a device that wakes.
        let lasting = Lasting::For(options.connect_timeout);
        let publish = || self.link.patiently(|| self.link.publish(&topic, message.clone(), lasting));
        let mut publishing = pin!(publish());
        let (mut is_serving, mut is_published, mut is_heard, mut is_receiving) = (true, false, true, false);
        let (mut connect_by, mut confirm_by) = (None, None);
        let mut taken = Taken::default();
        let outcome = loop {
            let input = tokio::select! {
                () = &mut serving, if is_serving => {
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
                        Err(_) if exchange.patience() != Patience::Connection => {
                            Input::Acknowledged(Ack::Accepted)
                        }
                        answer => Input::Acknowledged(answer?),
                    }
                }
                Some(heard) = feed.next() => match heard {
                    Heard::Announced { anew: false } => Input::Announced,
                    Heard::Announced { anew: true } => {
                        // A device that was away when the offer was published has not got it.
                        if is_published && exchange.patience() == Patience::Connection {
                            is_published = false;
                            publishing.set(publish());
                        }
                        Input::AnnouncedAnew
                    }
                    Heard::Status(status) => {
                        let takes_it =
                            status.state == State::Receiving && status.answers(&offer.path, &offer.digest);
                        if takes_it && !replace(&mut is_receiving, true) {
                            options.tell(Event::Receiving);
                            connect_by = Some(Instant::now() + options.connect_timeout);
                        }
                        Input::Status(status)
                    }
                    // The offer may be lost, and it does no harm twice.
                    Heard::Reconnected if is_published && exchange.patience() == Patience::Connection => {
                        is_published = false;
                        publishing.set(publish());
                        continue;
                    }
                    Heard::Reconnected => continue,
                },
                () = at(confirm_by), if confirm_by.is_some() => Input::Expired,
                () = at(connect_by), if connect_by.is_some() && confirm_by.is_none() => {
                    connect_by = None;
                    last_call = None;
                    Input::Expired
                }
            };
            if let Some(outcome) = exchange.step(input) {
                break outcome;
            }
            if confirm_by.is_none() && exchange.patience() == Patience::Confirmation {
                confirm_by = Some(Instant::now() + options.confirm_timeout);
            }
        };
        drop(last_call);
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
        })
    }

    fn served(&self, event: ServeEvent, taken: &mut Taken) -> Result<Option<Input>, SendError> {
        let (event, input) = match event {
            ServeEvent::Connected { peer } => (Event::Connected { peer }, Some(Input::Connected)),
            ServeEvent::Progress { peer, sent, at } => {
                let total = self.payload.len();
                if sent == total {
                    taken.whole = Some((peer, at));
                }
                (Event::Progress { peer, sent, total }, None)
            }
            ServeEvent::Dropped { peer, sent, cause } => {
                taken.sent += sent;
                (Event::Dropped { peer, sent, cause: cause.clone() }, Some(Input::Dropped { sent, cause }))
            }
            ServeEvent::Delivered { peer } => {
                taken.closed = Some(peer);
                taken.sent += self.payload.len();
                // An empty file makes no progress.
                taken.whole.get_or_insert((peer, Instant::now()));
                (Event::Delivered { peer }, Some(Input::Delivered))
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
