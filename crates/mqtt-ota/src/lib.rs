//! Push files to microcontrollers.

mod address;
mod broker;
mod event;
mod exchange;
mod mqtt;
mod outcome;
mod payload;
mod serve;
pub mod wire;

pub use address::{Advertise, AdvertiseError, Advertised, Listen, ListenError, Why};
pub use broker::{Broker, BrokerUrlError};
pub use event::Event;
pub use mqtt::{ConnectError, LinkError, Protocol};
pub use outcome::{BackOnline, Outcome, Report};
pub use payload::{Payload, PayloadError};
pub use serve::DropCause;
