//! Push files to microcontrollers.

mod address;
mod attempt;
mod broker;
mod event;
mod exchange;
mod mqtt;
mod outcome;
mod payload;
mod receiver;
mod sender;
mod serve;
pub mod wire;

pub use address::{Advertise, AdvertiseError, Advertised, Listen, ListenError, Why};
pub use broker::{Broker, BrokerUrlError};
pub use event::Event;
pub use mqtt::{ConnectError, LinkError, Protocol};
pub use outcome::{BackOnline, Outcome, Report};
pub use payload::{Payload, PayloadError};
pub use receiver::{Receiver, ReceiverConfig, ReceiverError, ReceiverEvent};
pub use sender::{Config, SendError, SendOptions, Sender};
pub use serve::DropCause;
pub use wire::{Announcement, DeviceName, DevicePath, Digest, Offer, Reason};
