use std::sync::Arc;

use crate::payload::{Payload, PayloadError};
use crate::wire::{DevicePath, Digest};

/// Items on the stream of an extended offer. Cloning is cheap.
///
/// Item 0 is the object that the offer's digest names. The others are the files of the set, in the order of its
/// manifest.
#[derive(Debug, Clone)]
pub(crate) struct Items(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    items: Vec<Item>,
    is_set: bool,
    /// Total length of all files, in bytes.
    total: u64,
}

/// An item of the stream.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: DevicePath,
    pub(crate) payload: Payload,
    pub(crate) digest: Digest,
    /// Total length of the files before this one, in bytes.
    start: u64,
}

impl Items {
    /// Creates the items of a single file.
    pub(crate) fn file(path: DevicePath, payload: Payload, digest: Digest) -> Self {
        let total = payload.len();
        let items = vec![Item { path, payload, digest, start: 0 }];
        Self(Arc::new(Inner { items, is_set: false, total }))
    }

    /// Creates the items of a set: a manifest, and the files that it lists.
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

    /// Returns the number of the last item.
    pub(crate) fn last(&self) -> u32 {
        u32::try_from(self.0.items.len()).map_or(u32::MAX, |count| count.saturating_sub(1))
    }

    /// Returns the total length of all files, in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.0.total
    }

    /// Returns true if an item is a file, and not the manifest.
    pub(crate) fn is_file(&self, item: u32) -> bool {
        !self.0.is_set || item > 0
    }

    /// Returns the progress of a device that is at this byte of this item, in bytes of [`Items::total`].
    ///
    /// The device asks in order, and already has the files that it does not ask for.
    pub(crate) fn position(&self, item: u32, offset: u64) -> u64 {
        match self.get(item) {
            Some(found) if self.is_file(item) => found.start + offset,
            _ => 0,
        }
    }

    /// Reads all items and checks their digests.
    ///
    /// # Errors
    /// Returns the error of the first item that differs or cannot be read.
    pub(crate) async fn verify(&self) -> Result<(), PayloadError> {
        for item in &self.0.items {
            item.payload.verify(item.digest).await?;
        }
        Ok(())
    }
}
