//! An MQTT broker for tests, for demos and for a trusted home network, inside the process that needs one.
//!
//! [rumqttd](https://docs.rs/rumqttd)'s router does the routing. This crate does the rest: it owns the port
//! and the connections, so that the port is known, readiness is an event, a taken port is an error, the end is
//! an end, and what rumqttd's own server panics at does not reach it.
//!
//! Clients speak MQTT 3.1.1. One that tries MQTT 5 is told at once that it is not supported. There is no TLS,
//! one user at most, and nothing is kept when it stops but, where [`BrokerConfig::announcements`] names a file, what
//! devices said of themselves. For clients that nobody trusts, for a fleet, or for anything else that has to survive
//! a restart, run [Mosquitto](https://mosquitto.org) instead: the README says why,
//! and how.
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
