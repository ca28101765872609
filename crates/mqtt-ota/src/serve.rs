mod caller;
mod client;
mod parcel;
mod ports;
mod register;
mod shared;

use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub(crate) use self::caller::Served;
use self::client::Client;
pub use self::client::DropCause;
pub(crate) use self::ports::Ports;
pub(crate) use self::shared::{RangeEvent, SharedPort};
use crate::address::Listen;
use crate::payload::{Payload, PayloadError};
use crate::wire::Digest;

/// Clients served at once. A device is one; the others are port scans, or a device that lost its link and
/// connects again before the old connection is known to be dead. One more takes the place of the one that
/// has taken the least.
const CLIENTS: usize = 8;
/// The pause after a client that could not be accepted.
const BREATHER: Duration = Duration::from_millis(50);
/// Progress reports that wait to be read.
const BACKLOG: usize = 64;

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
        /// When: the device may be heard of before this is read.
        at: Instant,
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
        let listener = ports::bind(listen, advertised).await?;
        Ok(Self { local: listener.local_addr()?, listener })
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
                    let Ok((stream, peer)) = accepted else { sleep(BREATHER).await; continue };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const IDLE: Duration = Duration::from_secs(5);

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
        let taken = first.local().port().try_into().unwrap();
        let error = Server::bind(&Listen::on_port(taken), None).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let range = format!("{taken}-{}", u16::from(taken).saturating_add(20)).parse().unwrap();
        assert_ne!(Server::bind(&range, None).await.unwrap().local(), first.local());
    }
}
