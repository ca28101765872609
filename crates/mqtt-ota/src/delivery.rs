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
    /// When somebody had been sent everything.
    pub(crate) taken: Option<Instant>,
    /// Bytes that clients took.
    pub(crate) sent: u64,
    /// How far the device got, with what it had already.
    pub(crate) position: u64,
    /// What a device that was offered a set asked for, or would ask for.
    pub(crate) wanted: Wanted,
    /// Whether anything was heard of the device.
    pub(crate) met: bool,
    /// When the device last asked for something or took it, where it fetches it at its boot. What it announces later, it
    /// announces after that boot.
    pub(crate) at_boot: Option<Instant>,
}

/// Items that a device asked for, or said in a dry run that it would ask for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Numbers of items.
    pub(crate) items: BTreeSet<u32>,
    pub(crate) deletions: Vec<DevicePath>,
    /// How far it got, in bytes of all files.
    pub(crate) position: u64,
}

/// Waits until a moment, if there is one.
pub(crate) async fn at(moment: Option<Instant>) {
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}
