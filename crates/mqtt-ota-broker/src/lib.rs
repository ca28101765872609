//! In-process MQTT broker for tests, demos and trusted home networks.
//!
//! Clients speak MQTT 5 or MQTT 3.1.1 on one port. Everything that a client can make grow is bounded, and is freed
//! when the client goes. [`Broker::start`] returns once the broker is usable, and reports a taken port as an error.
//! [`Broker::stop`] returns once the port is free.
//!
//! There is no TLS and at most one user. Nothing survives a stop except the announcements of devices, and those only
//! if [`BrokerConfig::announcements`] names a file. For untrusted clients, for a fleet, or for anything else that
//! must survive a restart, run [Mosquitto](https://mosquitto.org) instead. The README explains why and how.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use mqtt_ota_broker::{Broker, BrokerConfig};
//!
//! let config = BrokerConfig { listen: "127.0.0.1:0".parse()?, ..BrokerConfig::default() };
//! let broker = Broker::start(config).await?;
//! println!("mqtt://{}", broker.address());
//! broker.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod announcements;
mod archive;
mod broker;
mod client;
mod config;
mod connector;
mod engine;
mod entrance;
mod error;
mod handshake;
mod limits;
mod link;
mod message;
mod packet;
mod probe;
mod retained;
mod router;
mod seat;
mod serve;
mod session;
mod stream;
mod topic;
mod tree;

pub use broker::Broker;
pub use config::{BrokerConfig, Credentials, CredentialsError};
pub use connector::Connector;
pub use error::BrokerError;
