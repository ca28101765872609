use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use rumqttd::{Notification, RouterConfig, SegmentConfig};
use tokio::sync::Notify;

use crate::limits;

/// rumqttd's router, which keeps the messages in transit: a log for each session.
///
/// rumqttd never frees a filter, a topic or a log. It is therefore given none of the clients' names. A session is a
/// connection with a generated name, subscribed to a single filter that identifies its log. A later session uses the
/// log again, so there are never more logs than there were sessions at once.
///
/// The router runs on a thread of its own, which ends only with the process.
pub(crate) struct Engine {
    open: Box<Open>,
    writer: LinkTx,
    /// Numbers of the logs that no session has: for clients from the network, and for clients inside this process.
    free: [Vec<usize>; 2],
    logs: usize,
    /// Connection that reads the log of nudges. `None` only while the engine starts.
    nudges: Option<(LinkTx, Reader)>,
    /// Number of nudges that were written.
    nudged: u64,
    /// Set when a log is closed. Cleared once the router has passed all closed ones.
    has_closed: bool,
    /// Notified when a log is closed.
    closing: Arc<Notify>,
}

/// Connects to rumqttd's router, under a name that no other connection has at the time.
type Open = dyn Fn(&str) -> Result<(LinkTx, LinkRx), EngineGone> + Send;

/// Log that only shows how far rumqttd's router has come.
const NUDGES: &str = "nudges";
/// Pause before an unresponsive router is nudged again.
const PATIENCE: Duration = Duration::from_micros(500);
/// Number of nudges after which the router is considered gone: 5 s.
const TRIES: usize = 10_000;

/// Log of the messages that wait for one session.
///
/// Dropping it closes the connection to rumqttd. [`Engine::close`] also makes the log available to a later session.
pub(crate) struct Log {
    topic: String,
    is_inside: bool,
    number: usize,
    to: LinkTx,
}

/// Reading end of a log.
pub(crate) struct Reader {
    from: LinkRx,
    /// Message that was read but not taken yet.
    arrived: Option<Bytes>,
}

/// Error: rumqttd's router has ended, or accepts no more connections.
#[derive(Debug, thiserror::Error)]
#[error("rumqttd's router is gone")]
pub(crate) struct EngineGone;

impl Engine {
    /// Starts a router for this many simultaneous sessions.
    ///
    /// The returned reader never receives a message. It reports when the router is gone.
    pub(crate) fn start(sessions: usize) -> Result<(Self, Reader), EngineGone> {
        let inside = SegmentConfig {
            max_segment_size: limits::SEGMENT,
            max_segment_count: limits::INSIDE_QUEUE / limits::SEGMENT + limits::SPARE_SEGMENTS,
        };
        // The smallest possible log.
        let nudges = SegmentConfig { max_segment_size: 1024, max_segment_count: 1 };
        let config = RouterConfig {
            // The writer and the log of nudges have a connection each.
            max_connections: sessions.saturating_add(2),
            max_outgoing_packet_count: limits::TURN,
            max_segment_size: limits::SEGMENT,
            max_segment_count: limits::QUEUE / limits::SEGMENT + limits::SPARE_SEGMENTS,
            custom_segment: Some(HashMap::from([
                ("inside/+".to_owned(), inside),
                (NUDGES.to_owned(), nudges),
            ])),
            ..RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        let open = move |name: &str| {
            let link = LinkBuilder::new(name, events.clone()).build();
            link.map(|(to, from, _)| (to, from)).map_err(|_| EngineGone)
        };
        let (writer, from) = open("writer")?;
        let mut engine = Self {
            open: Box::new(open),
            writer,
            free: [Vec::new(), Vec::new()],
            logs: 0,
            nudges: None,
            nudged: 0,
            has_closed: false,
            closing: Arc::default(),
        };
        let (to, nudges) = engine.subscribed(NUDGES, NUDGES)?;
        engine.nudges = Some((to, Reader::new(nudges)));
        Ok((engine, Reader::new(from)))
    }

    /// Opens a log for a new session. Blocks until the router has it, which takes some microseconds.
    pub(crate) fn open(&mut self, is_inside: bool) -> Result<(Log, Reader), EngineGone> {
        let [network, inside] = &mut self.free;
        let free = if is_inside { inside } else { network };
        let number = free.pop().unwrap_or_else(|| {
            self.logs += 1;
            self.logs
        });
        let kind = if is_inside { "inside" } else { "network" };
        let topic = format!("{kind}/{number}");
        // rumqttd also remembers each name for ever. The previous connection of this name has sent its DISCONNECT
        // before.
        let (to, from) = self.subscribed(&format!("{kind} {number}"), &topic)?;
        Ok((Log { topic, is_inside, number, to }, Reader::new(from)))
    }

    /// Opens a connection with this name that reads the log from now on.
    fn subscribed(&mut self, name: &str, topic: &str) -> Result<(LinkTx, LinkRx), EngineGone> {
        // `open` waits for an answer, and cannot be nudged meanwhile.
        self.pass_closed()?;
        let (mut to, mut from) = (self.open)(name)?;
        to.subscribe(topic).map_err(|_| EngineGone)?;
        // Messages written before the router has read the subscription would be lost.
        for _ in 0..TRIES {
            match from.recv_deadline(Instant::now() + PATIENCE) {
                Ok(Some(Notification::DeviceAck(_))) => return Ok((to, from)),
                Ok(_) => {}
                Err(_) => drop(self.nudge()),
            }
        }
        Err(EngineGone)
    }

    /// Makes rumqttd's router go on with its queue, and returns the number of this nudge.
    ///
    /// When the router meets an ended connection in its queue, it waits for an event, even if others are queued
    /// behind that connection.
    fn nudge(&mut self) -> u64 {
        self.nudged += 1;
        self.write_to(NUDGES.to_owned(), Bytes::copy_from_slice(&self.nudged.to_be_bytes()));
        self.nudged
    }

    /// Blocks until rumqttd's router has passed all ended connections in its queue. This takes some microseconds,
    /// plus half a millisecond for each hundred of them.
    pub(crate) fn pass_closed(&mut self) -> Result<(), EngineGone> {
        if self.has_closed {
            // The nudges' own place in the queue may be ahead of some ended connections when the first nudge is read.
            self.reach_nudge()?;
            self.reach_nudge()?;
            self.has_closed = false;
        }
        Ok(())
    }

    fn reach_nudge(&mut self) -> Result<(), EngineGone> {
        let wanted = self.nudge();
        for _ in 0..TRIES {
            let Some((_, reader)) = &mut self.nudges else { return Ok(()) };
            match reader.next_within(PATIENCE).map(|nudge| nudge.as_ref().try_into().map(u64::from_be_bytes))
            {
                Some(Ok(number)) if number >= wanted => return Ok(()),
                Some(_) => {}
                None => drop(self.nudge()),
            }
        }
        Err(EngineGone)
    }

    /// Returns the notification that a log was closed.
    pub(crate) fn closing(&self) -> Arc<Notify> {
        Arc::clone(&self.closing)
    }

    /// Writes a message to a log.
    ///
    /// At most [`limits::QUEUE`] bytes may wait in a log, or the oldest messages are lost. If the router is gone, the
    /// message is lost and the readers report it.
    pub(crate) fn write(&mut self, log: &Log, message: Bytes) {
        self.write_to(log.topic.clone(), message);
    }

    fn write_to(&mut self, topic: String, message: Bytes) {
        let _ = self.writer.publish(topic, message);
    }

    /// Takes back the log of a session that has ended.
    pub(crate) fn close(&mut self, log: Log) {
        let [network, inside] = &mut self.free;
        if log.is_inside { inside } else { network }.push(log.number);
        drop(log);
        self.has_closed = true;
        self.closing.notify_one();
    }
}

#[cfg(test)]
impl Engine {
    /// Waits until all written messages have reached their readers: the router has had two turns since.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2 {
            let (log, _) = self.open(false).unwrap();
            self.close(log);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        // rumqttd's `send` is async but never waits, because it has no await point.
        let sending = pin!(self.to.send(Packet::Disconnect(Disconnect { reason_code }, None)));
        let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Reader {
    fn new(from: LinkRx) -> Self {
        Self { from, arrived: None }
    }

    /// Returns true if a message is buffered.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    /// Waits until a message is buffered. Cancel safe.
    pub(crate) async fn arrival(&mut self) -> Result<(), EngineGone> {
        while self.arrived.is_none() {
            let notification = self.from.next().await.map_err(|_| EngineGone)?;
            self.arrived = self.message(notification);
        }
        Ok(())
    }

    /// Returns the next message if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Bytes> {
        self.next_within(Duration::ZERO)
    }

    /// Returns the next message if one arrives within this time. Blocks.
    fn next_within(&mut self, time: Duration) -> Option<Bytes> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(message) = self.arrived.take() {
                return Some(message);
            }
            let notification = self.from.recv_deadline(deadline).ok()?;
            self.arrived = self.message(notification);
        }
    }

    fn message(&self, notification: Option<Notification>) -> Option<Bytes> {
        match notification? {
            Notification::Forward(forward) => Some(forward.publish.payload),
            // The router waits until it is told that everything before this was read. If the router is gone, the next
            // read reports it.
            Notification::Unschedule => {
                let _ = self.from.ready();
                None
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("logs", &self.logs).field("free", &self.free).finish_non_exhaustive()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.topic).finish()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.from.id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_that_is_used_again_begins_empty() {
        let (mut engine, _gone) = Engine::start(10).unwrap();
        for round in 0..100 {
            let (log, mut reader) = engine.open(false).unwrap();
            engine.write(&log, Bytes::from(vec![round; 10]));
            engine.write(&log, Bytes::from(vec![round; 20]));
            reader.arrival().await.unwrap();
            assert_eq!(reader.try_next().unwrap(), vec![round; 10]);
            engine.close(log);
        }
        assert_eq!((engine.logs, engine.free[0].len()), (1, 1));
    }

    #[tokio::test]
    async fn what_may_wait_fits_into_a_log_whatever_was_read_before() {
        let (mut engine, _gone) = Engine::start(10).unwrap();
        let (log, mut reader) = engine.open(false).unwrap();
        for round in 0..10 {
            let messages: Vec<_> =
                (0..limits::QUEUE / 10_000).map(|n| vec![n as u8; 10_000 - round]).collect();
            for message in &messages {
                engine.write(&log, Bytes::copy_from_slice(message));
            }
            for message in &messages {
                reader.arrival().await.unwrap();
                assert!(reader.try_next().unwrap() == message);
            }
        }
    }
}
