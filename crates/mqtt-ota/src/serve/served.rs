use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::event::RangeEvent;
use crate::items::Items;
use crate::wire::OfferId;

/// Content of an extended offer, shared by all its clients. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) items: Items,
    pub(crate) id: OfferId,
    /// True if the device only says what it would ask for.
    pub(crate) dry_run: bool,
    /// Longest time for which a client may take nothing.
    pub(crate) idle: Duration,
    pub(crate) events: mpsc::Sender<RangeEvent>,
    /// Bytes sent to all clients.
    pub(crate) tally: Arc<Tally>,
}

/// Number of bytes sent to all the clients of one offer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) taken: AtomicU64,
    pub(super) pending: AtomicU64,
}

impl Tally {
    /// Returns the number of bytes that were taken, as far as the system knows.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that were taken or are on their way. All of them count as taken once the device
    /// reports that it has the files.
    pub(crate) fn with_pending(&self) -> u64 {
        self.taken() + self.pending.load(Ordering::Relaxed)
    }
}
