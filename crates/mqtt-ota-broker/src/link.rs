use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, PubAckReason, SubscribeReasonCode, UnsubAckReason};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{EngineGone, Reader};
use crate::packet::Packet;
use crate::retained::{Cursor, Step};
use crate::router::{Attached, Router};
use crate::seat::Name;
use crate::session::{Delivery, Terms};
use crate::tree::SessionId;

/// Connection of a client to its session. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct Link {
    router: Arc<Router>,
    id: SessionId,
    wake: Arc<Notify>,
    /// Returned to the session when the connection ends.
    reader: Option<Reader>,
}

/// Replay of the retained messages that match the filter of a new subscription.
#[derive(Debug)]
pub(crate) struct Replay {
    cursor: Cursor,
    qos: QoS,
    /// Message that did not fit, because too many messages wait for an acknowledgement.
    held: Option<Delivery>,
}

/// Result of one step of a [`Replay`].
#[derive(Debug)]
pub(crate) enum Replayed {
    Packet(Box<Packet>),
    /// Nothing yet. Others have their turn first.
    Pause,
    /// The client has to acknowledge messages first.
    Full,
    End,
}

impl Replay {
    /// Returns the bytes of memory that the replay takes.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.cursor.filter().len()
    }
}

impl Link {
    /// Attaches a client to its session, or to a new one. Returns the link, and true if the session existed before.
    pub(crate) fn attach(
        router: &Arc<Router>,
        name: Name,
        clean: bool,
        terms: Terms,
    ) -> Result<(Self, bool), EngineGone> {
        let Attached { id, wake, reader, is_resumed } = router.attach(name, clean, terms)?;
        Ok((Self { router: Arc::clone(router), id, wake, reader: Some(reader) }, is_resumed))
    }

    #[cfg(test)]
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// Waits until there may be something to send. Cancel safe.
    pub(crate) async fn woken(&mut self) -> Result<(), EngineGone> {
        match &mut self.reader {
            // The buffered message waits for an acknowledgement, which wakes the link.
            Some(reader) if !reader.has_arrived() => tokio::select! {
                () = self.wake.notified() => Ok(()),
                arrived = reader.arrival() => arrived,
            },
            _ => {
                self.wake.notified().await;
                Ok(())
            }
        }
    }

    /// Makes [`Self::woken`] return.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns the next packet to send.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        let mut state = self.router.state();
        let epoch = state.epoch;
        let (session, total) = state.session(self.id)?;
        session.next(self.reader.as_mut()?, epoch, Instant::now(), total)
    }

    pub(crate) fn publish(&self, publish: &v5::Publish) -> PubAckReason {
        self.router.publish(Some(self.id), publish)
    }

    /// Publishes a message with QoS 2, unless it came before. Returns `None` if too many of the client's
    /// messages are unreleased.
    pub(crate) fn publish_once(&self, publish: &v5::Publish) -> Option<PubAckReason> {
        let is_new = self.router.state().session(self.id)?.0.receive(publish.pkid)?;
        if !is_new {
            return Some(PubAckReason::Success);
        }
        let reason = self.publish(publish);
        if reason == PubAckReason::QuotaExceeded {
            // The message is refused, so its id is free again.
            self.release(publish.pkid);
        }
        Some(reason)
    }

    pub(crate) fn subscribe(&self, filter: &v5::Filter) -> (SubscribeReasonCode, Option<Replay>) {
        let (code, cursor) = self.router.state().subscribe(self.id, filter);
        (code, cursor.map(|cursor| Replay { cursor, qos: filter.qos, held: None }))
    }

    pub(crate) fn unsubscribe(&self, filter: &str) -> UnsubAckReason {
        if self.router.state().unsubscribe(self.id, filter.as_bytes()) {
            UnsubAckReason::Success
        } else {
            UnsubAckReason::NoSubscriptionExisted
        }
    }

    /// Handles the client's PUBACK or PUBCOMP, or a PUBREC that refuses.
    pub(crate) fn acknowledged(&self, id: u16) {
        if let Some((session, total)) = self.router.state().session(self.id) {
            session.acknowledged(id, total);
        }
        self.wake();
    }

    /// Handles the client's PUBREC. Returns false if it is not expected.
    pub(crate) fn received(&self, id: u16) -> bool {
        self.router.state().session(self.id).is_some_and(|(session, _)| session.received(id))
    }

    /// Handles the client's PUBREL. Returns false if it is not expected.
    pub(crate) fn release(&self, id: u16) -> bool {
        self.router.state().session(self.id).is_some_and(|(session, _)| session.release(id))
    }

    /// Returns the next retained message for a new subscription.
    pub(crate) fn replay(&self, replay: &mut Replay) -> Replayed {
        let mut state = self.router.state();
        let now = Instant::now();
        let delivery = match replay.held.take() {
            Some(held) => held,
            None => match state.retained.step(&mut replay.cursor, now) {
                Step::Pause => return Replayed::Pause,
                Step::End => return Replayed::End,
                Step::Found(message) => {
                    let qos = if message.qos as u8 <= replay.qos as u8 { message.qos } else { replay.qos };
                    Delivery { message, qos, retain: true }
                }
            },
        };
        let Some((session, total)) = state.session(self.id) else { return Replayed::End };
        if delivery.qos != QoS::AtMostOnce && !session.has_room() {
            replay.held = Some(delivery);
            return Replayed::Full;
        }
        match session.send(delivery, now, total) {
            Some(publish) => Replayed::Packet(Box::new(Packet::Publish(publish))),
            None => Replayed::Pause,
        }
    }

    /// Ends the connection. The session lives on for `life`, or for the agreed time if `life` is `None`.
    pub(crate) fn end(mut self, life: Option<Duration>, will: Option<(v5::Publish, Duration)>) {
        self.router.detach(self.id, self.reader.take(), life, will);
    }
}

impl Drop for Link {
    /// Ends the connection even if the client's task panicked.
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.router.detach(self.id, Some(reader), None, None);
        }
    }
}
