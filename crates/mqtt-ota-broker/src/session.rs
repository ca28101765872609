use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use crate::message::Message;
use crate::packet::Packet;
use crate::seat::Name;

/// What the broker knows of one client: for the time of its connection, and for as long after it as it asked for.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: Name,
    pub(crate) terms: Terms,
    /// The filters it is subscribed to, with what each of them costs.
    pub(crate) subscriptions: BTreeMap<Box<[u8]>, usize>,
    /// What all of them cost.
    pub(crate) subscribed: usize,
    /// Set while the client is not connected.
    pub(crate) away: Option<Away>,
    /// Tells the connection that there is something to send.
    pub(crate) wake: Arc<Notify>,
    queue: VecDeque<Delivery>,
    /// Sent, and not acknowledged; in the order in which it was sent.
    in_flight: VecDeque<InFlight>,
    /// What the messages in the queue and in flight cost.
    queued: usize,
    last_id: u16,
    /// Messages with QoS 2 that the client has yet to release.
    unreleased: BTreeSet<u16>,
}

/// What a client and the broker agreed on when it connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long the session outlives the connection.
    pub(crate) life: Duration,
    /// How many messages may wait for its acknowledgement.
    pub(crate) window: usize,
    /// The longest packet that the client takes, in bytes.
    pub(crate) max_packet: usize,
    /// Whether it came from inside this process.
    pub(crate) is_inside: bool,
}

/// The session of a client that is not connected.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) since: Instant,
    /// When the session ends; `None` where the clock cannot count so far.
    pub(crate) until: Option<Instant>,
    /// The client's last will, and when it is published.
    pub(crate) will: Option<(v5::Publish, Instant)>,
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

#[derive(Debug)]
struct InFlight {
    id: u16,
    delivery: Delivery,
    /// The client has it (QoS 2), and only has to say so once more.
    is_received: bool,
    /// The connection on which it was sent is gone.
    again: bool,
}

impl Session {
    pub(crate) fn new(name: Name, terms: Terms) -> Self {
        Self {
            name,
            terms,
            subscriptions: BTreeMap::new(),
            subscribed: 0,
            away: None,
            wake: Arc::default(),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            queued: 0,
            last_id: 0,
            unreleased: BTreeSet::new(),
        }
    }

    /// The bytes that its messages take.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// A client is connected again: it is sent once more what it did not acknowledge.
    pub(crate) fn resume(&mut self, terms: Terms) {
        (self.terms, self.away) = (terms, None);
        self.in_flight.iter_mut().for_each(|sent| sent.again = true);
    }

    /// Puts a message into the queue. Where the queue has no room the oldest in it go, and where that is not enough the
    /// message is lost. `total` is what the messages of all sessions cost.
    pub(crate) fn push(&mut self, delivery: Delivery, total: &mut usize) {
        let cost = delivery.message.cost();
        while self.is_full(cost, *total) {
            let Some(oldest) = self.queue.pop_front() else { return };
            self.forget(&oldest, total);
        }
        self.queued += cost;
        *total += cost;
        self.queue.push_back(delivery);
        self.wake.notify_one();
    }

    /// Each session may use its share, however much the others take.
    fn is_full(&self, cost: usize, total: usize) -> bool {
        let with_it = self.queued + cost;
        if self.terms.is_inside {
            return with_it > limits::INSIDE_QUEUE;
        }
        with_it > limits::QUEUE || with_it > limits::QUEUE_SHARE && total + cost > limits::QUEUES
    }

    /// The next packet for the client; `None` where nothing is left, or it has to acknowledge first.
    pub(crate) fn next(&mut self, now: Instant, total: &mut usize) -> Option<Packet> {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.again) {
            sent.again = false;
            if sent.is_received {
                return Some(Packet::PubRel(v5::PubRel::new(sent.id, None)));
            }
            let Delivery { message, qos, retain } = &sent.delivery;
            return Some(Packet::Publish(message.to_publish(*qos, *retain, sent.id, true, now)));
        }
        loop {
            let first = self.queue.front()?;
            if first.qos != QoS::AtMostOnce && !self.has_room() {
                return None;
            }
            let delivery = self.queue.pop_front()?;
            self.forget(&delivery, total);
            if self.queue.is_empty() {
                self.queue = VecDeque::new();
            }
            if let Some(publish) = self.send(delivery, now, total) {
                return Some(Packet::Publish(publish));
            }
        }
    }

    /// Whether one more message with QoS 1 or 2 may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.terms.window
    }

    /// The packet for a message that is sent at once. `None` where it has expired, or the client does not take one of
    /// that length.
    pub(crate) fn send(
        &mut self,
        delivery: Delivery,
        now: Instant,
        total: &mut usize,
    ) -> Option<v5::Publish> {
        let Delivery { message, qos, retain } = &delivery;
        if message.is_expired(now) {
            return None;
        }
        let id = if *qos == QoS::AtMostOnce { 0 } else { self.free_id() };
        let publish = message.to_publish(*qos, *retain, id, false, now);
        if publish.size() > self.terms.max_packet {
            return None;
        }
        if id != 0 {
            let cost = message.cost();
            self.queued += cost;
            *total += cost;
            self.in_flight.push_back(InFlight { id, delivery, is_received: false, again: false });
        }
        Some(publish)
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|sent| sent.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Takes the client's PUBACK or PUBCOMP, or a PUBREC that refuses. One that is not expected means nothing.
    pub(crate) fn acknowledged(&mut self, id: u16, total: &mut usize) {
        if let Some(place) = self.in_flight.iter().position(|sent| sent.id == id)
            && let Some(sent) = self.in_flight.remove(place)
        {
            self.forget(&sent.delivery, total);
        }
    }

    /// Takes the client's PUBREC; false where it is not expected.
    pub(crate) fn received(&mut self, id: u16) -> bool {
        let sent = self.in_flight.iter_mut().find(|sent| sent.id == id);
        sent.is_some_and(|sent| {
            sent.is_received = sent.delivery.qos == QoS::ExactlyOnce;
            sent.is_received
        })
    }

    /// Takes the number of a message with QoS 2; false where it came before. `None` where there are too many.
    pub(crate) fn receive(&mut self, id: u16) -> Option<bool> {
        if self.unreleased.len() >= limits::WINDOW && !self.unreleased.contains(&id) {
            return None;
        }
        Some(self.unreleased.insert(id))
    }

    /// Forgets a number that the client will not send again; false where it is not known.
    pub(crate) fn release(&mut self, id: u16) -> bool {
        self.unreleased.remove(&id)
    }

    fn forget(&mut self, delivery: &Delivery, total: &mut usize) {
        let cost = delivery.message.cost();
        self.queued = self.queued.saturating_sub(cost);
        *total = total.saturating_sub(cost);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn name(id: &str) -> Name {
        Name { is_inside: false, id: id.into() }
    }

    fn session(window: usize) -> Session {
        let name = name("desk");
        let terms = Terms { life: Duration::ZERO, window, max_packet: usize::MAX, is_inside: false };
        Session::new(name, terms)
    }

    fn delivery(payload: usize, qos: QoS) -> Delivery {
        let publish = v5::Publish::new("x", qos, vec![b'x'; payload], None);
        Delivery { message: Arc::new(Message::new(&publish, Instant::now())), qos, retain: false }
    }

    fn ids(session: &mut Session, total: &mut usize) -> Vec<u16> {
        std::iter::from_fn(|| session.next(Instant::now(), total))
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.pkid,
                Packet::PubRel(release) => release.pkid,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn no_more_are_sent_than_the_client_takes_until_it_acknowledges() {
        let (mut session, mut total) = (session(2), 0);
        for _ in 0..4 {
            session.push(delivery(1, QoS::AtLeastOnce), &mut total);
        }
        assert_eq!(ids(&mut session, &mut total), [1, 2]);
        session.acknowledged(2, &mut total);
        session.acknowledged(9, &mut total);
        assert_eq!(ids(&mut session, &mut total), [3]);
        session.resume(session.terms);
        assert_eq!(ids(&mut session, &mut total), [1, 3]);
        for id in 1..=4 {
            session.acknowledged(id, &mut total);
            ids(&mut session, &mut total);
        }
        session.acknowledged(4, &mut total);
        assert_eq!((session.queued, total), (0, 0));
    }

    #[test]
    fn a_message_with_qos_2_that_was_received_is_only_released_again() {
        let (mut session, mut total) = (session(2), 0);
        session.push(delivery(1, QoS::ExactlyOnce), &mut total);
        assert_eq!(ids(&mut session, &mut total), [1]);
        assert!(session.received(1));
        assert!(!session.received(2));
        session.resume(session.terms);
        assert!(matches!(session.next(Instant::now(), &mut total), Some(Packet::PubRel(_))));
        session.acknowledged(1, &mut total);
        assert_eq!(total, 0);
    }

    #[test]
    fn a_full_queue_loses_the_oldest() {
        let (mut session, mut total) = (session(2), 0);
        for _ in 0..3 {
            session.push(delivery(limits::QUEUE / 2, QoS::AtMostOnce), &mut total);
        }
        assert_eq!(session.queue.len(), 1);
        session.push(delivery(limits::QUEUE, QoS::AtMostOnce), &mut total);
        assert_eq!((session.queue.len(), session.queued, total), (0, 0, 0));
    }

    #[test]
    fn a_session_has_its_share_though_others_take_all_there_is() {
        let (mut session, mut total) = (session(2), limits::QUEUES);
        for _ in 0..100 {
            session.push(delivery(900, QoS::AtMostOnce), &mut total);
        }
        let kept = limits::QUEUE_SHARE / delivery(900, QoS::AtMostOnce).message.cost();
        assert_eq!(session.queue.len(), kept);
    }
}
