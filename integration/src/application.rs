use std::future::Future;
use std::sync::Arc;

use mqtt_ota::{Broker, Config, Payload, Report, SendError, SendOptions, Sender};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use crate::runtime::GUARD;

/// Handle of a send that is under way.
pub type Sending = JoinHandle<Result<Report, SendError>>;

/// Application that uses the library, beside the test's own thread.
#[allow(missing_debug_implementations, reason = "test support")]
pub struct Application {
    /// Runtime that the sender runs on.
    pub runtime: Runtime,
    /// Sender that is connected to the broker.
    pub sender: Arc<Sender>,
}

impl Application {
    /// Connects a sender with the default configuration.
    pub fn on(broker: &impl Endpoint) -> Self {
        Self::with(broker, Config::default())
    }

    /// Connects a sender with `config`.
    pub fn with(broker: &impl Endpoint, config: Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let sender = runtime.block_on(Self::guarded(Sender::connect(Self::url(broker), config)));
        Self { runtime, sender: Arc::new(sender.expect("a connection")) }
    }

    /// Returns the broker as the library takes it.
    pub fn url(broker: &impl Endpoint) -> Broker {
        Broker::parse(&broker.url()).expect("a broker's URL")
    }

    /// Starts a send.
    pub fn send(&self, payload: &Payload, device: &str, options: SendOptions) -> Sending {
        let (sender, payload) = (Arc::clone(&self.sender), payload.clone());
        let device = device.parse().expect("a device's name");
        self.runtime.spawn(async move { sender.send(&payload, &device, options).await })
    }

    /// Waits for the end of a send.
    #[allow(clippy::missing_errors_doc, reason = "test support")]
    pub fn result(&self, sending: Sending) -> Result<Report, SendError> {
        self.runtime.block_on(Self::guarded(sending)).expect("the send does not panic")
    }

    /// Waits for the report of a send.
    pub fn report(&self, sending: Sending) -> Report {
        self.result(sending).expect("nothing went wrong on this side")
    }

    /// Waits for `work`, and fails the test if it takes too long.
    pub async fn guarded<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(GUARD, work).await.expect("it takes too long")
    }
}
