use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::asker::{Asker, Served};
use super::{BACKLOG, BREATHER, DropCause, Server};
use crate::items::Items;
use crate::payload::PayloadError;
use crate::wire::{Ask, OfferId};

/// Clients that have not said who they are. They cost a task and the buffer of one line each, and one more
/// takes the place of the one that came first: so many would have to come while a device's first line is on
/// its way.
const UNKNOWN: usize = 64;
/// Connections of clients that know the offer. A device has one; others are those of which it knows to be
/// dead and we do not. One more takes the place of the one that was known first.
const KNOWN: usize = 4;

/// What happens to the connections of an extended offer.
#[derive(Debug)]
pub(crate) enum RangeEvent {
    Connected {
        peer: SocketAddr,
    },
    /// A client that knows the offer asks, or says what it would ask for.
    Asked {
        peer: SocketAddr,
        ask: Ask,
    },
    /// Bytes were handed to the system for it. Some of these may be left out, but not an item's last.
    Progress {
        peer: SocketAddr,
        item: u32,
        offset: u64,
    },
    /// All that it asked for was handed to the system; the last item of it.
    Sent {
        peer: SocketAddr,
        last: u32,
    },
    Dropped {
        peer: SocketAddr,
        /// Whether it knew the offer.
        known: bool,
        cause: DropCause,
    },
    /// The last event: a file is not what it was.
    Spoilt(PayloadError),
}

/// An extended offer's stream.
pub(crate) struct Ranges {
    pub(crate) items: Items,
    pub(crate) id: OfferId,
    /// Whether the device only says what it would ask for.
    pub(crate) dry_run: bool,
    /// How long a client may take nothing, or not say who it is.
    pub(crate) idle: Duration,
}

impl Server {
    /// Answers the requests of whoever knows the offer, on any number of connections, until the future is
    /// dropped or a file is spoilt. Clients that do not know it are reported and forgotten.
    pub(crate) async fn answer(self, ranges: Ranges, events: mpsc::Sender<RangeEvent>, sent: Arc<AtomicU64>) {
        let Ranges { items, id, dry_run, idle } = ranges;
        let served = Served { items, id, dry_run, idle, events, sent };
        let mut clients: JoinSet<Option<PayloadError>> = JoinSet::new();
        let places = Places::default();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    // An error concerns that one client (it has gone again) or passes (no file handles).
                    let Ok((stream, peer)) = accepted else { sleep(BREATHER).await; continue };
                    let (place, sent_away) = places.take();
                    let asker = Asker { peer, place, places: places.clone(), sent_away };
                    clients.spawn(asker.serve(stream, served.clone()));
                }
                Some(ended) = clients.join_next() => {
                    if let Ok(Some(error)) = ended {
                        let _ = served.events.send(RangeEvent::Spoilt(error)).await;
                        return;
                    }
                }
            }
        }
    }

    /// A channel for the events of [`Server::answer`].
    pub(crate) fn range_events() -> (mpsc::Sender<RangeEvent>, mpsc::Receiver<RangeEvent>) {
        mpsc::channel(BACKLOG)
    }
}

/// Who is served.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    next: u64,
    /// In the order in which they came.
    unknown: Vec<Place>,
    /// In the order in which they were known.
    known: Vec<Place>,
}

struct Place {
    number: u64,
    /// Dropped to send it away.
    _stay: oneshot::Sender<()>,
}

impl Places {
    /// A place for a client of which nothing is known, and what resolves when it is needed.
    fn take(&self) -> (u64, oneshot::Receiver<()>) {
        let mut taken = self.lock();
        if taken.unknown.len() >= UNKNOWN {
            taken.unknown.remove(0);
        }
        let (stay, sent_away) = oneshot::channel();
        let number = taken.next;
        taken.next += 1;
        taken.unknown.push(Place { number, _stay: stay });
        (number, sent_away)
    }

    /// The client knows the offer.
    pub(super) fn known(&self, number: u64) {
        let mut taken = self.lock();
        let Some(index) = taken.unknown.iter().position(|place| place.number == number) else { return };
        let place = taken.unknown.remove(index);
        if taken.known.len() >= KNOWN {
            taken.known.remove(0);
        }
        taken.known.push(place);
    }

    /// The client has gone.
    pub(super) fn leave(&self, number: u64) {
        let mut taken = self.lock();
        taken.unknown.retain(|place| place.number != number);
        taken.known.retain(|place| place.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use crate::wire::Algorithm;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Running {
        address: SocketAddr,
        events: mpsc::Receiver<RangeEvent>,
        _task: tokio::task::JoinHandle<()>,
    }

    const ID: &str = "0123456789abcdef";

    async fn running(payload: Payload) -> Running {
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        let items = Items::file("main.py".parse().unwrap(), payload, digest);
        let server = Server::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let address = server.local();
        let (events, receiver) = Server::range_events();
        let idle = Duration::from_secs(5);
        let ranges = Ranges { items, id: ID.parse().unwrap(), dry_run: false, idle };
        let _task = tokio::spawn(server.answer(ranges, events, Arc::default()));
        Running { address, events: receiver, _task }
    }

    impl Running {
        async fn until(&mut self, wanted: impl Fn(&RangeEvent) -> bool) -> RangeEvent {
            loop {
                match self.events.recv().await.expect("the server ended") {
                    event if wanted(&event) => return event,
                    _ => {}
                }
            }
        }

        async fn client(&mut self) -> TcpStream {
            let client = TcpStream::connect(self.address).await.unwrap();
            self.until(|event| matches!(event, RangeEvent::Connected { .. })).await;
            client
        }
    }

    async fn asks(client: &mut TcpStream, offset: u64, count: usize) -> std::io::Result<Vec<u8>> {
        client.write_all(format!("{ID} 0-0 {offset}\n").as_bytes()).await?;
        let mut read = vec![0; count];
        client.read_exact(&mut read).await?;
        Ok(read)
    }

    #[tokio::test]
    async fn a_device_that_loses_its_connection_goes_on_where_it_was() {
        let file: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut server = running(Payload::from_bytes("main.py", file.clone())).await;
        let mut read = Vec::new();
        while read.len() < file.len() {
            let mut client = server.client().await;
            let count = (file.len() - read.len()).min(700_001);
            read.extend(asks(&mut client, read.len() as u64, count).await.unwrap());
        }
        assert!(read == file);
    }

    #[tokio::test]
    async fn any_number_of_strangers_does_not_keep_the_device_out_or_cut_it_off() {
        let mut server = running(Payload::from_bytes("main.py", vec![3; 4_000_000])).await;
        let mut device = server.client().await;
        assert_eq!(asks(&mut device, 0, 1000).await.unwrap(), [3; 1000]);
        let mut strangers = Vec::new();
        for _ in 0..2 * UNKNOWN {
            strangers.push(server.client().await);
        }
        // One more, and the first of them is sent away.
        strangers.push(TcpStream::connect(server.address).await.unwrap());
        let crowded =
            |event: &RangeEvent| matches!(event, RangeEvent::Dropped { cause: DropCause::Crowded, .. });
        server.until(crowded).await;
        let mut rest = vec![0; 3_999_000];
        device.read_exact(&mut rest).await.unwrap();
        let mut again = server.client().await;
        assert_eq!(asks(&mut again, 3_999_999, 1).await.unwrap(), [3]);
    }

    #[tokio::test]
    async fn a_wrong_id_is_closed_and_uses_nothing_up() {
        let mut server = running(Payload::from_bytes("main.py", vec![3; 10])).await;
        let mut stranger = server.client().await;
        stranger.write_all(b"fedcba9876543210 0-0 0\n").await.unwrap();
        let mut read = Vec::new();
        let _ = stranger.read_to_end(&mut read).await;
        assert_eq!(read, []);
        let gone = |event: &RangeEvent| {
            matches!(event, RangeEvent::Dropped { known: false, cause: DropCause::Stranger, .. })
        };
        server.until(gone).await;
        let mut device = server.client().await;
        assert_eq!(asks(&mut device, 0, 10).await.unwrap(), [3; 10]);
    }

    #[tokio::test]
    async fn the_connections_of_a_device_that_died_make_room_for_its_next_one() {
        let mut server = running(Payload::from_bytes("main.py", vec![3; 10])).await;
        let mut dead = Vec::new();
        for _ in 0..3 * KNOWN {
            let mut client = server.client().await;
            asks(&mut client, 0, 10).await.unwrap();
            dead.push(client);
        }
        let mut first = dead.remove(0);
        assert!(asks(&mut first, 0, 10).await.is_err());
        let mut last = dead.pop().unwrap();
        assert_eq!(asks(&mut last, 0, 10).await.unwrap(), [3; 10]);
    }

    #[tokio::test]
    async fn a_file_that_changed_ends_the_offer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"old").unwrap();
        let mut server = running(Payload::named(file.path().to_owned()).await.unwrap()).await;
        std::fs::write(&file, b"new").unwrap();
        let mut device = server.client().await;
        assert!(asks(&mut device, 0, 3).await.is_err());
        assert!(matches!(server.until(|_| true).await, RangeEvent::Asked { .. }));
        let spoilt = server.until(|event| matches!(event, RangeEvent::Spoilt(_))).await;
        assert!(matches!(spoilt, RangeEvent::Spoilt(PayloadError::Changed { .. })));
    }
}
