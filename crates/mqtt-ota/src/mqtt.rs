//! The connection to the broker: one, shared by everything a sender or receiver does.
//!
//! The packets are rumqttc's; `packet` makes MQTT 5 and MQTT 3.1.1 look the same. `stream` is the network
//! below them, `tls` how it is encrypted, and `verify` whom to trust. `session` is one accepted connection, and `limits`
//! what the broker does not do; `driver` is the task that runs one session after the other, `setback` how soon, and
//! `link` is what the others hold of it. An `inbox` is what comes in for one of them.
//!
//! rumqttc's own event loop is not used: it hides its socket, which must confirm at once what arrives (see
//! `stream`), and its TLS depends on crates with known vulnerabilities.

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
