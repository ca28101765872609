use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::accept::BREATHER;
use super::caller::Caller;
use super::register::Register;
use super::served::Served;
use crate::wire::OfferId;

/// Bound port for any number of extended offers. Closed when dropped.
///
/// A client says with its first line which offer it came for.
pub(crate) struct SharedPort {
    local: SocketAddr,
    register: Arc<Register>,
    accepting: AbortHandle,
    /// Returned when the port is closed.
    _permit: OwnedSemaphorePermit,
}

impl SharedPort {
    /// Accepts clients from now on.
    ///
    /// # Errors
    /// Returns an error if the local address of the listener is unknown.
    pub(super) fn open(listener: TcpListener, permit: OwnedSemaphorePermit) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let register = Arc::new(Register::new(listener));
        let accepting = tokio::spawn(accept(Arc::clone(&register))).abort_handle();
        Ok(Self { local, register, accepting, _permit: permit })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Answers the requests of clients that know this offer, on any number of connections.
    ///
    /// The offer ends when the returned value is dropped, or when a file is spoilt.
    pub(crate) fn offer(self: &Arc<Self>, served: Served) -> Offered {
        let id = served.id;
        self.register.add(served);
        Offered { id, port: Arc::clone(self) }
    }
}

impl Drop for SharedPort {
    fn drop(&mut self) {
        self.register.close();
        self.accepting.abort();
    }
}

/// Offer at a [`SharedPort`]. Dropping it closes its connections, and the port with the last offer.
pub(crate) struct Offered {
    id: OfferId,
    port: Arc<SharedPort>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.port.register.remove(self.id);
    }
}

/// Accepts clients until the port is closed.
async fn accept(register: Arc<Register>) {
    while let Some(accepted) = register.accepted().await {
        // An error concerns only this client (it has gone again), or is transient (no file handles).
        let Ok((stream, peer)) = accepted else {
            sleep(BREATHER).await;
            continue;
        };
        let (stay, patience) = register.take();
        tokio::spawn(Caller { peer, stay, register: Arc::clone(&register) }.serve(stream, patience));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ports;
    use super::super::register::{KNOWN, UNKNOWN};
    use super::*;
    use crate::items::Items;
    use crate::payload::Payload;
    use crate::payload::PayloadError;
    use crate::serve::{DropCause, RangeEvent};
    use crate::wire::Ask;
    use crate::wire::{Algorithm, Digest};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    struct Running {
        address: SocketAddr,
        events: mpsc::Receiver<RangeEvent>,
        _offered: Offered,
    }

    fn offer(port: &Arc<SharedPort>, items: Items, id: &str) -> (Offered, mpsc::Receiver<RangeEvent>) {
        let (events, receiver) = RangeEvent::channel();
        let (id, idle) = (id.parse().unwrap(), Duration::from_secs(5));
        (port.offer(Served { items, id, dry_run: false, idle, events, tally: Arc::default() }), receiver)
    }

    const ID: &str = "0123456789abcdef";

    async fn running(payload: Payload) -> Running {
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        let items = Items::file("main.py".parse().unwrap(), payload, digest);
        let ports = Ports::new("127.0.0.1:0".parse().unwrap(), false);
        let port = ports.shared(None).await.unwrap();
        let address = port.local();
        let (_offered, events) = offer(&port, items, ID);
        Running { address, events, _offered }
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

        async fn client(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
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
        let server = running(Payload::from_bytes("main.py", file.clone())).await;
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
        // A further client, and the first of them is sent away.
        strangers.push(TcpStream::connect(server.address).await.unwrap());
        let crowded =
            |event: &RangeEvent| matches!(event, RangeEvent::Dropped { cause: DropCause::Crowded, .. });
        server.until(crowded).await;
        let mut rest = vec![0; 3_999_000];
        device.read_exact(&mut rest).await.unwrap();
        let mut again = server.client().await;
        let last = |event: &RangeEvent| {
            matches!(event, RangeEvent::Asked { ask: Ask::Range { offset: 3_999_999, .. }, .. })
        };
        let (read, _) = tokio::join!(asks(&mut again, 3_999_999, 1), server.until(last));
        assert_eq!(read.unwrap(), [3]);
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
            server.until(|event| matches!(event, RangeEvent::Sent { .. })).await;
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
        let first = server.until(|event| !matches!(event, RangeEvent::Connected { .. })).await;
        assert!(matches!(first, RangeEvent::Asked { .. }));
        let spoilt = server.until(|event| matches!(event, RangeEvent::Spoilt(_))).await;
        assert!(matches!(spoilt, RangeEvent::Spoilt(PayloadError::Changed { .. })));
    }

    #[tokio::test]
    async fn each_client_gets_what_it_came_for_and_the_last_offer_closes_the_port() {
        let ports = Ports::new("127.0.0.1:0".parse().unwrap(), false);
        let port = ports.shared(None).await.unwrap();
        let address = port.local();
        let item = |byte| {
            let payload = Payload::from_bytes("main.py", vec![byte; 10]);
            Items::file("main.py".parse().unwrap(), payload, Digest::of(Algorithm::Sha1, &[byte; 10]))
        };
        let other = "fedcba9876543210";
        let (one, _events) = offer(&port, item(1), ID);
        let (two, mut told) = offer(&port, item(2), other);
        drop(port);
        let asks = async |id: &str| {
            let mut client = TcpStream::connect(address).await?;
            client.write_all(format!("{id} 0-0 0\n").as_bytes()).await?;
            let mut read = vec![0; 10];
            client.read_exact(&mut read).await?;
            std::io::Result::Ok((client, read))
        };
        let (mut first, read) = asks(ID).await.unwrap();
        assert_eq!(read, [1; 10]);
        let (mut second, read) = asks(other).await.unwrap();
        assert_eq!(read, [2; 10]);
        drop(one);
        assert_eq!(first.read(&mut [0]).await.unwrap_or_default(), 0);
        assert!(asks(ID).await.is_err());
        // The id of another offer does not count on a connection that has said which offer it came for.
        second.write_all(format!("{ID} 0-0 0\n").as_bytes()).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap_or_default(), 0);
        assert_eq!(asks(other).await.unwrap().1, [2; 10]);
        drop(two);
        assert!(TcpStream::connect(address).await.is_err());
        let mut strangers = 0;
        while let Some(event) = told.recv().await {
            strangers += usize::from(matches!(event, RangeEvent::Dropped { cause: DropCause::Stranger, .. }));
        }
        assert_eq!(strangers, 2);
    }
}
