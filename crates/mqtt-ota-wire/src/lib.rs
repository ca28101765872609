//! Messages that pass between sender, device and broker, as validated types.
//!
//! The crate takes bytes and returns values. It opens no socket, reads no clock and touches no file. The specification
//! is `docs/protocol.md` in the project's repository, which states every rule that a type enforces under the same name.
//!
//! Works without `std` (`default-features = false`), with `alloc`.
//!
//! ```
//! use mqtt_ota_wire::{Offer, State, Status};
//!
//! let offer = Offer::parse(b"192.168.1.10|4000|main.py|a9993e364706816aba3e25717850c26c9cd0d89d")?;
//! let status = Status::new(State::Installed, &offer.path, &offer.digest, "");
//! assert_eq!(status.to_string(), "installed|main.py|a9993e364706816aba3e25717850c26c9cd0d89d|");
//! # Ok::<(), mqtt_ota_wire::OfferError>(())
//! ```

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod announcement;
mod any_offer;
mod crash;
mod digest;
mod extended;
mod fields;
mod hardware;
mod host;
mod id;
mod log;
mod manifest;
mod name;
mod offer;
mod path;
mod request;
mod status;

pub use announcement::{Announcement, AnnouncementError, InstalledSet};
pub use any_offer::{AnyOffer, AnyOfferError};
pub use crash::Crash;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use extended::{Content, Delete, ExtendedOffer, ExtendedOfferError, SetTerms, Trial};
pub use fields::SEPARATOR;
pub use hardware::{HardwareAddress, HardwareAddressError};
pub use host::{Host, HostError};
pub use id::{IdError, OfferId};
pub use log::{LogRequest, lost_lines};
pub use manifest::{Manifest, ManifestError, ManifestLine};
pub use name::{DeviceName, NameError};
pub use offer::{Offer, OfferError};
pub use path::{DevicePath, PathError, STATE_FOLDER};
pub use request::{Ask, Request, RequestError};
pub use status::{Reason, State, Status, StatusError};

/// Longest message that is read, in bytes.
///
/// The longest plain offer has 455 bytes with a SHA-256 digest. A device with 30 KB of heap must be able to hold any
/// message whole.
pub const MAX_MESSAGE: usize = 1024;
