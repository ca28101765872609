use std::future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address::Listen;
use crate::payload::{Payload, PayloadError};
use crate::wire::Digest;

/// Clients served at once. A device is one; the others are port scans, or a device that lost its link and
/// connects again before the old connection is known to be dead. One more takes the place of the one that
/// has taken the least.
const CLIENTS: usize = 8;
/// Bytes that wait in the system to be sent to one client. Whether a client takes anything shows only when
/// there is room again, so the time-out for a stalled one is in effect a least rate: this over the time-out.
/// (Linux would let a fast reader's buffer grow to 4 MB, which takes an ESP8266 minutes.)
const SEND_BUFFER: usize = 64 * 1024;
/// Progress reports that wait to be read.
const BACKLOG: usize = 64;
/// How long after its goodbye a client that never read may still be found out: its reset takes one round
/// trip. Nobody waits for this who has the device's own word.
const SETTLE: Duration = Duration::from_millis(50);

/// A bound port that serves one file, once.
pub(crate) struct Server {
    listener: TcpListener,
    local: SocketAddr,
}

/// What happens to the connections.
#[derive(Debug)]
pub(crate) enum ServeEvent {
    Connected {
        peer: SocketAddr,
    },
    Progress {
        peer: SocketAddr,
        sent: u64,
    },
    Dropped {
        peer: SocketAddr,
        sent: u64,
        cause: DropCause,
    },
    /// The last event: a client took the whole file.
    Delivered {
        peer: SocketAddr,
    },
    /// The last event: the file is not what it was.
    Spoilt(PayloadError),
}

/// Why a client was served no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DropCause {
    /// It closed the connection before it had everything.
    #[error("it closed the connection")]
    Closed,
    /// It reset the connection, or the network did.
    #[error("the connection broke ({0})")]
    Broke(io::ErrorKind),
    /// It took nothing for too long.
    #[error("it took nothing for {0:?}")]
    Stalled(Duration),
    /// It sent something. A device that takes a plain offer only reads.
    #[error("it sent data, which no device does")]
    Spoke,
    /// Others waited, and it had taken the least.
    #[error("it had taken the least when others waited")]
    Crowded,
}

/// One client's place among those that are served.
struct Place {
    client: tokio::task::Id,
    /// Bytes that it has taken.
    taken: Arc<AtomicU64>,
    /// Dropped to send it away.
    _stay: oneshot::Sender<()>,
}

impl Server {
    /// Binds the first free port of `listen`, for clients that connect to `advertised` where that is an
    /// address.
    pub(crate) async fn bind(listen: &Listen, advertised: Option<IpAddr>) -> io::Result<Self> {
        let any: IpAddr = match advertised {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let address = listen.address().unwrap_or(any);
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for port in listen.ports() {
            match TcpListener::bind((address, port)).await {
                Ok(listener) => return Ok(Self { local: listener.local_addr()?, listener }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port that is listened on.
    pub(crate) fn port(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.local.port())
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Serves `payload` until one client has taken all of it. Clients that do not get that far are reported
    /// and forgotten.
    ///
    /// The events end with `Delivered` or `Spoilt`, or after `last_call` with the last client; then the port
    /// is closed. Dropping the future closes it as well.
    pub(crate) async fn run(
        self,
        payload: Payload,
        digest: Digest,
        idle: Duration,
        events: mpsc::Sender<ServeEvent>,
        last_call: impl Future,
    ) {
        let mut clients: JoinSet<Option<ServeEvent>> = JoinSet::new();
        let mut places: Vec<Place> = Vec::new();
        let mut listener = Some(self.listener);
        tokio::pin!(last_call);
        while listener.is_some() || !clients.is_empty() {
            let accept = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut last_call, if listener.is_some() => listener = None,
                accepted = accept => {
                    // An error concerns that one client (it has gone again) or passes (no file handles).
                    let Ok((stream, peer)) = accepted else { sleep(SETTLE).await; continue };
                    if places.len() >= CLIENTS {
                        make_room(&mut places);
                    }
                    let (stay, sent_away) = oneshot::channel();
                    let client = Client { peer, taken: Arc::default(), sent_away, events: events.clone() };
                    let taken = Arc::clone(&client.taken);
                    let serving = clients.spawn(client.serve(stream, payload.clone(), digest, idle));
                    places.push(Place { client: serving.id(), taken, _stay: stay });
                }
                Some(ended) = clients.join_next_with_id() => {
                    let (client, last) = match ended {
                        Ok((client, last)) => (client, last),
                        Err(error) => (error.id(), None),
                    };
                    places.retain(|place| place.client != client);
                    if let Some(last) = last {
                        drop(listener);
                        let _ = events.send(last).await;
                        return;
                    }
                }
            }
        }
    }

    /// A channel for the events of [`Server::run`].
    pub(crate) fn events() -> (mpsc::Sender<ServeEvent>, mpsc::Receiver<ServeEvent>) {
        mpsc::channel(BACKLOG)
    }
}

/// Sends the client away that has taken the least, of several the one that came first.
fn make_room(places: &mut Vec<Place>) {
    let least = places.iter().enumerate().min_by_key(|(_, place)| place.taken.load(Ordering::Relaxed));
    if let Some((index, _)) = least {
        places.remove(index);
    }
}

/// One client, as its own task sees it.
struct Client {
    peer: SocketAddr,
    taken: Arc<AtomicU64>,
    /// Resolves when others need the place.
    sent_away: oneshot::Receiver<()>,
    events: mpsc::Sender<ServeEvent>,
}

impl Client {
    /// Serves the file to it; yields what ends the offer, or nothing.
    async fn serve(
        self,
        mut stream: TcpStream,
        payload: Payload,
        digest: Digest,
        idle: Duration,
    ) -> Option<ServeEvent> {
        let Self { peer, taken, sent_away, events } = self;
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let _ = events.send(ServeEvent::Connected { peer }).await;
        let report = |sent| {
            taken.store(sent, Ordering::Relaxed);
            let _ = events.try_send(ServeEvent::Progress { peer, sent });
        };
        let ended = tokio::select! {
            ended = stream_out(&mut stream, &payload, digest, idle, report) => ended,
            _ = sent_away => Err(End::Dropped(DropCause::Crowded)),
        };
        let end = match ended {
            Ok(()) => {
                sleep(SETTLE).await;
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

#[derive(Debug)]
enum End {
    Dropped(DropCause),
    Spoilt(PayloadError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Dropped(DropCause::Broke(error.kind()))
    }
}

/// Writes the whole payload, half-closes, and waits until the client closes in turn. Each of these must make
/// progress within `idle`. A client that sends anything, or closes before it was sent the end, has not
/// taken the file.
async fn stream_out<S: AsyncRead + AsyncWrite>(
    stream: S,
    payload: &Payload,
    digest: Digest,
    idle: Duration,
    mut report: impl FnMut(u64),
) -> Result<(), End> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let listen = async {
        let mut byte = [0];
        match reader.read(&mut byte).await {
            Ok(0) => End::Dropped(DropCause::Closed),
            Ok(_) => End::Dropped(DropCause::Spoke),
            Err(error) => error.into(),
        }
    };
    tokio::pin!(listen);
    let send = async {
        let mut chunks = payload.chunks(digest);
        let (mut spent, mut sent) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next(spent).await.map_err(End::Spoilt)? {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let taken = within(idle, writer.write(rest)).await?;
                rest = rest.get(taken..).unwrap_or_default();
                sent += taken as u64;
                report(sent);
            }
            spent = chunk;
        }
        within(idle, writer.shutdown()).await
    };
    tokio::select! {
        biased;
        end = &mut listen => return Err(end),
        sent = send => sent?,
    }
    match timeout(idle, listen).await {
        Ok(End::Dropped(DropCause::Closed)) => Ok(()),
        Ok(end) => Err(end),
        Err(_) => Err(End::Dropped(DropCause::Stalled(idle))),
    }
}

async fn within<T>(idle: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, End> {
    match timeout(idle, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(End::Dropped(DropCause::Stalled(idle))),
    }
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
        let mut sent = 0;
        let (served, acted) =
            tokio::join!(stream_out(ours, &payload, digest, IDLE, |so_far| sent = so_far), act(theirs));
        (served, acted, sent)
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

    struct Running {
        address: SocketAddr,
        events: mpsc::Receiver<ServeEvent>,
        last_call: tokio::sync::oneshot::Sender<()>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn running(bytes: Vec<u8>) -> Running {
        let payload = Payload::from_bytes("main.py", bytes);
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        let server = Server::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let address = server.local();
        let (events, receiver) = Server::events();
        let (last_call, called) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.run(payload, digest, IDLE, events, called));
        Running { address, events: receiver, last_call, task }
    }

    impl Running {
        async fn until(&mut self, wanted: impl Fn(&ServeEvent) -> bool) -> ServeEvent {
            loop {
                match self.events.recv().await.expect("the server ended") {
                    event if wanted(&event) => return event,
                    _ => {}
                }
            }
        }
    }

    #[tokio::test]
    async fn scans_do_not_use_the_offer_up_and_the_port_closes_after_the_delivery() {
        let file = vec![3; 300_000];
        let mut server = running(file.clone()).await;
        // One that stalls, one that leaves at once, one that sends garbage: then the device.
        let stalling = TcpStream::connect(server.address).await.unwrap();
        drop(TcpStream::connect(server.address).await.unwrap());
        server.until(|event| matches!(event, ServeEvent::Dropped { .. })).await;
        let mut garbage = TcpStream::connect(server.address).await.unwrap();
        garbage.write_all(b"\x16\x03\x01").await.unwrap();
        let spoke = |event: &ServeEvent| matches!(event, ServeEvent::Dropped { cause: DropCause::Spoke, .. });
        server.until(spoke).await;
        let mut read = Vec::new();
        TcpStream::connect(server.address).await.unwrap().read_to_end(&mut read).await.unwrap();
        assert!(read == file);
        server.until(|event| matches!(event, ServeEvent::Delivered { .. })).await;
        assert!(TcpStream::connect(server.address).await.is_err());
        drop(stalling);
    }

    #[tokio::test]
    async fn any_number_of_clients_that_only_wait_does_not_keep_the_device_out() {
        let file = vec![3; 4_000_000];
        let mut server = running(file.clone()).await;
        let mut waiting = Vec::new();
        for _ in 0..2 * CLIENTS {
            waiting.push(TcpStream::connect(server.address).await.unwrap());
            server.until(|event| matches!(event, ServeEvent::Connected { .. })).await;
        }
        let mut device = TcpStream::connect(server.address).await.unwrap();
        let mut read = Vec::new();
        device.read_to_end(&mut read).await.unwrap();
        drop(device);
        assert!(read == file);
        server.until(|event| matches!(event, ServeEvent::Delivered { .. })).await;
    }

    #[tokio::test]
    async fn after_the_last_call_nobody_new_is_served_and_who_is_there_may_finish() {
        let mut server = running(vec![3; 2_000_000]).await;
        let mut device = TcpStream::connect(server.address).await.unwrap();
        server.until(|event| matches!(event, ServeEvent::Connected { .. })).await;
        server.last_call.send(()).unwrap();
        while TcpStream::connect(server.address).await.is_ok() {}
        let mut read = Vec::new();
        device.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 2_000_000);
        drop(device);
        while !matches!(server.events.recv().await, Some(ServeEvent::Delivered { .. })) {}
        server.task.await.unwrap();
    }

    #[tokio::test]
    async fn a_range_of_ports_is_tried_in_turn_and_a_taken_port_is_an_error() {
        let first = Server::bind(&Listen::default(), None).await.unwrap();
        let taken = first.port().unwrap();
        let error = Server::bind(&Listen::on_port(taken), None).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let range = format!("{taken}-{}", taken.saturating_add(20)).parse().unwrap();
        assert_ne!(Server::bind(&range, None).await.unwrap().port(), Some(taken));
    }
}
