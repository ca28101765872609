use std::io;
use std::mem::replace;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tokio_util::codec::Framed;

use super::limits::Limits;
use super::packet::{Codec, Reply, Request};
use super::reason::BrokerReason;
use super::stream::Stream;
use super::{ConnectError, Protocol, tls};
use crate::Broker;

/// Longest time to establish a connection to the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the broker to answer a client that has connected.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the broker to answer if a different version of MQTT can be tried after it.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time for which the broker may read nothing of the client's packets.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of packets that are read without waiting before written packets have to go out.
const HELD: u32 = 64;
/// Interval of pings, in seconds. The broker may take as long to answer one.
const KEEP_ALIVE: u16 = 30;
/// Number of messages that may wait for their acknowledgement if the broker does not state a limit.
///
/// MQTT's own limit is 65,535, which none of us needs.
const IN_FLIGHT: u16 = 64;

/// A connection that the broker has accepted.
pub(super) struct Session {
    framed: Framed<Stream, Codec>,
    /// Number of messages that may wait for their acknowledgement at once.
    pub(super) in_flight: u16,
    /// Limits that the broker has stated.
    pub(super) limits: Limits,
    /// Broker's address. `None` if the broker is in this process.
    pub(super) peer: Option<IpAddr>,
    keep_alive: Duration,
    /// Timer of the next ping.
    ping: Pin<Box<Sleep>>,
    /// True if a packet came since the last ping.
    alive: bool,
    /// Deadline for flushing written packets. `None` if all of them have gone out.
    flush_by: Option<Instant>,
    /// Number of packets read without waiting since then.
    held: u32,
    /// True if other tasks had their turn since then.
    has_yielded: bool,
}

impl Session {
    /// Connects and logs in. `is_first` shortens the wait for an answer, because the caller then tries a different
    /// version of MQTT.
    ///
    /// Cancellation: the connection is closed.
    pub(super) async fn open(
        broker: &Broker,
        protocol: Protocol,
        client_id: &str,
        is_first: bool,
    ) -> Result<Self, ConnectError> {
        let late = |_| Err(ConnectError::Timeout { broker: broker.to_string() });
        let stream = timeout(CONNECT_TIMEOUT, Stream::connect(broker)).await.unwrap_or_else(late)?;
        let silent = |_| Err(ConnectError::Silent { broker: broker.to_string() });
        let limit = if is_first { FIRST_ANSWER_TIMEOUT } else { ANSWER_TIMEOUT };
        timeout(limit, Self::log_in(stream, broker, protocol, client_id)).await.unwrap_or_else(silent)
    }

    async fn log_in(
        stream: Stream,
        broker: &Broker,
        protocol: Protocol,
        client_id: &str,
    ) -> Result<Self, ConnectError> {
        let (peer, trace) = (stream.peer(), stream.trace().cloned());
        let mut framed = Framed::new(stream, Codec::new(protocol));
        let url = || broker.to_string();
        let broken = |source: io::Error| {
            let source = match &trace {
                // A client whose certificate is refused learns of it when it reads.
                Some(trace) => match tls::explain(broker, trace, source) {
                    Ok(explained) => return explained,
                    Err(source) => source,
                },
                None => source,
            };
            match source.kind() {
                io::ErrorKind::InvalidData => ConnectError::NotMqtt { broker: url() },
                _ => ConnectError::Broken { broker: url(), source },
            }
        };
        let login = broker.login().cloned();
        let connect = Request::Connect { client_id: client_id.to_owned(), keep_alive: KEEP_ALIVE, login };
        // A broker that has closed already may have said why.
        let sent = framed.send(connect).await;
        let limits = match framed.next().await {
            Some(Ok(Reply::Accepted(limits))) => {
                sent.map_err(broken)?;
                *limits
            }
            Some(Ok(Reply::Refused(reason) | Reply::Disconnect(reason))) => {
                return Err(match reason.code() {
                    BrokerReason::BAD_LOGIN | BrokerReason::NOT_AUTHORIZED => {
                        ConnectError::NotAuthorised { broker: url(), user: broker.user().map(str::to_owned) }
                    }
                    BrokerReason::UNSUPPORTED_VERSION => ConnectError::Version { broker: url() },
                    _ => ConnectError::Refused { broker: url(), reason },
                });
            }
            Some(Ok(_)) => return Err(ConnectError::NotMqtt { broker: url() }),
            Some(Err(source)) => return Err(broken(source)),
            None if trace.as_ref().is_some_and(|trace| trace.is_asked()) => {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            None => return Err(ConnectError::Closed { broker: url() }),
        };
        let keep_alive = limits.keep_alive;
        // 0 turns off the broker's check, not ours. A longer interval than ours would find a dead broker too late.
        let keep_alive = keep_alive.filter(|seconds| (1..KEEP_ALIVE).contains(seconds)).unwrap_or(KEEP_ALIVE);
        let keep_alive = Duration::from_secs(keep_alive.into());
        Ok(Self {
            framed,
            in_flight: limits.in_flight.unwrap_or(IN_FLIGHT).clamp(1, IN_FLIGHT),
            limits,
            peer,
            keep_alive,
            ping: Box::pin(sleep(keep_alive)),
            alive: true,
            flush_by: None,
            held: 0,
            has_yielded: false,
        })
    }

    /// Waits for the next packet. Cancel safe.
    ///
    /// Written packets go out once there is nothing more to read and other tasks had their turn, so that many go out at
    /// once.
    ///
    /// # Errors
    /// Returns an error if the connection breaks or the broker does not answer a ping. Both end the session.
    pub(super) async fn next(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(flush_by) = self.flush_by {
                if self.held < HELD
                    && let Some(reply) = self.framed.next().now_or_never()
                {
                    self.held += 1;
                    return self.took(reply);
                }
                if !replace(&mut self.has_yielded, true) {
                    yield_now().await;
                    continue;
                }
                timeout_at(flush_by, self.framed.flush()).await??;
                (self.flush_by, self.held, self.has_yielded) = (None, 0, false);
            }
            tokio::select! {
                reply = self.framed.next() => return self.took(reply),
                () = &mut self.ping => {
                    if !self.alive {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.alive = false;
                    self.ping.as_mut().reset(Instant::now() + self.keep_alive);
                    self.write(Request::Ping).await?;
                }
            }
        }
    }

    fn took(&mut self, reply: Option<io::Result<Reply>>) -> io::Result<Reply> {
        self.alive = true;
        reply.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Writes a packet, which goes out with the next call of [`Session::next`] at the latest.
    pub(super) async fn write(&mut self, request: Request) -> io::Result<()> {
        self.flush_by.get_or_insert_with(|| Instant::now() + WRITE_TIMEOUT);
        timeout(WRITE_TIMEOUT, self.framed.feed(request)).await?
    }
}
