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

/// Runs the broker until `stop` resolves or rumqttd's router ends.
///
/// `ready` receives the address once the broker is usable, or the reason why it is not.
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
    // Retained announcements are published before a client can ask for them.
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
    // The id is too long for a client, so no client has it.
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
        // No message is ever written for this reader, so it only returns once the router has ended.
        _ = engine.arrival() => tracing::error!("rumqttd's router is gone"),
    }
    if let Some(archive) = archive {
        // Saving blocks, so that no client is told meanwhile that more was accepted. `save` has logged any error.
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
                // Without this, an acknowledgement can wait 40 ms for the client's next packet.
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
                            // The connection that was evicted is about to release its permit.
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

/// Connections that were closed because the limit was reached. Logged at a limited rate.
#[derive(Debug, Default)]
struct Closed {
    count: u64,
    /// Time of the last log line.
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

/// Serves the connections that come from inside this process.
async fn admit(mut arrivals: mpsc::UnboundedReceiver<Arrival>, hall: Arc<Hall>) {
    while let Some(Arrival { socket, place }) = arrivals.recv().await {
        let hall = Arc::clone(&hall);
        tokio::spawn(async move {
            client::serve(socket, None, hall).await;
            drop(place);
        });
    }
}
