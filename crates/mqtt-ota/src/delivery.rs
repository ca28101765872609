use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::outcome::Outcome;
use crate::wire::DevicePath;

/// Time after which an offer is published again to a device that is not subscribed, and is waited for.
pub(crate) const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Result of one offer.
pub(crate) struct Delivery {
    pub(crate) outcome: Outcome,
    pub(crate) peer: Option<SocketAddr>,
    /// Time at which a client had been sent everything.
    pub(crate) taken: Option<Instant>,
    /// Bytes that clients took.
    pub(crate) sent: u64,
    /// Progress of the device, in bytes of all files, with what it had already.
    pub(crate) position: u64,
    /// Items that the device took, or would ask for.
    pub(crate) wanted: Wanted,
    /// True if anything was heard of the device.
    pub(crate) met: bool,
    /// Time at which the device last did something about the offer, if it fetches it at its boot.
    ///
    /// An announcement after this time was made after that boot.
    pub(crate) at_boot: Option<Instant>,
}

/// Items that a device took at least in part, or said in a dry run that it would ask for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Numbers of items.
    pub(crate) items: BTreeSet<u32>,
    pub(crate) deletions: Vec<DevicePath>,
    /// Progress of the device, in bytes of all files.
    pub(crate) position: u64,
}

/// Waits until `moment`. Returns at once if it is `None`.
pub(crate) async fn at(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}
