use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::sync::Notify;
use tokio::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::engine::{Log, Reader};
use crate::limits;
use crate::message::Message;
use crate::packet::Packet;
use crate::seat::Name;

/// State that the broker keeps for one client, during its connection and for as long after it as the client asked
/// for.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: Name,
    pub(crate) terms: Terms,
    /// Filters that the client is subscribed to, with the cost of each in bytes.
    pub(crate) subscriptions: BTreeMap<Box<[u8]>, usize>,
    /// Cost of all subscriptions, in bytes.
    pub(crate) subscribed: usize,
    /// Set while the client is not connected.
    pub(crate) away: Option<Away>,
    /// Notifies the connection that there is something to send.
    pub(crate) wake: Arc<Notify>,
    /// Log of the messages in transit to the client.
    pub(crate) log: Log,
    /// Reading end of the log, while no connection has it.
    pub(crate) reader: Option<Reader>,
    /// Next message, held back until the client acknowledges earlier ones.
    held: Option<Delivery>,
    /// Messages that were sent but not acknowledged, in the order in which they were sent.
    in_flight: VecDeque<InFlight>,
    /// Cost in bytes of the messages in the log or in flight.
    queued: usize,
    last_id: u16,
    /// Ids of messages with QoS 2 that the client has yet to release.
    unreleased: BTreeSet<u16>,
}

/// Terms that a client and the broker agreed on when the client connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Time for which the session outlives the connection.
    pub(crate) life: Duration,
    /// Maximum number of messages that wait for the client's acknowledgement.
    pub(crate) window: usize,
    /// Longest packet that the client accepts, in bytes.
    pub(crate) max_packet: usize,
    /// True if the client connected from inside this process.
    pub(crate) is_inside: bool,
}

/// State of a session whose client is not connected.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) since: Instant,
    /// End of the session. `None` if it is too far away for the clock.
    pub(crate) until: Option<Instant>,
    /// Last will of the client, and the time at which it is published.
    pub(crate) will: Option<(v5::Publish, Instant)>,
}

/// Message in transit to one client.
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
    /// True if the client has the message (QoS 2) and only PUBCOMP is missing.
    is_received: bool,
    /// True from a reconnection until the message is sent once more.
    again: bool,
}

impl Delivery {
    /// Returns the delivery in the form in which it waits in a log. `None` if the codec refuses the message.
    pub(crate) fn write(&self, epoch: Instant) -> Option<Bytes> {
        let mut buffer = BytesMut::with_capacity(self.message.cost());
        buffer.put_u8(self.qos as u8 | u8::from(self.retain) << 2);
        self.message.write(&mut buffer, epoch)?;
        // Padding after the packet is not read.
        buffer.resize(buffer.len().max(limits::SHORTEST), 0);
        Some(buffer.freeze())
    }

    /// Reads a delivery that [`Self::write`] wrote.
    fn read(mut bytes: Bytes, epoch: Instant) -> Option<Self> {
        let flags = bytes.try_get_u8().ok()?;
        let qos = match flags & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let message = Arc::new(Message::read(bytes, qos, epoch)?);
        Some(Self { message, qos, retain: flags & 4 != 0 })
    }
}

impl Session {
    pub(crate) fn new(name: Name, terms: Terms, log: Log) -> Self {
        Self {
            name,
            terms,
            subscriptions: BTreeMap::new(),
            subscribed: 0,
            away: None,
            wake: Arc::default(),
            log,
            reader: None,
            held: None,
            in_flight: VecDeque::new(),
            queued: 0,
            last_id: 0,
            unreleased: BTreeSet::new(),
        }
    }

    /// Returns the cost in bytes of the messages in the log or in flight.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Resumes the session for a new connection, on which unacknowledged messages are sent once more.
    pub(crate) fn resume(&mut self, terms: Terms) {
        (self.terms, self.away) = (terms, None);
        self.in_flight.iter_mut().for_each(|sent| sent.again = true);
    }

    /// Makes room for a message that is about to be written to the log. Returns false if there is no room.
    ///
    /// The oldest messages make room if the client is not connected. Without room, the new message is lost. `total`
    /// is the cost of the messages of all sessions.
    pub(crate) fn push(&mut self, length: usize, total: &mut usize) -> bool {
        let cost = limits::OVERHEAD + length;
        while self.is_full(cost, *total) {
            let Some(oldest) = self.reader.as_mut().and_then(Reader::try_next) else { return false };
            self.give_back(limits::OVERHEAD + oldest.len(), total);
        }
        self.queued += cost;
        *total += cost;
        true
    }

    /// Returns true if a message of this cost does not fit. Each session may use its share, however much the others
    /// take.
    fn is_full(&self, cost: usize, total: usize) -> bool {
        let with_it = self.queued + cost;
        if self.terms.is_inside {
            return with_it > limits::INSIDE_QUEUE;
        }
        with_it > limits::QUEUE || with_it > limits::QUEUE_SHARE && total + cost > limits::QUEUES
    }

    /// Returns the next packet for the client. `None` if nothing is left, or if the client has to acknowledge first.
    pub(crate) fn next(
        &mut self,
        reader: &mut Reader,
        epoch: Instant,
        now: Instant,
        total: &mut usize,
    ) -> Option<Packet> {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.again) {
            sent.again = false;
            if sent.is_received {
                return Some(Packet::PubRel(v5::PubRel::new(sent.id, None)));
            }
            let Delivery { message, qos, retain } = &sent.delivery;
            return Some(Packet::Publish(message.to_publish(*qos, *retain, sent.id, true, now)));
        }
        loop {
            let delivery = match self.held.take() {
                Some(held) => held,
                None => {
                    let bytes = reader.try_next()?;
                    self.give_back(limits::OVERHEAD + bytes.len(), total);
                    let Some(delivery) = Delivery::read(bytes, epoch) else { continue };
                    delivery
                }
            };
            if delivery.qos != QoS::AtMostOnce && !self.has_room() {
                self.held = Some(delivery);
                return None;
            }
            if let Some(publish) = self.send(delivery, now, total) {
                return Some(Packet::Publish(publish));
            }
        }
    }

    /// Returns true if one more message with QoS 1 or 2 may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.terms.window
    }

    /// Returns the packet for a message that is sent at once. `None` if the message has expired, or if the packet is
    /// longer than the client accepts.
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

    /// Handles the client's PUBACK or PUBCOMP, or a PUBREC that refuses. An unexpected one has no effect.
    pub(crate) fn acknowledged(&mut self, id: u16, total: &mut usize) {
        if let Some(place) = self.in_flight.iter().position(|sent| sent.id == id)
            && let Some(sent) = self.in_flight.remove(place)
        {
            self.forget(&sent.delivery, total);
        }
    }

    /// Handles the client's PUBREC. Returns false if it is not expected.
    pub(crate) fn received(&mut self, id: u16) -> bool {
        let sent = self.in_flight.iter_mut().find(|sent| sent.id == id);
        sent.is_some_and(|sent| {
            sent.is_received = sent.delivery.qos == QoS::ExactlyOnce;
            sent.is_received
        })
    }

    /// Records the id of a message with QoS 2. Returns false if the id is already recorded, and `None` if there are
    /// too many.
    pub(crate) fn receive(&mut self, id: u16) -> Option<bool> {
        if self.unreleased.len() >= limits::WINDOW && !self.unreleased.contains(&id) {
            return None;
        }
        Some(self.unreleased.insert(id))
    }

    /// Forgets an id that the client has released. Returns false if the id is not known.
    pub(crate) fn release(&mut self, id: u16) -> bool {
        self.unreleased.remove(&id)
    }

    fn forget(&mut self, delivery: &Delivery, total: &mut usize) {
        self.give_back(delivery.message.cost(), total);
    }

    fn give_back(&mut self, cost: usize, total: &mut usize) {
        self.queued = self.queued.saturating_sub(cost);
        *total = total.saturating_sub(cost);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::Engine;

    pub(crate) fn name(id: &str) -> Name {
        Name { is_inside: false, id: id.into() }
    }

    /// Session for tests, with everything that is needed to give it messages.
    struct Scene {
        engine: Engine,
        session: Session,
        reader: Reader,
        epoch: Instant,
        total: usize,
    }

    impl Scene {
        fn new(window: usize) -> Self {
            let (mut engine, _) = Engine::start(2).unwrap();
            let (log, reader) = engine.open(false).unwrap();
            let terms = Terms { life: Duration::ZERO, window, max_packet: usize::MAX, is_inside: false };
            Self {
                engine,
                session: Session::new(name("desk"), terms, log),
                reader,
                epoch: Instant::now(),
                total: 0,
            }
        }

        fn push(&mut self, payload: usize, qos: QoS) -> bool {
            let publish = v5::Publish::new("x", qos, vec![b'x'; payload], None);
            let message = Arc::new(Message::new(&publish, Instant::now()));
            let bytes = Delivery { message, qos, retain: false }.write(self.epoch).unwrap();
            let is_taken = self.session.push(bytes.len(), &mut self.total);
            if is_taken {
                self.engine.write(&self.session.log, bytes);
                self.engine.settle();
            }
            is_taken
        }

        fn ids(&mut self) -> Vec<u16> {
            let Self { session, reader, epoch, total, .. } = self;
            std::iter::from_fn(|| session.next(reader, *epoch, Instant::now(), total))
                .map(|packet| match packet {
                    Packet::Publish(publish) => publish.pkid,
                    Packet::PubRel(release) => release.pkid,
                    other => panic!("{other:?}"),
                })
                .collect()
        }
    }

    #[test]
    fn no_more_are_sent_than_the_client_takes_until_it_acknowledges() {
        let mut scene = Scene::new(2);
        for _ in 0..4 {
            scene.push(1, QoS::AtLeastOnce);
        }
        assert_eq!(scene.ids(), [1, 2]);
        scene.session.acknowledged(2, &mut scene.total);
        scene.session.acknowledged(9, &mut scene.total);
        assert_eq!(scene.ids(), [3]);
        scene.session.resume(scene.session.terms);
        assert_eq!(scene.ids(), [1, 3]);
        for id in 1..=4 {
            scene.session.acknowledged(id, &mut scene.total);
            scene.ids();
        }
        scene.session.acknowledged(4, &mut scene.total);
        assert_eq!((scene.session.queued, scene.total), (0, 0));
    }

    #[test]
    fn a_message_with_qos_2_that_was_received_is_only_released_again() {
        let mut scene = Scene::new(2);
        scene.push(1, QoS::ExactlyOnce);
        assert_eq!(scene.ids(), [1]);
        assert!(scene.session.received(1));
        assert!(!scene.session.received(2));
        scene.session.resume(scene.session.terms);
        let Scene { session, reader, epoch, total, .. } = &mut scene;
        let again = session.next(reader, *epoch, Instant::now(), total);
        assert!(matches!(again, Some(Packet::PubRel(_))));
        session.acknowledged(1, total);
        assert_eq!(scene.total, 0);
    }

    #[test]
    fn a_session_that_is_full_takes_nothing_until_it_is_read() {
        let mut scene = Scene::new(2);
        for _ in 0..2 {
            let mut pushed = 0;
            while scene.push(10_000, QoS::AtMostOnce) {
                pushed += 1;
            }
            assert_eq!(pushed, limits::QUEUE / 10_200);
            assert_eq!(scene.ids().len(), pushed);
            assert_eq!((scene.session.queued, scene.total), (0, 0));
        }
        assert!(!scene.push(limits::QUEUE, QoS::AtMostOnce));
    }

    #[test]
    fn a_session_has_its_share_though_others_take_all_there_is() {
        let mut scene = Scene::new(2);
        scene.total = limits::QUEUES;
        let mut pushed = 0;
        while scene.push(900, QoS::AtMostOnce) {
            pushed += 1;
        }
        assert!((25..35).contains(&pushed), "{pushed}");
        assert_eq!(scene.ids().len(), pushed);
    }

    #[test]
    fn a_delivery_is_read_as_it_was_written() {
        let epoch = Instant::now();
        let properties = v5::PublishProperties {
            message_expiry_interval: Some(30),
            response_topic: Some("answer".to_owned()),
            correlation_data: Some(Bytes::from_static(b"7")),
            user_properties: vec![("a".to_owned(), "b".to_owned())],
            ..v5::PublishProperties::default()
        };
        for (qos, properties) in [
            (QoS::AtMostOnce, None),
            (QoS::AtLeastOnce, Some(properties.clone())),
            (QoS::ExactlyOnce, Some(properties)),
        ] {
            for (topic, payload, retain) in [("x", "", false), ("LAMP/OTA", "a|b", true)] {
                let publish = v5::Publish::new(topic, qos, payload, properties.clone());
                let message = Arc::new(Message::new(&publish, epoch));
                let bytes = Delivery { message, qos, retain }.write(epoch).unwrap();
                let read = Delivery::read(bytes, epoch).unwrap();
                let again = read.message.to_publish(read.qos, read.retain, 0, false, epoch);
                assert_eq!(again, v5::Publish { retain, ..publish });
            }
        }
        assert!(Delivery::read(Bytes::from_static(b"nonsense"), epoch).is_none());
    }
}
