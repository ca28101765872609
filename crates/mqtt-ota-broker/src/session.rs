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
    /// The messages on their way to it.
    pub(crate) log: Log,
    /// The other end of the log, while no connection has it.
    pub(crate) reader: Option<Reader>,
    /// The next message, which waits for acknowledgements.
    held: Option<Delivery>,
    /// Sent, and not acknowledged; in the order in which it was sent.
    in_flight: VecDeque<InFlight>,
    /// Cost in bytes of the messages for it, in the log or in flight.
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

impl Delivery {
    /// The delivery as it waits in a log.
    pub(crate) fn write(&self, epoch: Instant) -> Option<Bytes> {
        let mut buffer = BytesMut::with_capacity(self.message.cost());
        buffer.put_u8(self.qos as u8 | u8::from(self.retain) << 2);
        self.message.write(&mut buffer, epoch)?;
        // What is behind the packet is not read.
        buffer.resize(buffer.len().max(limits::SHORTEST), 0);
        Some(buffer.freeze())
    }

    /// Reads what [`Self::write`] wrote.
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

    /// The bytes that its messages take.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// A client is connected again: it is sent once more what it did not acknowledge.
    pub(crate) fn resume(&mut self, terms: Terms) {
        (self.terms, self.away) = (terms, None);
        self.in_flight.iter_mut().for_each(|sent| sent.again = true);
    }

    /// Takes a message that is about to be written to the log; false where there is no room for it, and it is lost. Of a
    /// client that is away the oldest make room. `total` is what the messages of all sessions cost.
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

    /// Each session may use its share, however much the others take.
    fn is_full(&self, cost: usize, total: usize) -> bool {
        let with_it = self.queued + cost;
        if self.terms.is_inside {
            return with_it > limits::INSIDE_QUEUE;
        }
        with_it > limits::QUEUE || with_it > limits::QUEUE_SHARE && total + cost > limits::QUEUES
    }

    /// The next packet for the client; `None` where nothing is left, or it has to acknowledge first.
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

    /// A session, and what it takes to give it messages.
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
