//! Push files to microcontrollers.

mod broker;
mod mqtt;
mod payload;
pub mod wire;

pub use broker::{Broker, BrokerUrlError};
pub use mqtt::{ConnectError, LinkError, Protocol};
pub use payload::{Payload, PayloadError};
