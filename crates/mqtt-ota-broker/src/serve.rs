use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::archive::Archive;
use crate::client::{self, Hall};
use crate::connector::Arrival;
use crate::link::Link;
use crate::router::Router;
use crate::seat::Name;
use crate::session::Terms;
use crate::{BrokerConfig, BrokerError, limits, probe};

/// Runs the broker until it is told to stop, or rumqttd's router is gone. `ready` is told once it can be used.
pub(crate) async fn run(
    config: BrokerConfig,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    ready: oneshot::Sender<Result<SocketAddr, BrokerError>>,
    stop: oneshot::Receiver<()>,
) {
    let (listener, address) = match bind(config.listen).await {
        Ok(bound) => bound,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let archive = match config.announcements.as_deref().map(Archive::open).transpose() {
        Ok(archive) => archive.map(Arc::new),
        Err(source) => {
            let path = config.announcements.unwrap_or_default();
            return drop(ready.send(Err(BrokerError::Announcements { path, source })));
        }
    };
    let connections = config.max_connections.min(limits::MOST_CONNECTIONS);
    let clients = connections.saturating_add(limits::INSIDE + 1);
    let started = Router::start(clients, connections.max(limits::CONNECTIONS), archive.clone());
    let Ok((router, mut engine)) = started else { return drop(ready.send(Err(BrokerError::Died))) };
    let router = Arc::new(router);
    // Before anybody may ask for them.
    if let Some(archive) = &archive {
        for (topic, message) in archive.messages() {
            let kept = v5::Publish { topic, payload: message, retain: true, ..v5::Publish::default() };
            router.publish(None, &kept);
        }
        tokio::spawn(Arc::clone(archive).run());
    }
    tokio::spawn(Arc::clone(&router).run());
    tokio::spawn(Arc::clone(&router).pass_closed());
    let terms =
        Terms { life: Duration::ZERO, window: limits::WINDOW, max_packet: usize::MAX, is_inside: true };
    // An id that no client has, as it is too long for one.
    let inside = Name { is_inside: true, id: "%".repeat(limits::CLIENT_ID + 1).into() };
    let Ok((inside, _)) = Link::attach(&router, inside, true, terms) else {
        return drop(ready.send(Err(BrokerError::Died)));
    };
    let hall = Arc::new(Hall { router, config, entrance: Arc::default(), seats: Arc::default() });
    tokio::spawn(accept(listener, connections, Arc::clone(&hall)));
    tokio::spawn(admit(arrivals, Arc::clone(&hall)));
    if let Err(source) = probe::reaches(address, hall.config.credentials.as_ref(), inside).await {
        return drop(ready.send(Err(BrokerError::NotReady { address, source })));
    }
    tracing::info!(%address, "the broker is ready");
    if ready.send(Ok(address)).is_err() {
        return;
    }
    tokio::select! {
        _ = stop => {}
        // Nothing is ever written for it: it ends with the router, and not before.
        _ = engine.arrival() => tracing::error!("rumqttd's router is gone"),
    }
    if let Some(archive) = archive {
        // Blocks, so that nobody is told meanwhile that more was taken. What goes wrong, it has said.
        let _ = archive.save();
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BrokerError::PortTaken { address, source },
        _ => BrokerError::Bind { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn accept(listener: TcpListener, connections: usize, hall: Arc<Hall>) {
    let places = Arc::new(Semaphore::new(connections));
    let mut closed = Closed::default();
    loop {
        match listener.accept().await {
            Ok((socket, from)) => {
                let place = Arc::clone(&places).try_acquire_owned().ok();
                if place.is_none() && !hall.entrance.make_room() {
                    closed.one_more(from, connections);
                    continue;
                }
                // Otherwise an acknowledgement can wait 40 ms for the client's next packet.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "packets may be delayed");
                }
                let (places, hall) = (Arc::clone(&places), Arc::clone(&hall));
                let mut visitor = hall.entrance.enter();
                tokio::spawn(async move {
                    let place = match place {
                        Some(place) => place,
                        None => tokio::select! {
                            biased;
                            () = visitor.sent_away() => return,
                            // Whoever gave way is about to leave one.
                            Ok(place) = places.acquire_owned() => place,
                        },
                    };
                    client::serve(socket, Some(visitor), hall).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections for which there was no place. However many, they fill no log.
#[derive(Debug, Default)]
struct Closed {
    count: u64,
    /// When it was said last.
    said: Option<Instant>,
}

impl Closed {
    fn one_more(&mut self, from: SocketAddr, limit: usize) {
        self.count += 1;
        if self.said.is_none_or(|said| said.elapsed() >= limits::SAY_AGAIN) {
            tracing::warn!(%from, limit, count = self.count, "connections are closed: there are too many");
            *self = Self { count: 0, said: Some(Instant::now()) };
        }
    }
}

/// Takes those in who come from inside this process.
async fn admit(mut arrivals: mpsc::UnboundedReceiver<Arrival>, hall: Arc<Hall>) {
    while let Some(Arrival { socket, place }) = arrivals.recv().await {
        let hall = Arc::clone(&hall);
        tokio::spawn(async move {
            client::serve(socket, None, hall).await;
            drop(place);
        });
    }
}
