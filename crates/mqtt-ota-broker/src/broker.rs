use std::net::SocketAddr;
use std::thread;

use tokio::sync::{oneshot, watch};

use crate::{BrokerConfig, BrokerError, Connector, serve};

/// A broker for MQTT 5 and 3.1.1 inside this process, on a thread of its own.
///
/// Dropping it stops it as well, without waiting for the port to be free.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    connector: Connector,
    stop: oneshot::Sender<()>,
    running: watch::Receiver<()>,
}

impl Broker {
    /// Starts a broker, and returns once a message has passed through it.
    ///
    /// It takes about 1 ms, 5 s at most, and runs on any executor: the broker brings its own. Not cancelled
    /// half-way: dropping the future stops the broker again.
    ///
    /// # Errors
    /// A port that another program has ([`BrokerError::PortTaken`]), an address that is not one of this
    /// machine ([`BrokerError::Bind`]), a file that cannot be one ([`BrokerError::Announcements`]), and a broker that
    /// does not come up.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let (ready, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (alive, running) = watch::channel(());
        let (connector, arrivals) = Connector::new();
        thread::Builder::new()
            .name("mqtt-broker".to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    // The runtime's end closes the port and every connection.
                    Ok(runtime) => runtime.block_on(serve::run(config, arrivals, ready, stopped)),
                    Err(source) => drop(ready.send(Err(BrokerError::Thread { source }))),
                }
                drop(alive);
            })
            .map_err(|source| BrokerError::Thread { source })?;
        let address = told.await.map_err(|_| BrokerError::Died)??;
        Ok(Self { address, connector, stop, running })
    }

    /// The address that it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way in for clients in this process.
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Stops it, and returns once the port is free and every connection is closed.
    ///
    /// It takes less than 1 ms, and the time to write the file where announcements are kept. Dropping the future does not keep the broker from stopping. Last wills are not
    /// published: nobody is left who could receive them.
    pub async fn stop(self) {
        let Self { stop, mut running, .. } = self;
        let _ = stop.send(());
        while running.changed().await.is_ok() {}
    }

    /// Waits until it ends though nobody stopped it, and says why. Cancellation safe.
    pub async fn stopped(&self) -> BrokerError {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
        BrokerError::Died
    }
}
