use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::event::RangeEvent;
use crate::items::Items;
use crate::wire::OfferId;

/// What every client of an extended offer is served from. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) items: Items,
    pub(crate) id: OfferId,
    /// Whether the device only says what it would ask for.
    pub(crate) dry_run: bool,
    /// How long a client may take nothing.
    pub(crate) idle: Duration,
    pub(crate) events: mpsc::Sender<RangeEvent>,
    /// Bytes for all clients.
    pub(crate) tally: Arc<Tally>,
}

/// Bytes for all the clients of one offer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) taken: AtomicU64,
    pub(super) pending: AtomicU64,
}

impl Tally {
    /// Those that were taken, as far as the system knows.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The same, with those that are on their way: what a device has taken that says so itself.
    pub(crate) fn with_pending(&self) -> u64 {
        self.taken() + self.pending.load(Ordering::Relaxed)
    }
}
