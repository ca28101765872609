mod accept;
mod caller;
mod client;
mod confirmed;
mod door;
mod drop_cause;
mod event;
mod outflow;
mod pace;
mod ports;
mod register;
mod served;
mod shared;

use std::collections::HashMap;
use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::accept::BREATHER;
use self::client::Client;
use self::door::Door;
pub(crate) use self::door::Known;
pub use self::drop_cause::DropCause;
pub(crate) use self::event::{RangeEvent, ServeEvent};
pub(crate) use self::ports::Ports;
pub(crate) use self::served::{Served, Tally};
pub(crate) use self::shared::SharedPort;
use crate::address::Listen;
use crate::payload::Payload;
use crate::wire::Digest;

/// Bound port that serves one file.
pub(crate) struct Server {
    listener: TcpListener,
    local: SocketAddr,
}

/// File that a [`Server`] serves, and its settings.
pub(crate) struct Serving {
    pub(crate) payload: Payload,
    pub(crate) digest: Digest,
    /// Longest time for which a client may take nothing.
    pub(crate) idle: Duration,
    /// Knowledge of the device, now and later.
    pub(crate) device: watch::Receiver<Known>,
    pub(crate) events: mpsc::Sender<ServeEvent>,
}

/// Record of one client.
struct Place {
    /// Bytes that the client has taken.
    taken: Arc<AtomicU64>,
    /// Tells the client when it may be served, and whether it may be the device.
    turn: Option<oneshot::Sender<bool>>,
    /// Dropped to send the client away.
    _stay: oneshot::Sender<()>,
}

impl Server {
    /// Binds the first free port of `listen`, for clients that connect to `advertised` if that is an address.
    ///
    /// # Errors
    /// Returns an error if no port can be bound.
    pub(crate) async fn bind(listen: &Listen, advertised: Option<IpAddr>) -> io::Result<Self> {
        let listener = ports::bind(listen, advertised).await?;
        Ok(Self { local: listener.local_addr()?, listener })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Serves the file until one client has taken all of it.
    ///
    /// If the device reports, serving goes on after that, because the client may be a stranger. Clients that do not get
    /// that far are reported and forgotten.
    ///
    /// The events end with `Delivered` or `Spoilt`, or with the last client after `last_call`. Then the port is closed.
    /// Dropping the future closes the port as well.
    pub(crate) async fn run(self, serving: Serving, last_call: impl Future) {
        let Serving { payload, digest, idle, mut device, events } = serving;
        let mut clients: JoinSet<(u64, Option<ServeEvent>)> = JoinSet::new();
        let mut numbers = HashMap::new();
        let mut door = Door::new(*device.borrow_and_update());
        let mut listener = Some(self.listener);
        tokio::pin!(last_call);
        while listener.is_some() || !clients.is_empty() {
            // Dropping a place tells its client to go.
            drop(door.open(
                Instant::now(),
                |place: &Place| place.taken.load(Ordering::Relaxed),
                |place, is_device| {
                    if let Some(turn) = place.turn.take() {
                        let _ = turn.send(is_device);
                    }
                },
            ));
            let accept = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => future::pending().await,
                }
            };
            let next = door.next();
            tokio::select! {
                _ = &mut last_call, if listener.is_some() => {
                    listener = None;
                    door.close();
                }
                Ok(()) = device.changed() => door.know(*device.borrow_and_update()),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                accepted = accept => {
                    // An error concerns only this client (it has gone again), or is transient (no file handles).
                    let Ok((stream, peer)) = accepted else { sleep(BREATHER).await; continue };
                    let ((stay, sent_away), (called, turn)) = (oneshot::channel(), oneshot::channel());
                    let taken = Arc::<AtomicU64>::default();
                    let place = Place { taken: Arc::clone(&taken), turn: Some(called), _stay: stay };
                    let (number, goes) = door.arrive(place, peer.ip(), Instant::now());
                    drop(goes);
                    let client = Client { peer, taken, turn, sent_away, events: events.clone() };
                    let ended = client.serve(stream, payload.clone(), digest, idle);
                    numbers.insert(clients.spawn(async move { (number, ended.await) }).id(), number);
                }
                Some(ended) = clients.join_next_with_id() => {
                    let (client, last) = match ended {
                        Ok((client, (_, last))) => (client, last),
                        Err(error) => (error.id(), None),
                    };
                    numbers.remove(&client).into_iter().for_each(|number| door.leave(number));
                    let Some(last) = last else { continue };
                    if matches!(last, ServeEvent::Delivered { .. }) && door.known().reports {
                        let _ = events.send(last).await;
                        continue;
                    }
                    drop(listener);
                    let _ = events.send(last).await;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::door::CLIENTS;
    use super::*;
    use crate::wire::Algorithm;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const IDLE: Duration = Duration::from_secs(5);

    struct Running {
        address: SocketAddr,
        events: mpsc::Receiver<ServeEvent>,
        known: watch::Sender<Known>,
        last_call: tokio::sync::oneshot::Sender<()>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn running(bytes: Vec<u8>) -> Running {
        running_for(bytes, Known::default()).await
    }

    async fn running_for(bytes: Vec<u8>, known: Known) -> Running {
        let payload = Payload::from_bytes("main.py", bytes);
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        let server = Server::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let address = server.local();
        let (events, receiver) = ServeEvent::channel();
        let (last_call, called) = tokio::sync::oneshot::channel();
        let (known, device) = watch::channel(known);
        let serving = Serving { payload, digest, idle: IDLE, device, events };
        let task = tokio::spawn(server.run(serving, called));
        Running { address, events: receiver, known, last_call, task }
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
        // A client that stalls, a client that leaves at once, a client that sends garbage, and then the device.
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

    /// Returns the knowledge of a device that has announced an address where it is not.
    fn elsewhere() -> Known {
        Known { address: Some([192, 0, 2, 7].into()), receiving: None, reports: true }
    }

    #[tokio::test]
    async fn an_offer_to_a_device_that_reports_stands_though_a_stranger_took_the_whole_file() {
        let file = vec![3; 3891];
        let here = Known { address: Some([127, 0, 0, 1].into()), ..elsewhere() };
        let mut server = running_for(file.clone(), here).await;
        for _ in 0..2 {
            let mut read = Vec::new();
            TcpStream::connect(server.address).await.unwrap().read_to_end(&mut read).await.unwrap();
            assert!(read == file);
            server.until(|event| matches!(event, ServeEvent::Delivered { .. })).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_from_another_address_waits_with_nothing_sent_to_it_and_may_not_speak() {
        let mut server = running_for(vec![3; 3891], elsewhere()).await;
        let mut scan = TcpStream::connect(server.address).await.unwrap();
        scan.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let spoke =
            |event: &ServeEvent| matches!(event, ServeEvent::TurnedAway { cause: DropCause::Spoke, .. });
        server.until(spoke).await;
        drop(TcpStream::connect(server.address).await.unwrap());
        let closed =
            |event: &ServeEvent| matches!(event, ServeEvent::TurnedAway { cause: DropCause::Closed, .. });
        server.until(closed).await;
        let begun = Instant::now();
        let mut read = Vec::new();
        TcpStream::connect(server.address).await.unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 3891);
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_strangers_that_have_waited_as_many_are_served_as_there_are_places() {
        let mut server = running_for(vec![3; 1_000_000], elsewhere()).await;
        let mut strangers = Vec::new();
        for _ in 0..20 {
            strangers.push(TcpStream::connect(server.address).await.unwrap());
        }
        for _ in 0..CLIENTS {
            server.until(|event| matches!(event, ServeEvent::Connected { is_device: false, .. })).await;
        }
        strangers[19].read_exact(&mut [0; 1000]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_behind_a_router_is_served_soon_after_its_word() {
        let mut server = running_for(vec![3; 3891], elsewhere()).await;
        let mut device = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();
        server.known.send_modify(|known| known.receiving = Some(begun));
        device.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        drop(device);
        let served = |event: &ServeEvent| matches!(event, ServeEvent::Connected { is_device: true, .. });
        server.until(served).await;
        server.until(|event| matches!(event, ServeEvent::Delivered { .. })).await;
    }

    #[tokio::test]
    async fn what_a_device_that_reads_nothing_was_sent_is_not_progress() {
        let mut server = running(vec![3; 400_000]).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut device = socket.connect(server.address).await.unwrap();
        // The device's system buffers little. The rest waits in ours.
        device.read_exact(&mut [0; 1000]).await.unwrap();
        let mut furthest = 0;
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_millis(300), server.events.recv()).await
        {
            if let ServeEvent::Progress { sent, .. } = event {
                furthest = sent;
            }
        }
        if cfg!(any(target_os = "linux", target_os = "android")) {
            assert!((1000..20_000).contains(&furthest), "{furthest}");
        }
        let mut rest = Vec::new();
        device.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), 399_000);
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
