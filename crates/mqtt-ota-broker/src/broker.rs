use std::net::SocketAddr;
use std::thread;

use tokio::sync::{oneshot, watch};

use crate::{BrokerConfig, BrokerError, Connector, serve};

/// Broker for MQTT 5 and 3.1.1 that runs inside this process, on a thread of its own.
///
/// Dropping a `Broker` stops it too, without waiting for the port to be free.
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
    /// Starting takes about 1 ms, and at most 5 s. The broker brings its own runtime, so the future runs on any
    /// executor. Dropping the future stops the broker again.
    ///
    /// # Errors
    /// Returns an error if another program has the port ([`BrokerError::PortTaken`]), if the address does not belong
    /// to this machine ([`BrokerError::Bind`]), if the path for announcements cannot be a file
    /// ([`BrokerError::Announcements`]), or if the broker does not come up.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let (ready, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (alive, running) = watch::channel(());
        let (connector, arrivals) = Connector::new();
        thread::Builder::new()
            .name("mqtt-broker".to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    // The end of the runtime closes the port and every connection.
                    Ok(runtime) => runtime.block_on(serve::run(config, arrivals, ready, stopped)),
                    Err(source) => drop(ready.send(Err(BrokerError::Thread { source }))),
                }
                drop(alive);
            })
            .map_err(|source| BrokerError::Thread { source })?;
        let address = told.await.map_err(|_| BrokerError::Died)??;
        Ok(Self { address, connector, stop, running })
    }

    /// Returns the address that the broker listens on, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a connector for clients in this process.
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Stops the broker, and returns once the port is free and every connection is closed.
    ///
    /// Stopping takes less than 1 ms, plus the time to write the file of announcements. Dropping the future does not
    /// keep the broker from stopping. Last wills are not published, because no client is left to receive them.
    pub async fn stop(self) {
        let Self { stop, mut running, .. } = self;
        let _ = stop.send(());
        while running.changed().await.is_ok() {}
    }

    /// Waits until the broker ends by itself, and returns the reason. Cancel safe.
    pub async fn stopped(&self) -> BrokerError {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
        BrokerError::Died
    }
}
