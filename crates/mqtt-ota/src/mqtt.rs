//! The connection to the broker: one, shared by everything a sender or receiver does.
//!
//! The packets are rumqttc's; `packet` makes MQTT 5 and MQTT 3.1.1 look the same. `stream` is the network
//! below them, `tls` says whom to trust. `session` is one accepted connection; `driver` is the task that runs
//! one after the other, and `link` is what the others hold of it.
//!
//! rumqttc's own event loop is not used: it hides its socket, which must confirm at once what arrives (see
//! `stream`), and its TLS depends on crates with known vulnerabilities.

mod driver;
mod error;
mod link;
mod packet;
#[cfg(test)]
pub(crate) mod played;
mod session;
mod stream;
mod tls;

pub use error::{ConnectError, LinkError};
pub use packet::Protocol;

pub(crate) use link::{Ack, BACKLOG, Incoming, Link, LinkConfig, Subscription, patiently};
pub(crate) use packet::{Lasting, Message, Qos};
