use std::io;
use std::sync::Arc;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits;

/// A way into a [`Broker`](crate::Broker) of this process, without a port and without a password.
///
/// It may be cloned, outlives the broker, and then says that it has stopped.
#[derive(Debug, Clone)]
pub struct Connector {
    door: mpsc::UnboundedSender<Arrival>,
    places: Arc<Semaphore>,
}

/// The broker's end of a connection, and the place that it takes.
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

    /// Connects. The client speaks MQTT over the stream, as over TCP: it begins with CONNECT.
    ///
    /// A login is not asked for, and [`max_connections`](crate::BrokerConfig::max_connections) does not count
    /// these connections. A client from the network that has the same id does not send this one away. Returns at
    /// once; each direction holds 64 KiB that the other side has yet to read.
    ///
    /// # Errors
    /// The broker has stopped ([`io::ErrorKind::NotConnected`]), or 64 of these connections are open
    /// ([`io::ErrorKind::QuotaExceeded`]).
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| io::ErrorKind::QuotaExceeded)?;
        let (socket, theirs) = duplex(limits::INSIDE_BUFFER);
        let arrival = Arrival { socket: theirs, place };
        self.door.send(arrival).map_err(|_| io::ErrorKind::NotConnected)?;
        Ok(socket)
    }
}
