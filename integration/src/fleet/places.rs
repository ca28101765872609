use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};

use super::connection::MAX_PACKET;

/// Maximum number of publications that the broker has not acknowledged. Others wait. Mosquitto drops what exceeds 1,000
/// for one subscriber.
const IN_FLIGHT: usize = 100;

/// State of the devices that share a connection: their sessions, the messages for them, and the publications that are
/// not acknowledged. It neither reads nor writes.
#[derive(Debug)]
pub(super) struct Places {
    /// True if there is a connection.
    is_open: bool,
    places: Vec<Place>,
    by_topic: HashMap<String, usize>,
    /// Publications as packets that are not handed out yet.
    packets: BytesMut,
    /// Publications that are not acknowledged, in order.
    said: VecDeque<Said>,
    /// Number of packets of `said` that are handed out.
    in_flight: usize,
    last_id: u16,
    last_session: u64,
}

/// Place of one device.
#[derive(Debug, Default)]
struct Place {
    /// Current session. `None` while the device is off, asleep or booting.
    session: Option<u64>,
    messages: VecDeque<Bytes>,
    unsettled: usize,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Said {
    id: u16,
    place: usize,
    session: u64,
    /// Length of the packet, in bytes.
    length: usize,
}

impl Place {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Registers the task to be woken when anything changes. A device waits for one thing at a time.
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Places {
    /// Creates a place for each of the topics that offers come on.
    pub(super) fn new(topics: impl Iterator<Item = String>) -> Self {
        let by_topic: HashMap<_, _> = topics.zip(0..).collect();
        Self {
            is_open: false,
            places: by_topic.iter().map(|_| Place::default()).collect(),
            by_topic,
            packets: BytesMut::new(),
            said: VecDeque::new(),
            in_flight: 0,
            last_id: 0,
            last_session: 0,
        }
    }

    pub(super) fn topics(&self) -> Vec<String> {
        self.by_topic.keys().cloned().collect()
    }

    pub(super) fn find(&self, topic: &str) -> Option<usize> {
        self.by_topic.get(topic).copied()
    }

    /// Handles a new connection, once it is subscribed.
    pub(super) fn open(&mut self) {
        self.is_open = true;
        self.places.iter_mut().for_each(Place::wake);
    }

    /// Handles the loss of the connection, which ends all sessions.
    pub(super) fn close(&mut self) {
        (self.is_open, self.in_flight) = (false, 0);
        self.packets.clear();
        self.said.clear();
        for place in &mut self.places {
            (place.session, place.unsettled) = (None, 0);
            place.messages.clear();
            place.wake();
        }
    }

    /// Hands a message to its device's session, if there is one.
    pub(super) fn hear(&mut self, topic: &str, message: &[u8]) {
        let Some(place) = self.by_topic.get(topic).map(|place| &mut self.places[*place]) else { return };
        if place.session.is_some() {
            place.messages.push_back(Bytes::copy_from_slice(message));
            place.wake();
        }
    }

    /// Handles the acknowledgement of a publication. The broker acknowledges them in order.
    pub(super) fn acknowledge(&mut self, id: u16) -> io::Result<()> {
        let said = self.said.pop_front().filter(|said| said.id == id && self.in_flight > 0);
        let said = said.ok_or_else(|| io::Error::other(format!("the broker acknowledges {id}")))?;
        self.in_flight -= 1;
        let place = &mut self.places[said.place];
        if place.session == Some(said.session) {
            place.unsettled -= 1;
            if place.unsettled == 0 {
                place.wake();
            }
        }
        Ok(())
    }

    /// Hands out the packets that may go to the broker now.
    pub(super) fn hand_out(&mut self, outgoing: &mut BytesMut) {
        let waiting = self.said.iter().take(IN_FLIGHT).skip(self.in_flight);
        let (count, length) = waiting.fold((0, 0), |(count, length), said| (count + 1, length + said.length));
        self.in_flight += count;
        outgoing.extend_from_slice(&self.packets[..length]);
        self.packets.advance(length);
    }

    /// Begins a session as soon as there is a connection, and returns its number.
    pub(super) fn poll_join(&mut self, place: usize, context: &Context<'_>) -> Poll<u64> {
        if !self.is_open {
            return self.places[place].wait(context);
        }
        self.last_session += 1;
        self.places[place] = Place { session: Some(self.last_session), ..Place::default() };
        Poll::Ready(self.last_session)
    }

    /// Ends a session.
    pub(super) fn leave(&mut self, place: usize, session: u64) {
        if self.session(place, session).is_ok() {
            self.places[place] = Place::default();
        }
    }

    pub(super) fn say(
        &mut self,
        place: usize,
        session: u64,
        topic: String,
        payload: String,
        retain: bool,
    ) -> io::Result<()> {
        if self.said.len() == usize::from(u16::MAX) {
            return Err(io::Error::other("the broker acknowledges too slowly"));
        }
        self.session(place, session)?.unsettled += 1;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = self.last_id;
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        (publish.pkid, publish.retain) = (id, retain);
        let written = Packet::Publish(publish).write(&mut self.packets, MAX_PACKET);
        let length = written.map_err(io::Error::other)?;
        self.said.push_back(Said { id, place, session, length });
        Ok(())
    }

    /// Waits until all publications are acknowledged.
    pub(super) fn poll_settled(
        &mut self,
        place: usize,
        session: u64,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.session(place, session) {
            Ok(place) if place.unsettled > 0 => place.wait(context),
            settled => Poll::Ready(settled.map(drop)),
        }
    }

    /// Waits for the next message.
    pub(super) fn poll_message(
        &mut self,
        place: usize,
        session: u64,
        context: &Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        match self.session(place, session) {
            Ok(place) => match place.messages.pop_front() {
                Some(message) => Poll::Ready(Ok(message)),
                None => place.wait(context),
            },
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn session(&mut self, place: usize, session: u64) -> io::Result<&mut Place> {
        let place = &mut self.places[place];
        if place.session == Some(session) { Ok(place) } else { Err(io::ErrorKind::ConnectionReset.into()) }
    }
}
