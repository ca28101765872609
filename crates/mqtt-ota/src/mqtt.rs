//! Connection to the broker, shared by everything that a sender or receiver does.
//!
//! The packets are rumqttc's, and `packet` makes MQTT 5 and MQTT 3.1.1 look the same. `stream` is the network below
//! them, `tls` configures its encryption, and `verify` decides which certificates to trust. `session` is one accepted
//! connection, and `limits` lists the features that the broker lacks. `driver` is the task that runs one session after
//! the other, and `setback` decides how soon. `link` is the handle that the rest of the crate holds. An `inbox` is a
//! queue of incoming messages for one reader.
//!
//! The crate does not use rumqttc's own event loop. That loop hides its socket, which must confirm incoming data at
//! once (see `stream`), and its TLS depends on crates with known vulnerabilities.

mod certificate;
mod driver;
mod error;
mod inbox;
mod limits;
mod link;
mod message;
#[cfg(test)]
pub(crate) mod mock_broker;
mod packet;
mod reason;
mod session;
mod setback;
mod stream;
mod tls;
mod verify;

pub use certificate::{CertificateProblem, Fingerprint, FingerprintError};
pub use error::{ConnectError, LinkError};
pub use packet::Protocol;
pub use reason::BrokerReason;

#[cfg(feature = "keeper")]
pub(crate) use inbox::NotPosted;
pub(crate) use inbox::{Inbox, Incoming, Post, inbox};
pub(crate) use link::{BACKLOG, Link, LinkConfig, Subscription};
pub(crate) use message::{Ack, Message, Qos, Retention};
