//! Push files to microcontrollers: a short offer over MQTT, the bytes once over a plain TCP connection, and the
//! device's own confirmation.
//!
//! ```no_run
//! use mqtt_ota::{Broker, Config, Outcome, Payload, SendOptions, Sender};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sender = Sender::connect(Broker::parse("mqtt://iot.lan")?, Config::default()).await?;
//! let payload = Payload::open("main.py").await?;
//! let report = sender.send(&payload, &"NIGHTLAMP".parse()?, SendOptions::default()).await?;
//! assert_eq!(report.outcome, Outcome::Installed);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Sender`] holds one connection to the broker and sends any number of [`Payload`]s to any number of devices at
//! once. The device's behaviour is reported as an [`Outcome`]. An error is a failure on this side.
//! [`SendOptions::on_event`] reports progress. A [`Receiver`] is the device's side, for Linux boards and for tests.
//!
//! # The map
//!
//! - [`wire`]: the messages as validated types, parsed and formatted. No socket and no clock.
//! - `exchange` and `dialogue`: the state of one plain and of one extended offer, which decides the outcome from events
//!   in any order. No socket and no clock.
//! - `attempt` and `stream`: one plain and one extended offer with its sockets and its clock.
//!   `delivery`: the result of either.
//! - `feed`: the messages from a device.
//! - `boot`: the device's reboot after an offer.
//! - `postponing`: the wait for a device that wants the offer later.
//! - `serve`: the port that serves a file once, or answers requests for ranges.
//! - `payload`: a file. `set`: the files of a folder. `items`: the content of a stream.
//! - `check`: checks of files before they are offered.
//! - `address`: the address that an offer gives for the file.
//! - `sender` and `receiver`: the two sides. `sync` and `rollback` extend the sender with sets, `devices` with the list
//!   of devices, and `log` with their output.
//! - `mqtt`: the connection to the broker, in the network or, with `in_process`, in this process.
//!
//! The wire is specified in `docs/protocol.md`, and the reasons are in `docs/design.md`, both in the project's
//! repository.

mod address;
mod attempt;
mod boot;
mod broker;
pub mod check;
mod delivery;
mod devices;
mod dialogue;
mod error;
mod event;
mod exchange;
mod feed;
mod in_process;
mod items;
#[cfg(feature = "keeper")]
pub mod keeper;
mod log;
mod mqtt;
mod options;
mod outcome;
mod payload;
mod postponing;
mod receiver;
mod rollback;
mod sender;
mod serve;
mod set;
mod stream;
mod sync;

pub use mqtt_ota_wire as wire;

pub use address::{Advertise, AdvertiseError, Advertised, Listen, ListenError, Why};
pub use broker::{Broker, BrokerUrlError};
pub use devices::{Forgotten, KnownDevice, Presence, SurveyOptions};
pub use error::SendError;
pub use event::{Event, Observer};
pub use log::{DeviceLog, LastCrash, LogEvent};
pub use mqtt::{
    BrokerReason, CertificateProblem, ConnectError, Fingerprint, FingerprintError, LinkError, Protocol,
};
pub use options::SendOptions;
pub use outcome::{BackOnline, Outcome, Report};
pub use payload::{Payload, PayloadError};
pub use receiver::{Receiver, ReceiverConfig, ReceiverError, ReceiverEvent};
pub use rollback::RollbackOptions;
pub use sender::{Config, Sender};
pub use serve::DropCause;
pub use set::{FileSet, IGNORE_FILE, SetError};
pub use sync::{Plan, SyncOptions, SyncReport};
pub use wire::{Announcement, Delete, DeviceName, DevicePath, Digest, Offer, Reason, Trial};
