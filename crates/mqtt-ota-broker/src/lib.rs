//! An MQTT broker for tests, for demos and for a trusted home network, inside the process that needs one.
//!
//! Clients speak MQTT 5 or MQTT 3.1.1, on one port. Everything that they can make grow has a bound, and goes with them.
//! Readiness is an event, a taken port is an error, and the end is an end. There is no TLS, one user at most, and nothing is
//! kept when it stops but, where [`BrokerConfig::announcements`] names a file, what devices said of themselves. For clients
//! that nobody trusts, for a fleet, or for anything else that has to survive a restart, run
//! [Mosquitto](https://mosquitto.org) instead: the README says why, and how.
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
