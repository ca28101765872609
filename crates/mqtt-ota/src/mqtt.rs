//! The connection to the broker: one, shared by everything a sender or receiver does.
//!
//! `connection` makes MQTT 5 and MQTT 3.1.1 look the same, `link` runs one in a task and brings it back
//! when it is lost, `tls` says whom to trust.

mod connection;
mod error;
mod link;
mod tls;

pub use connection::Protocol;
pub use error::{ConnectError, LinkError};
pub(crate) use link::{Ack, Incoming, Link, LinkConfig, Message, Subscription};
