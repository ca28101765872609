use std::sync::Arc;

use crate::payload::{Payload, PayloadError};
use crate::wire::{DevicePath, Digest};

/// What the stream of an extended offer has: item 0 is what its digest names, the others are the files of
/// the set in the order of its manifest. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Items(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    items: Vec<Item>,
    is_set: bool,
    /// The length of all files together, in bytes.
    total: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: DevicePath,
    pub(crate) payload: Payload,
    pub(crate) digest: Digest,
    /// How many bytes the files before it have.
    start: u64,
}

impl Items {
    /// One file.
    pub(crate) fn file(path: DevicePath, payload: Payload, digest: Digest) -> Self {
        let total = payload.len();
        let items = vec![Item { path, payload, digest, start: 0 }];
        Self(Arc::new(Inner { items, is_set: false, total }))
    }

    /// A manifest, and the files that it lists.
    pub(crate) fn set(
        manifest: (DevicePath, Payload, Digest),
        files: impl IntoIterator<Item = (DevicePath, Payload, Digest)>,
    ) -> Self {
        let (path, payload, digest) = manifest;
        let mut items = vec![Item { path, payload, digest, start: 0 }];
        let mut total = 0;
        for (path, payload, digest) in files {
            let start = total;
            total += payload.len();
            items.push(Item { path, payload, digest, start });
        }
        Self(Arc::new(Inner { items, is_set: true, total }))
    }

    pub(crate) fn get(&self, item: u32) -> Option<&Item> {
        self.0.items.get(usize::try_from(item).ok()?)
    }

    /// The number of the last.
    pub(crate) fn last(&self) -> u32 {
        u32::try_from(self.0.items.len()).map_or(u32::MAX, |count| count.saturating_sub(1))
    }

    /// The length of all files together, in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.0.total
    }

    /// Whether an item is a file, and not the manifest.
    pub(crate) fn is_file(&self, item: u32) -> bool {
        !self.0.is_set || item > 0
    }

    /// How far a device is that is at this byte of this item: it asks in order, and has what it does not ask
    /// for. Of [`Items::total`].
    pub(crate) fn position(&self, item: u32, offset: u64) -> u64 {
        match self.get(item) {
            Some(found) if self.is_file(item) => found.start + offset,
            _ => 0,
        }
    }

    /// Reads everything, and makes sure that it is what was hashed.
    ///
    /// # Errors
    /// The first that is not, or cannot be read.
    pub(crate) async fn verify(&self) -> Result<(), PayloadError> {
        for item in &self.0.items {
            item.payload.verify(item.digest).await?;
        }
        Ok(())
    }
}
