use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::confirmed::Confirms;
use super::drop_cause::{DropCause, End};
use super::event::ServeEvent;
use super::pace::Pace;
use crate::payload::Payload;
use crate::wire::Digest;

/// Largest number of bytes that wait in the system to be sent to one client.
///
/// Linux would let a fast reader's buffer grow to 4 MB. An ESP8266 takes minutes for that, and a sender that is
/// interrupted would leave all of it behind.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const SEND_BUFFER: usize = 64 * 1024;
/// Largest number of bytes that wait in the system to be sent to one client.
///
/// The system does not tell which of them the client has confirmed, so progress shows only when there is room again.
/// The time-out for a stalled client is therefore in effect a minimum rate: this size per time-out.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const SEND_BUFFER: usize = 8 * 1024;
/// Pause after the client has closed the connection, on a system that does not tell what a client has confirmed.
///
/// A client that never read can still be found out, because its reset takes one round trip. A caller that has the
/// device's own report does not wait for this.
const SETTLE: Duration = Duration::from_millis(50);

/// Client of a plain offer, in a task of its own.
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    /// Bytes that the client has taken.
    pub(super) taken: Arc<AtomicU64>,
    /// Resolves when the client may be served. True if it may be the device.
    pub(super) turn: oneshot::Receiver<bool>,
    /// Resolves when others need the place.
    pub(super) sent_away: oneshot::Receiver<()>,
    pub(super) events: mpsc::Sender<ServeEvent>,
}

/// Progress of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Number of bytes that the client has taken so far.
    Taken(u64),
    /// The whole payload was handed to the system.
    Written,
}

impl Client {
    /// Serves the file to the client, once it is its turn. Returns the event that may end the offer, if there is one.
    pub(super) async fn serve(
        self,
        mut stream: TcpStream,
        payload: Payload,
        digest: Digest,
        idle: Duration,
    ) -> Option<ServeEvent> {
        let Self { peer, taken, mut turn, mut sent_away, events } = self;
        let waited = tokio::select! {
            biased;
            _ = &mut sent_away => Err(DropCause::Crowded),
            Ok(is_device) = &mut turn => Ok(is_device),
            cause = no_device(&mut stream) => Err(cause),
        };
        let is_device = match waited {
            Ok(is_device) => is_device,
            Err(cause) => {
                drop(stream);
                let _ = events.send(ServeEvent::TurnedAway { peer, cause }).await;
                return None;
            }
        };
        // A connection that ends before everything was sent is reset, because a plain stream that was cut off would
        // look complete.
        let socket = SockRef::from(&stream).try_clone().ok();
        let reset = |on: bool| drop(socket.as_ref().map(|s| s.set_linger(on.then_some(Duration::ZERO))));
        reset(payload.len() > 0);
        let _ = events.send(ServeEvent::Connected { peer, is_device }).await;
        let report = |step| {
            let event = match step {
                Step::Taken(sent) => {
                    taken.store(sent, Ordering::Relaxed);
                    ServeEvent::Progress { peer, sent }
                }
                Step::Written => {
                    reset(false);
                    ServeEvent::Written { peer, at: Instant::now() }
                }
            };
            let _ = events.try_send(event);
        };
        let ended = tokio::select! {
            ended = stream_out(&mut stream, &payload, digest, idle, &socket, report) => ended,
            _ = sent_away => Err(End::Dropped(DropCause::Crowded)),
        };
        let end = match ended {
            Ok(()) => {
                if socket.confirmed().is_none() {
                    sleep(SETTLE).await;
                }
                match stream.take_error() {
                    Ok(None) => return Some(ServeEvent::Delivered { peer }),
                    Ok(Some(error)) | Err(error) => End::Dropped(DropCause::Broke(error.kind())),
                }
            }
            Err(end) => end,
        };
        match end {
            End::Spoilt(error) => Some(ServeEvent::Spoilt(error)),
            End::Dropped(cause) => {
                let sent = taken.load(Ordering::Relaxed);
                let _ = events.send(ServeEvent::Dropped { peer, sent, cause }).await;
                None
            }
        }
    }
}

/// Waits until the client does what no device does before it was sent everything. Returns the cause.
async fn no_device(mut reader: impl AsyncRead + Unpin) -> DropCause {
    let mut byte = [0];
    match reader.read(&mut byte).await {
        Ok(0) => DropCause::Closed,
        Ok(_) => DropCause::Spoke,
        Err(error) => DropCause::Broke(error.kind()),
    }
}

/// Writes the whole payload, half-closes, and waits until the client closes in turn.
///
/// # Errors
/// Returns an error if the client takes nothing for `idle`, sends anything, or closes before it has confirmed the end
/// of the stream. Such a client has not taken the file. Returns an error as well if the connection breaks or the
/// payload is spoilt.
async fn stream_out<S: AsyncRead + AsyncWrite>(
    stream: S,
    payload: &Payload,
    digest: Digest,
    idle: Duration,
    socket: &impl Confirms,
    report: impl Fn(Step),
) -> Result<(), End> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut listen = std::pin::pin!(no_device(reader));
    let look = |pace: &mut Pace| {
        if pace.look(socket.confirmed()) > 0 {
            report(Step::Taken(pace.taken()));
        }
    };
    let send = async {
        let mut pace = Pace::new(idle);
        let mut chunks = payload.chunks(digest, 0);
        let mut spent = Vec::new();
        while let Some(chunk) = chunks.next(spent).await.map_err(End::Spoilt)? {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                pace.begin();
                let mut writing = std::pin::pin!(writer.write(rest));
                let written = loop {
                    match pace.moment(&mut writing, false).await? {
                        Some(written) => break written?,
                        None => look(&mut pace),
                    }
                };
                if written == 0 {
                    return Err(End::Dropped(DropCause::Closed));
                }
                pace.wrote(written);
                look(&mut pace);
                rest = rest.get(written..).unwrap_or_default();
            }
            spent = chunk;
        }
        writer.shutdown().await?;
        report(Step::Written);
        Ok(pace)
    };
    let mut pace = tokio::select! {
        biased;
        cause = &mut listen => return Err(End::Dropped(cause)),
        sent = send => sent?,
    };
    pace.begin();
    let cause = loop {
        match pace.moment(&mut listen, false).await? {
            Some(cause) => break cause,
            None => look(&mut pace),
        }
    };
    look(&mut pace);
    // A client that closes because it has read the end confirms the end with that very packet.
    let has_the_end = socket.confirmed().is_none_or(|confirmed| confirmed > payload.len());
    if cause == DropCause::Closed && has_the_end { Ok(()) } else { Err(End::Dropped(cause)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;
    use tokio::io::duplex;

    const IDLE: Duration = Duration::from_secs(5);

    /// Serves `bytes` over a pipe of eight bytes to a client that does `act`.
    async fn through_a_narrow_pipe<F: Future<Output = T>, T>(
        bytes: &'static [u8],
        act: impl FnOnce(tokio::io::DuplexStream) -> F,
    ) -> (Result<(), End>, T, u64) {
        let payload = Payload::from_bytes("main.py", bytes);
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        let (ours, theirs) = duplex(8);
        let sent = std::cell::Cell::new(0);
        let report = |step| match step {
            Step::Taken(so_far) => sent.set(so_far),
            Step::Written => {}
        };
        let (served, acted) = tokio::join!(
            stream_out(ours, &payload, digest, IDLE, &None::<socket2::Socket>, report),
            act(theirs)
        );
        (served, acted, sent.get())
    }

    fn cause(served: Result<(), End>) -> DropCause {
        match served {
            Err(End::Dropped(cause)) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_to_the_end_and_closes_has_taken_the_file() {
        for bytes in [&b""[..], b"x", b"print('exactly this, byte by byte')\n"] {
            let (served, read, sent) = through_a_narrow_pipe(bytes, async |mut client| {
                let mut read = Vec::new();
                client.read_to_end(&mut read).await.unwrap();
                read
            })
            .await;
            assert!(served.is_ok());
            assert_eq!((read.as_slice(), sent), (bytes, bytes.len() as u64));
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_a_byte_and_leaves_has_not() {
        let (served, (), _) = through_a_narrow_pipe(b"print('hello')", async |mut client| {
            client.read_u8().await.unwrap();
        })
        .await;
        assert!(matches!(cause(served), DropCause::Closed | DropCause::Broke(_)));
    }

    #[tokio::test]
    async fn a_client_that_sends_anything_has_not_even_if_it_reads_on() {
        let (served, _, _) = through_a_narrow_pipe(b"print('hello')", async |mut client| {
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.ok();
            client.read_to_end(&mut Vec::new()).await
        })
        .await;
        assert_eq!(cause(served), DropCause::Spoke);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_is_dropped_after_the_idle_time() {
        let started = tokio::time::Instant::now();
        let (served, _client, _) = through_a_narrow_pipe(b"print('hello')", async |client| client).await;
        assert_eq!(cause(served), DropCause::Stalled(IDLE));
        assert_eq!(started.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_renews_the_idle_time() {
        let (served, read, _) = through_a_narrow_pipe(&[7; 64], async |mut client| {
            let mut read = 0;
            while client.read_u8().await.is_ok() {
                read += 1;
                sleep(IDLE / 10).await;
            }
            read
        })
        .await;
        assert!(served.is_ok());
        assert_eq!(read, 64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_everything_and_does_not_close_is_dropped() {
        let (served, _client, _) = through_a_narrow_pipe(b"x", async |mut client| {
            client.read_to_end(&mut Vec::new()).await.unwrap();
            client
        })
        .await;
        assert_eq!(cause(served), DropCause::Stalled(IDLE));
    }
}
