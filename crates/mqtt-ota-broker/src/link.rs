use std::collections::{BTreeSet, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter, Packet, PubAck, PubAckReason, Publish, QoS, Subscribe,
    Unsubscribe,
};
use rumqttd::{Notification, RouterConfig};

use crate::announcements;
use crate::archive::Archive;
use crate::codec::MessageId;
use crate::{limits, topic};

/// Connects a client, by its name and whether its session is a clean one, to the router.
type Open = dyn Fn(&str, bool) -> Result<(LinkTx, LinkRx, Notification), RouterGone> + Send + Sync;

/// rumqttd's router: it runs on a thread of its own, which has no end but that of the process.
pub(crate) struct Router {
    open: Box<Open>,
    retained: Arc<Retained>,
}

/// What is retained.
#[derive(Debug)]
struct Retained {
    topics: Mutex<Topics>,
    archive: Option<Arc<Archive>>,
}

/// The topics that have a retained message.
#[derive(Debug, Default)]
struct Topics {
    announcements: HashSet<Bytes>,
    others: HashSet<Bytes>,
}

/// One client's way into the router, and the guard of the router: what makes rumqttd end a connection by
/// itself, or makes its thread panic, is settled here and does not reach it.
pub(crate) struct Link {
    to: LinkTx,
    from: LinkRx,
    retained: Arc<Retained>,
    subscriptions: HashSet<String>,
    resumed: bool,
    /// Messages that the client has yet to acknowledge, in the order in which rumqttd wants that, and whether
    /// it has.
    unacknowledged: VecDeque<(u16, bool)>,
    /// Messages with QoS 2 that the client has yet to release.
    unreleased: BTreeSet<u16>,
}

/// What the router has for a client.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and never stored")]
pub(crate) enum Outgoing {
    Packet(Packet),
    /// It waits until everything before this is written, and [`Link::ready`] is called.
    Paused,
}

/// The router's thread has ended, or never took the client.
#[derive(Debug, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct RouterGone;

/// What the client did that ends its connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misuse {
    #[error("a message to a topic with a wildcard, or that is not UTF-8")]
    Topic,
    #[error("{} messages with QoS 2 at once, and none released", limits::UNRELEASED)]
    Unreleased,
}

impl Router {
    pub(crate) fn start(connections: usize, archive: Option<Arc<Archive>>) -> Self {
        let config = RouterConfig {
            max_connections: connections,
            // The most retained messages that a subscriber with QoS 0 gets.
            max_outgoing_packet_count: u64::try_from(limits::RETAINED + limits::ANNOUNCEMENTS)
                .unwrap_or(u64::MAX),
            max_segment_size: limits::SEGMENT,
            max_segment_count: limits::SEGMENTS,
            ..RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        let open = move |name: &str, clean_session: bool| {
            LinkBuilder::new(name, events.clone())
                .clean_session(clean_session)
                .build()
                .map_err(|_| RouterGone)
        };
        Self { open: Box::new(open), retained: Arc::new(Retained { topics: Mutex::default(), archive }) }
    }

    /// Connects a client to the router. Blocks until the router's thread has answered, some microseconds.
    pub(crate) fn open(&self, name: &str, clean_session: bool) -> Result<(Link, Packet), RouterGone> {
        let (to, from, answer) = (self.open)(name, clean_session)?;
        let Some(Packet::ConnAck(ack, _)) = answer.into() else { return Err(RouterGone) };
        let link = Link {
            to,
            from,
            retained: Arc::clone(&self.retained),
            subscriptions: HashSet::new(),
            resumed: ack.session_present,
            unacknowledged: VecDeque::new(),
            unreleased: BTreeSet::new(),
        };
        Ok((link, Packet::ConnAck(ack, None)))
    }
}

impl Link {
    /// Publishes a message. One with QoS 1 the router acknowledges, one with QoS 2 the caller does.
    pub(crate) fn publish(&mut self, mut publish: Publish, id: Option<MessageId>) -> Result<(), Misuse> {
        let reserved = topic::is_reserved(&publish.topic);
        let topic = topic::into_router(&publish.topic).ok_or(Misuse::Topic)?;
        if let Some(MessageId::ExactlyOnce(id)) = id {
            if !self.unreleased.insert(id) {
                return Ok(());
            }
            if self.unreleased.len() > limits::UNRELEASED {
                return Err(Misuse::Unreleased);
            }
            publish = Publish::new(publish.topic, publish.payload, publish.retain);
        }
        publish.retain &= !reserved && self.retained.keep(&publish);
        publish.topic = topic;
        self.send(Packet::Publish(publish, None));
        Ok(())
    }

    /// Subscribes, and leaves the answer to the router; false where the caller has to refuse it.
    pub(crate) async fn subscribe(&mut self, mut subscribe: Subscribe) -> bool {
        let mut again = Vec::new();
        for filter in &mut subscribe.filters {
            let Some(path) = topic::filter_into_router(&filter.path) else { return false };
            filter.path = path;
            // What rumqttd does with a lost client that took messages with QoS 2 is not worth finding out.
            if filter.qos == QoS::ExactlyOnce {
                filter.qos = QoS::AtLeastOnce;
            }
        }
        for Filter { path, .. } in &subscribe.filters {
            if !self.subscriptions.insert(path.clone()) {
                again.push(path.clone());
            }
        }
        if self.subscriptions.len() > limits::SUBSCRIPTIONS {
            for Filter { path, .. } in subscribe.filters.iter().filter(|f| !again.contains(&f.path)) {
                self.subscriptions.remove(path);
            }
            return false;
        }
        // rumqttd sends the retained messages to new subscriptions only. A resumed session is left alone:
        // what was kept for it would be lost.
        if !again.is_empty() && !self.resumed {
            let unsubscribe = Unsubscribe { pkid: subscribe.pkid, filters: again };
            self.taken().await;
            self.to.buffer().push_back(Packet::Unsubscribe(unsubscribe, None));
        }
        self.send(Packet::Subscribe(subscribe, None));
        true
    }

    /// Ends subscriptions. The caller answers: the router does so once a filter, or never.
    pub(crate) async fn unsubscribe(&mut self, mut unsubscribe: Unsubscribe) {
        unsubscribe.filters =
            unsubscribe.filters.iter().filter_map(|filter| topic::filter_into_router(filter)).collect();
        for filter in &unsubscribe.filters {
            self.subscriptions.remove(filter);
        }
        if !unsubscribe.filters.is_empty() {
            self.taken().await;
            self.send(Packet::Unsubscribe(unsubscribe, None));
        }
    }

    /// Takes a number that is about to be sent to the client.
    pub(crate) fn sent(&mut self, id: MessageId) {
        if let MessageId::AtLeastOnce(id) = id {
            self.unacknowledged.push_back((id, false));
        }
    }

    /// Takes the client's acknowledgement. rumqttd ends the connection at one that is out of order or unknown.
    pub(crate) fn acknowledged(&mut self, id: u16) {
        if let Some((_, done)) = self.unacknowledged.iter_mut().find(|(sent, done)| *sent == id && !done) {
            *done = true;
        }
        while let Some((pkid, true)) = self.unacknowledged.front().copied() {
            self.unacknowledged.pop_front();
            self.send(Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None));
        }
    }

    /// Forgets a number that the client will not send again.
    pub(crate) fn released(&mut self, id: u16) {
        self.unreleased.remove(&id);
    }

    /// What the router has next. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Result<Outgoing, RouterGone> {
        loop {
            if let Some(outgoing) = self.from.next().await.map_err(|_| RouterGone)?.and_then(for_client) {
                return Ok(outgoing);
            }
        }
    }

    /// What the router has already; `None` where nothing is there.
    pub(crate) fn try_next(&mut self) -> Option<Outgoing> {
        while let Ok(notification) = self.from.recv_deadline(Instant::now()) {
            if let Some(outgoing) = notification.and_then(for_client) {
                return Some(outgoing);
            }
        }
        None
    }

    /// Lets the router go on after [`Outgoing::Paused`].
    pub(crate) fn ready(&self) -> Result<(), RouterGone> {
        self.from.ready().map_err(|_| RouterGone)
    }

    /// Waits until the router has taken everything sent so far, some microseconds. Where it takes a message and
    /// the end of a subscription to it in one go, the subscription comes back to life.
    pub(crate) async fn taken(&self) {
        while !self.to.buffer().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// rumqttd's `send` never waits, though it is async: it has no point at which it could. Where the router
    /// is gone nothing is sent, and `next` tells.
    fn send(&mut self, packet: Packet) {
        let sending = pin!(self.to.send(packet));
        let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Drop for Link {
    /// The router frees its place for this client, also where the client's task panicked.
    fn drop(&mut self) {
        let normal = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        self.send(Packet::Disconnect(normal, None));
    }
}

impl Retained {
    /// Takes a message; false where there are too many to keep this one as well.
    fn keep(&self, publish: &Publish) -> bool {
        let (topic, message) = (&publish.topic, &publish.payload);
        let kept = self.topics.lock().unwrap_or_else(PoisonError::into_inner).keep(publish);
        // An empty one ends what was retained, also where it is not retained itself.
        if let Some(archive) = self.archive.as_ref().filter(|_| message.is_empty() || publish.retain && kept)
        {
            archive.take(topic, message);
        }
        kept
    }
}

impl Topics {
    fn keep(&mut self, publish: &Publish) -> bool {
        let Self { announcements, others } = self;
        if publish.payload.is_empty() {
            announcements.remove(&publish.topic);
            others.remove(&publish.topic);
            return true;
        }
        if !publish.retain {
            return true;
        }
        let is_announcement = announcements::device_of(&publish.topic, &publish.payload).is_some();
        let (these, those, limit) = if is_announcement {
            (announcements, others, limits::ANNOUNCEMENTS)
        } else {
            (others, announcements, limits::RETAINED)
        };
        if these.contains(&publish.topic) {
            return true;
        }
        if these.len() >= limit {
            tracing::warn!(limit, "a message is not retained: there are too many");
            return false;
        }
        // An announcement that has become too long, or short enough.
        those.remove(&publish.topic);
        these.insert(Bytes::copy_from_slice(&publish.topic))
    }
}

fn for_client(notification: Notification) -> Option<Outgoing> {
    if matches!(notification, Notification::Unschedule) {
        return Some(Outgoing::Paused);
    }
    match Option::<Packet>::from(notification)? {
        Packet::Publish(mut publish, _) => {
            publish.topic = topic::from_router(publish.topic);
            Some(Outgoing::Packet(Packet::Publish(publish, None)))
        }
        Packet::UnsubAck(..) => None,
        packet => Some(Outgoing::Packet(packet)),
    }
}
