use std::io;
use std::sync::Arc;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits;

/// Connects clients in this process to a [`Broker`](crate::Broker), without a port or a password.
///
/// A connector may be cloned, and outlives the broker. After the broker has stopped, [`connect`](Self::connect)
/// returns an error.
#[derive(Debug, Clone)]
pub struct Connector {
    door: mpsc::UnboundedSender<Arrival>,
    places: Arc<Semaphore>,
}

/// Broker's end of a connection, and the permit that the connection holds.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: DuplexStream,
    pub(crate) place: OwnedSemaphorePermit,
}

impl Connector {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (door, arrivals) = mpsc::unbounded_channel();
        (Self { door, places: Arc::new(Semaphore::new(limits::INSIDE)) }, arrivals)
    }

    /// Opens a connection. The client speaks MQTT over the stream as over TCP, beginning with CONNECT.
    ///
    /// No login is needed, and [`max_connections`](crate::BrokerConfig::max_connections) does not count these
    /// connections. A client from the network with the same id does not evict this client. Returns at once. Each
    /// direction buffers 64 KiB that the other side has yet to read.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotConnected`] if the broker has stopped, and [`io::ErrorKind::QuotaExceeded`] if 64
    /// of these connections are open.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| io::ErrorKind::QuotaExceeded)?;
        let (socket, theirs) = duplex(limits::INSIDE_BUFFER);
        let arrival = Arrival { socket: theirs, place };
        self.door.send(arrival).map_err(|_| io::ErrorKind::NotConnected)?;
        Ok(socket)
    }
}
