use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    self, DisconnectReasonCode as Reason, PubAckReason, PubCompReason, PubRecReason, PubRelReason,
    SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use crate::engine::EngineGone;
use crate::entrance::{Entrance, Visitor};
use crate::handshake::{self, Guest, Refusal};
use crate::link::{Link, Replay, Replayed};
use crate::packet::{Malformed, Packet, Version};
use crate::router::Router;
use crate::seat::{Name, Seats};
use crate::stream::{PacketStream, StreamError};
use crate::{BrokerConfig, limits, topic};

/// State that all clients share.
pub(crate) struct Hall {
    pub(crate) router: Arc<Router>,
    pub(crate) config: BrokerConfig,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) seats: Arc<Seats>,
}

/// Reason for the end of a connection.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it said goodbye")]
    Goodbye { life: Option<Duration>, with_will: bool },
    #[error("it was silent for longer than it promised")]
    Silent,
    #[error("the same client connected again")]
    Superseded,
    #[error("it left without a word")]
    Left,
    #[error("it sent {0}")]
    Misuse(&'static str, Reason),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Engine(#[from] EngineGone),
}

/// Acknowledgements and retained messages that wait to be sent, in the order of the client's subscriptions.
#[derive(Debug, Default)]
struct Answers {
    queue: VecDeque<Answer>,
    /// Bytes of memory that the queue takes.
    cost: usize,
}

#[derive(Debug)]
enum Answer {
    Packet(Box<Packet>),
    Replay(Replay),
}

/// Serves one connection to its end.
///
/// A connection from inside this process has no `visitor`. It needs no password, and is never evicted.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    visitor: Option<Visitor>,
    hall: Arc<Hall>,
) {
    let is_inside = visitor.is_none();
    let mut stream = PacketStream::new(socket, hall.config.max_packet);
    let credentials = hall.config.credentials.as_ref().filter(|_| !is_inside);
    let handshake = timeout(limits::CONNECT_TIMEOUT, handshake::receive(&mut stream, credentials));
    let received = match visitor {
        None => handshake.await,
        Some(mut visitor) => tokio::select! {
            // The eviction is checked first, because another connection counts on this place.
            biased;
            () = visitor.sent_away() => Ok(Err(Refusal::GaveWay)),
            received = handshake => received,
        },
    };
    let received = received.unwrap_or(Err(Refusal::Left));
    let mut guest = match received {
        Ok(guest) => guest,
        Err(error) => {
            tracing::debug!(%error, "a client is refused");
            return;
        }
    };
    guest.terms.is_inside = is_inside;
    let assigned = guest.id.is_empty().then(|| format!("auto-{:032x}", fastrand::u128(..)));
    let name = Name { is_inside, id: assigned.as_deref().unwrap_or(&guest.id).into() };
    tracing::debug!(client = %name.id, version = ?stream.version(), "a client connects");
    let ended = converse(&mut stream, &hall, &name, guest, assigned).await;
    tracing::debug!(client = %name.id, how = %ended, "a client's connection ends");
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    hall: &Hall,
    name: &Name,
    mut guest: Guest,
    assigned: Option<String>,
) -> Ended {
    // The claim is released after the link has ended, so that a session has at most one connection.
    let claim = hall.seats.claim(name).await;
    let (mut link, is_resumed) = match Link::attach(&hall.router, name.clone(), guest.clean, guest.terms) {
        Ok(attached) => attached,
        Err(error) => return error.into(),
    };
    let welcome = handshake::welcome(&guest, assigned, is_resumed, hall.config.max_packet);
    let conversation = async {
        stream.send(welcome).await?;
        // Messages may have waited for the session.
        link.wake();
        exchange(stream, &mut link, &guest).await
    };
    let ended = tokio::select! {
        () = claim.superseded() => Ended::Superseded,
        ended = conversation => ended.err().unwrap_or(Ended::Left),
    };
    let (life, with_will) = match &ended {
        Ended::Goodbye { life, with_will } => (*life, *with_will),
        _ => (None, true),
    };
    link.end(life, guest.will.take().filter(|_| with_will));
    // A connection that waits for the id does not have to wait for the DISCONNECT.
    drop(claim);
    if let Some(reason) = ended.reason().filter(|_| stream.version() == Version::V5) {
        let goodbye = stream.send(Packet::Disconnect(v5::Disconnect::new(reason)));
        if matches!(timeout(limits::GOODBYE_TIMEOUT, goodbye).await, Ok(Ok(()))) {
            stream.close().await;
        }
    }
    ended
}

/// Carries packets both ways until the connection ends.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    link: &mut Link,
    guest: &Guest,
) -> Result<(), Ended> {
    let mut heard = Instant::now();
    let mut answers = Answers::default();
    loop {
        let silent = async {
            match guest.patience {
                Some(patience) => sleep_until(heard + patience).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            received = stream.receive() => {
                heard = Instant::now();
                let mut received = Some(received?.ok_or(Ended::Left)?);
                while let Some(packet) = received {
                    take(packet, stream, link, guest, &mut answers)?;
                    if stream.is_full() {
                        stream.flush().await?;
                    }
                    received = stream.received()?;
                }
            }
            woken = link.woken() => woken?,
            () = silent => return Err(Ended::Silent),
        }
        forward(stream, link, &mut answers).await?;
    }
}

/// Handles a packet from the client, and queues the answer.
fn take<S: AsyncRead + AsyncWrite + Unpin>(
    received: Packet,
    stream: &mut PacketStream<S>,
    link: &Link,
    guest: &Guest,
    answers: &mut Answers,
) -> Result<(), Ended> {
    let answer = match received {
        Packet::Publish(publish) => match publish_for(&publish, link)? {
            Some(answer) => answer,
            None => return Ok(()),
        },
        Packet::Subscribe(subscribe) => return subscribe_for(&subscribe, link, answers),
        Packet::Unsubscribe(unsubscribe) => {
            let reasons = unsubscribe.filters.iter().map(|filter| link.unsubscribe(filter)).collect();
            let ack = v5::UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None };
            return answers.push(Answer::Packet(Box::new(Packet::UnsubAck(ack))));
        }
        Packet::PubAck(ack) => {
            link.acknowledged(ack.pkid);
            return Ok(());
        }
        Packet::PubRec(ack) => {
            if !matches!(ack.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers) {
                link.acknowledged(ack.pkid);
                return Ok(());
            }
            let mut release = v5::PubRel::new(ack.pkid, None);
            if !link.received(ack.pkid) {
                release.reason = PubRelReason::PacketIdentifierNotFound;
            }
            Packet::PubRel(release)
        }
        Packet::PubRel(release) => {
            let mut complete = v5::PubComp::new(release.pkid, None);
            if !link.release(release.pkid) {
                complete.reason = PubCompReason::PacketIdentifierNotFound;
            }
            Packet::PubComp(complete)
        }
        Packet::PubComp(ack) => {
            link.acknowledged(ack.pkid);
            return Ok(());
        }
        Packet::PingReq(_) => Packet::PingResp(v5::PingResp),
        Packet::Disconnect(goodbye) => return Err(goodbye_of(&goodbye, guest)),
        _ => return Err(Ended::Misuse("a packet that has no place here", Reason::ProtocolError)),
    };
    Ok(stream.queue(answer)?)
}

/// Publishes a client's message. Returns the acknowledgement if the QoS requires one.
fn publish_for(publish: &v5::Publish, link: &Link) -> Result<Option<Packet>, Ended> {
    if let Some(properties) = &publish.properties {
        if properties.topic_alias.is_some() {
            return Err(Ended::Misuse("a topic's alias", Reason::TopicAliasInvalid));
        }
        if !properties.subscription_identifiers.is_empty() {
            return Err(Ended::Misuse("a subscription's number with a message", Reason::ProtocolError));
        }
    }
    if !topic::is_topic(&publish.topic) {
        return Err(Ended::Misuse("a message to a topic that is not valid", Reason::TopicNameInvalid));
    }
    let pkid = publish.pkid;
    Ok(match publish.qos {
        QoS::AtMostOnce => {
            link.publish(publish);
            None
        }
        QoS::AtLeastOnce => {
            let reason = link.publish(publish);
            Some(Packet::PubAck(v5::PubAck { pkid, reason, properties: None }))
        }
        QoS::ExactlyOnce => {
            let reason = link.publish_once(publish).ok_or(Ended::Misuse(
                "more messages with QoS 2 than it may without releasing any",
                Reason::ReceiveMaximumExceeded,
            ))?;
            let reason = match reason {
                PubAckReason::NoMatchingSubscribers => PubRecReason::NoMatchingSubscribers,
                PubAckReason::QuotaExceeded => PubRecReason::QuotaExceeded,
                _ => PubRecReason::Success,
            };
            Some(Packet::PubRec(v5::PubRec { pkid, reason, properties: None }))
        }
    })
}

/// Subscribes the client, and queues the SUBACK and the retained messages after those of earlier subscriptions.
fn subscribe_for(subscribe: &v5::Subscribe, link: &Link, answers: &mut Answers) -> Result<(), Ended> {
    let has_id = subscribe.properties.as_ref().is_some_and(|properties| properties.id.is_some());
    let mut replays = Vec::new();
    let mut return_codes = Vec::new();
    for filter in &subscribe.filters {
        let (code, replay) = if has_id {
            (SubscribeReasonCode::SubscriptionIdNotSupported, None)
        } else {
            link.subscribe(filter)
        };
        return_codes.push(code);
        replays.extend(replay);
    }
    let ack = v5::SubAck { pkid: subscribe.pkid, return_codes, properties: None };
    answers.push(Answer::Packet(Box::new(Packet::SubAck(ack))))?;
    replays.into_iter().try_for_each(|replay| answers.push(Answer::Replay(replay)))
}

fn goodbye_of(goodbye: &v5::Disconnect, guest: &Guest) -> Ended {
    let wanted = goodbye.properties.as_ref().and_then(|properties| properties.session_expiry_interval);
    if guest.terms.life.is_zero() && wanted.is_some_and(|seconds| seconds > 0) {
        return Ended::Misuse("a wish for a session that it did not ask for", Reason::ProtocolError);
    }
    Ended::Goodbye {
        life: wanted.map(handshake::life),
        with_will: goodbye.reason_code != Reason::NormalDisconnection,
    }
}

/// Writes queued answers, retained messages and waiting messages to the client.
async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    link: &mut Link,
    answers: &mut Answers,
) -> Result<(), Ended> {
    let mut is_paused = false;
    while let Some(answer) = answers.pop() {
        match answer {
            Answer::Packet(packet) => stream.queue(*packet)?,
            Answer::Replay(mut replay) => {
                let step = link.replay(&mut replay);
                if !matches!(step, Replayed::End) {
                    answers.put_back(Answer::Replay(replay));
                }
                match step {
                    Replayed::Packet(packet) => stream.queue(*packet)?,
                    Replayed::End => {}
                    Replayed::Full => break,
                    Replayed::Pause => {
                        is_paused = true;
                        break;
                    }
                }
            }
        }
        if stream.is_full() {
            stream.flush().await?;
        }
    }
    while let Some(packet) = link.next() {
        stream.queue(packet)?;
        if stream.is_full() {
            stream.flush().await?;
        }
    }
    stream.flush().await?;
    if is_paused {
        link.wake();
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Answers {
    fn push(&mut self, answer: Answer) -> Result<(), Ended> {
        if self.cost + answer.cost() > limits::ANSWERS {
            return Err(Ended::Misuse("more subscriptions than it took answers to", Reason::QuotaExceeded));
        }
        self.cost += answer.cost();
        self.queue.push_back(answer);
        Ok(())
    }

    fn pop(&mut self) -> Option<Answer> {
        let answer = self.queue.pop_front()?;
        self.cost -= answer.cost();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(answer)
    }

    fn put_back(&mut self, answer: Answer) {
        self.cost += answer.cost();
        self.queue.push_front(answer);
    }
}

impl Answer {
    /// Returns the bytes of memory that the answer takes.
    fn cost(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Packet(packet) => size_of::<Packet>() + packet.size(),
                Self::Replay(replay) => replay.cost(),
            }
    }
}

impl Ended {
    /// Returns the reason code for an MQTT 5 client, or `None` if the connection ends without a DISCONNECT.
    fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Goodbye { .. } | Self::Left => return None,
            Self::Silent => Reason::KeepAliveTimeout,
            Self::Superseded => Reason::SessionTakenOver,
            Self::Misuse(_, reason) => *reason,
            Self::Stream(StreamError::Malformed(Malformed::TooLong(_))) => Reason::PacketTooLarge,
            Self::Stream(StreamError::Malformed(_)) => Reason::MalformedPacket,
            Self::Stream(_) | Self::Engine(_) => return None,
        })
    }
}
