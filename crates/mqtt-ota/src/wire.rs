//! The wire: what passes between sender, device and broker, as validated types.
//!
//! Nothing here opens a socket or reads a clock: bytes in, values out. The normative text is
//! `docs/protocol.md`; every rule that a type enforces is stated there under the same name.

mod announcement;
mod any_offer;
mod crash;
mod digest;
mod extended;
mod hardware;
mod host;
mod id;
mod log;
mod manifest;
mod name;
mod number;
mod offer;
mod path;
mod request;
mod status;

pub(crate) use announcement::is_for_no_network;
pub use announcement::{Announcement, AnnouncementError, InstalledSet};
pub use any_offer::{AnyOffer, AnyOfferError};
pub use crash::Crash;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use extended::{Content, Delete, ExtendedOffer, ExtendedOfferError, SetTerms, Trial};
pub use hardware::{HardwareAddress, HardwareAddressError};
pub use host::{Host, HostError};
pub use id::{IdError, OfferId};
pub use log::LogRequest;
pub(crate) use log::lost_lines;
pub use manifest::{Manifest, ManifestError, ManifestLine};
pub use name::{DeviceName, NameError};
pub use offer::{Offer, OfferError};
pub use path::{DevicePath, PathError, STATE_FOLDER};
pub use request::{Ask, Request, RequestError};
pub use status::{Reason, State, Status, StatusError};

/// Separates the fields of every message.
pub(crate) const SEPARATOR: char = '|';

/// The longest message that is looked at, in bytes. The longest valid offer has 455 bytes; a device
/// with 30 KB of heap must be able to hold any message whole.
pub const MAX_MESSAGE: usize = 1024;
