use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumqttd::protocol::{
    Packet, PingResp, PubComp, PubCompReason, PubRec, PubRecReason, SubAck, SubscribeReasonCode, UnsubAck,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use crate::codec::{MessageId, Received};
use crate::entrance::{Entrance, Visitor};
use crate::handshake::{self, Guest, Refusal};
use crate::link::{Link, Misuse, Outgoing, Router, RouterGone};
use crate::seat::Seats;
use crate::stream::{PacketStream, StreamError};
use crate::{BrokerConfig, limits};

/// What all clients share.
pub(crate) struct Hall {
    pub(crate) router: Router,
    pub(crate) config: BrokerConfig,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) nameless: AtomicU64,
}

/// Why a connection ended that the client did not end in order.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it was silent for longer than it promised")]
    Silent,
    #[error("the same client connected again")]
    Superseded,
    #[error("it left without a word")]
    Left,
    #[error(transparent)]
    Misuse(#[from] Misuse),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Router(#[from] RouterGone),
}

/// Serves one connection to its end. One from inside this process, which is no visitor, needs no password, and nobody
/// sends it away.
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
            // First, for somebody counts on its place.
            biased;
            () = visitor.sent_away() => Ok(Err(Refusal::GaveWay)),
            received = handshake => received,
        },
    };
    let received = received.unwrap_or(Err(Refusal::Left));
    let guest = match received {
        Ok(guest) => guest,
        Err(error) => {
            tracing::debug!(%error, "a client is refused");
            return;
        }
    };
    // No client's own name has a percent sign that letters follow.
    let name = match guest.name.as_str() {
        "" => format!("%nameless-{}", hall.nameless.fetch_add(1, Ordering::Relaxed)),
        name if is_inside => format!("%inside-{name}"),
        name => name.to_owned(),
    };
    tracing::debug!(client = name, "a client connects");
    match converse(&mut stream, &hall, &name, guest).await {
        Ok(()) => tracing::debug!(client = name, "a client disconnects"),
        Err(error) => tracing::debug!(client = name, %error, "a client's connection ends"),
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    hall: &Hall,
    name: &str,
    guest: Guest,
) -> Result<(), Ended> {
    // Given up last, after the link: the router knows one connection of a client at most.
    let claim = hall.seats.claim(name).await;
    let (mut link, answer) = hall.router.open(name, guest.clean_session)?;
    let conversation = async {
        stream.send(answer).await?;
        exchange(stream, &mut link, &guest).await
    };
    let ended = tokio::select! {
        () = claim.superseded() => Err(Ended::Superseded),
        ended = conversation => ended,
    };
    if let (Err(_), Some(will)) = (&ended, guest.will) {
        link.publish(will, None)?;
    }
    ended
}

/// Carries packets both ways until the client disconnects.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    link: &mut Link,
    guest: &Guest,
) -> Result<(), Ended> {
    let mut heard = Instant::now();
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
                match received?.ok_or(Ended::Left)? {
                    Received::Disconnect => return Ok(()),
                    received => take(received, stream, link).await?,
                }
                stream.flush().await?;
            }
            outgoing = link.next() => forward(outgoing?, stream, link).await?,
            () = silent => return Err(Ended::Silent),
        }
    }
}

/// Does what the client asks for, and queues the answers that the router does not give.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    received: Received,
    stream: &mut PacketStream<S>,
    link: &mut Link,
) -> Result<(), Ended> {
    let answer = match received {
        Received::Publish { publish, id } => {
            link.publish(publish, id)?;
            match id {
                Some(MessageId::ExactlyOnce(pkid)) => {
                    Packet::PubRec(PubRec { pkid, reason: PubRecReason::Success }, None)
                }
                _ => return Ok(()),
            }
        }
        Received::Subscribe(subscribe) => {
            let refused = SubAck {
                pkid: subscribe.pkid,
                return_codes: subscribe.filters.iter().map(|_| SubscribeReasonCode::Failure).collect(),
            };
            if link.subscribe(subscribe).await {
                return Ok(());
            }
            Packet::SubAck(refused, None)
        }
        Received::Unsubscribe(unsubscribe) => {
            let pkid = unsubscribe.pkid;
            link.unsubscribe(unsubscribe).await;
            Packet::UnsubAck(UnsubAck { pkid, reasons: Vec::new() }, None)
        }
        Received::Acknowledged(id) => {
            link.acknowledged(id);
            return Ok(());
        }
        Received::Released(pkid) => {
            link.released(pkid);
            Packet::PubComp(PubComp { pkid, reason: PubCompReason::Success }, None)
        }
        Received::Ping => Packet::PingResp(PingResp),
        Received::Connect { .. } | Received::Disconnect => return Err(Ended::Left),
    };
    stream.queue(answer)?;
    Ok(())
}

/// Writes what the router has, as much as there is in one go.
async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    first: Outgoing,
    stream: &mut PacketStream<S>,
    link: &mut Link,
) -> Result<(), Ended> {
    let mut next = Some(first);
    let mut paused = false;
    while let Some(outgoing) = next {
        match outgoing {
            Outgoing::Packet(packet) => {
                if let Some(id) = stream.queue(packet)? {
                    link.sent(id);
                }
            }
            Outgoing::Paused => paused = true,
        }
        if stream.is_full() {
            stream.flush().await?;
        }
        next = link.try_next();
    }
    stream.flush().await?;
    if paused {
        link.ready()?;
    }
    Ok(())
}
