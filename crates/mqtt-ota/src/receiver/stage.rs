use std::path::Path;

use super::disk::{Disk, Syncing};
use super::failure::Failure;
use super::store::{Store, each_chunk, name};
use super::supply::{Items, Supply, Want};
use crate::wire::{Digest, Hasher, Reason};

/// Bytes that are written before a sync begins. A power cut may lose as much of a long file.
const SYNC_EVERY: usize = 8 * 1024 * 1024;

/// Item to be fetched into a file of the client's folder.
pub(super) struct Item<'a> {
    /// Name of the file there. Existing contents are taken for the beginning of the item.
    pub(super) name: &'a str,
    pub(super) digest: Digest,
    /// The offset is ignored.
    pub(super) want: Want,
    /// Path whose owner and permissions the file takes over, if it exists.
    pub(super) like: &'a Path,
    /// Name for messages to the user.
    pub(super) called: &'a str,
}

impl<D: Disk> Store<D> {
    /// Fetches an item, from where an earlier transfer broke off, checks it and begins to sync it. The name is not
    /// synced.
    pub(super) fn fetch<S: Supply>(
        &self,
        items: &mut Items<S>,
        item: &Item<'_>,
        received: &mut dyn FnMut(u64),
    ) -> Result<Syncing, Failure> {
        let kept = self.length(item.name).filter(|kept| *kept <= item.want.size).unwrap_or_default();
        let (mut digest, mut syncing) = self.fetch_from(kept, items, item, received)?;
        if digest != item.digest && kept > 0 {
            // The kept bytes may differ from those written, after a power cut, or belong to another file.
            items.reset();
            (digest, syncing) = self.fetch_from(0, items, item, received)?;
        }
        if digest != item.digest {
            self.forget(item.name)?;
            let text = format!("{}: {digest} after {} bytes", item.called, item.want.size);
            return Err(Failure::new(Reason::HashMismatch, text));
        }
        Ok(syncing)
    }

    fn fetch_from<S: Supply>(
        &self,
        kept: u64,
        items: &mut Items<S>,
        item: &Item<'_>,
        received: &mut dyn FnMut(u64),
    ) -> Result<(Digest, Syncing), Failure> {
        let path = self.state(item.name);
        let mut hasher = Hasher::new(item.digest.algorithm());
        let mut file = if kept > 0 {
            each_chunk(&path, |chunk| {
                hasher.update(chunk);
                Ok(())
            })?;
            self.disk.append(&path)?
        } else {
            self.disk.create(&path)?
        };
        let (mut unsynced, mut syncing) = (0, Syncing::default());
        items.fetch(Want { offset: kept, ..item.want }, |bytes| {
            hasher.update(bytes);
            self.disk.write(&mut file, bytes)?;
            unsynced += bytes.len();
            if unsynced >= SYNC_EVERY && syncing.has_ended() {
                std::mem::replace(&mut syncing, self.disk.begin_sync(&file)?).end()?;
                unsynced = 0;
            }
            received(bytes.len() as u64);
            Ok(())
        })?;
        syncing.end()?;
        // A new file takes over the owner of its folder.
        if let Some(like) = item.like.ancestors().find(|like| like.exists()) {
            self.disk.dress(&path, like)?;
        }
        Ok((hasher.finish(), self.disk.begin_sync(&file)?))
    }

    /// Fetches item 0 of an offer. Resumes it if part of it came for an earlier offer with the same digest.
    pub(super) fn fetch_first<S: Supply>(
        &self,
        items: &mut Items<S>,
        digest: Digest,
        size: u64,
        like: &Path,
        received: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        self.make_folders(&self.state(name::PART))?;
        if self.read(name::PART_OF)?.is_none_or(|known| known != digest.as_bytes()) {
            self.forget(name::PART)?;
            self.write(name::PART_OF, digest.as_bytes())?;
        }
        let want = Want { item: 0, size, offset: 0, last: 0, behind: 0 };
        let item = Item { name: name::PART, digest, want, like, called: "what came" };
        Ok(self.fetch(items, &item, received)?.end()?)
    }
}
