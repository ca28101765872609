use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use rumqttd::{Notification, RouterConfig, SegmentConfig};

use crate::limits;

/// rumqttd's router, which keeps the messages on their way: a log for each session.
///
/// rumqttd never forgets a filter, a topic or what was written to a log. So it knows none of the clients' names: a session is
/// one connection of it, subscribed to one filter that only says which log it is. A log is used again by a later session,
/// so there are never more of them than there were sessions at once. The router runs on a thread of its own, which has no
/// end but that of the process.
pub(crate) struct Engine {
    open: Box<Open>,
    writer: LinkTx,
    /// Logs that no session has, for clients from the network and from inside the process.
    free: [Vec<usize>; 2],
    logs: usize,
}

/// Connects to rumqttd's router, under a name that no other connection has at the time.
type Open = dyn Fn(&str) -> Result<(LinkTx, LinkRx), EngineGone> + Send;

/// The messages that wait for one session. Closed when dropped; the place is given back by [`Engine::close`].
pub(crate) struct Log {
    topic: String,
    is_inside: bool,
    number: usize,
    to: LinkTx,
}

/// Where what was written to a log comes out.
pub(crate) struct Reader {
    from: LinkRx,
    /// Read, and not taken yet.
    arrived: Option<Bytes>,
}

/// rumqttd's router has ended, or takes nobody any more.
#[derive(Debug, thiserror::Error)]
#[error("rumqttd's router is gone")]
pub(crate) struct EngineGone;

impl Engine {
    /// Starts a router for so many sessions at once. The reader has nothing to read, and tells when the router is gone.
    pub(crate) fn start(sessions: usize) -> Result<(Self, Reader), EngineGone> {
        let inside = SegmentConfig {
            max_segment_size: limits::SEGMENT,
            max_segment_count: limits::INSIDE_QUEUE / limits::SEGMENT + limits::SPARE_SEGMENTS,
        };
        let config = RouterConfig {
            max_connections: sessions.saturating_add(1),
            max_outgoing_packet_count: limits::TURN,
            max_segment_size: limits::SEGMENT,
            max_segment_count: limits::QUEUE / limits::SEGMENT + limits::SPARE_SEGMENTS,
            custom_segment: Some(HashMap::from([("inside/+".to_owned(), inside)])),
            ..RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        let open = move |name: &str| {
            let link = LinkBuilder::new(name, events.clone()).build();
            link.map(|(to, from, _)| (to, from)).map_err(|_| EngineGone)
        };
        let (writer, from) = open("writer")?;
        let free = [Vec::new(), Vec::new()];
        Ok((Self { open: Box::new(open), writer, free, logs: 0 }, Reader::new(from)))
    }

    /// A log for a new session. Blocks until the router has it, some microseconds.
    pub(crate) fn open(&mut self, is_inside: bool) -> Result<(Log, Reader), EngineGone> {
        let [network, inside] = &mut self.free;
        let free = if is_inside { inside } else { network };
        let number = free.pop().unwrap_or_else(|| {
            self.logs += 1;
            self.logs
        });
        let kind = if is_inside { "inside" } else { "network" };
        let topic = format!("{kind}/{number}");
        // rumqttd remembers each name for ever, too. The connection that had this one is gone: it said so before.
        let (mut to, mut from) = (self.open)(&format!("{kind} {number}"))?;
        to.subscribe(topic.as_str()).map_err(|_| EngineGone)?;
        // What is written before the router has read this would be lost.
        while !matches!(from.recv().map_err(|_| EngineGone)?, Some(Notification::DeviceAck(_))) {}
        Ok((Log { topic, is_inside, number, to }, Reader::new(from)))
    }

    /// Writes a message. More than [`limits::QUEUE`] must not wait in a log, or the oldest are lost. Where the router is gone
    /// the message is, and the readers tell.
    pub(crate) fn write(&mut self, log: &Log, message: Bytes) {
        let _ = self.writer.publish(log.topic.clone(), message);
    }

    /// Takes back the log of a session that has ended.
    pub(crate) fn close(&mut self, log: Log) {
        let [network, inside] = &mut self.free;
        if log.is_inside { inside } else { network }.push(log.number);
    }
}

#[cfg(test)]
impl Engine {
    /// Waits until all that was written has come to those who read: the router has had two turns since.
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
        // rumqttd's `send` never waits, though it is async: it has no point at which it could.
        let sending = pin!(self.to.send(Packet::Disconnect(Disconnect { reason_code }, None)));
        let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Reader {
    fn new(from: LinkRx) -> Self {
        Self { from, arrived: None }
    }

    /// Whether a message is here.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    /// Waits until a message is here. Cancellation safe.
    pub(crate) async fn arrival(&mut self) -> Result<(), EngineGone> {
        while self.arrived.is_none() {
            let notification = self.from.next().await.map_err(|_| EngineGone)?;
            self.arrived = self.message(notification);
        }
        Ok(())
    }

    /// The next message, if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.arrived.take() {
                return Some(message);
            }
            let notification = self.from.recv_deadline(Instant::now()).ok()?;
            self.arrived = self.message(notification);
        }
    }

    fn message(&self, notification: Option<Notification>) -> Option<Bytes> {
        match notification? {
            Notification::Forward(forward) => Some(forward.publish.payload),
            // The router waits until it is told that everything before this was read. Where it is gone, the next read
            // tells.
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
