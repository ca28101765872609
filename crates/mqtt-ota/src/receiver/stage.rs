use std::path::Path;

use super::disk::{Disk, Syncing};
use super::failure::Failure;
use super::store::{Store, each_chunk, name};
use super::supply::{Items, Supply, Want};
use crate::wire::{Digest, Hasher, Reason};

/// How much is written before it is brought to the disk, in bytes: what a power cut may cost of a long file.
const SYNC_EVERY: usize = 8 * 1024 * 1024;

/// An item to be fetched into a file of the client's folder.
pub(super) struct Item<'a> {
    /// What the file is called there. What is in it already is taken for the item's beginning.
    pub(super) name: &'a str,
    pub(super) digest: Digest,
    /// The offset counts for nothing.
    pub(super) want: Want,
    /// Which file's owner and permissions it takes over, if that is there.
    pub(super) like: &'a Path,
    /// What the user calls it.
    pub(super) called: &'a str,
}

impl<D: Disk> Store<D> {
    /// Fetches an item, from where it broke off before, checks it and begins to sync it. Its name is not synced.
    pub(super) fn fetch<S: Supply>(
        &self,
        items: &mut Items<S>,
        item: &Item<'_>,
        received: &mut dyn FnMut(u64),
    ) -> Result<Syncing, Failure> {
        let kept = self.length(item.name).filter(|kept| *kept <= item.want.size).unwrap_or_default();
        let (mut digest, mut syncing) = self.fetch_from(kept, items, item, received)?;
        if digest != item.digest && kept > 0 {
            // What was kept may not be what was written: after a power cut, or of another file's.
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
        // A new file takes over its folder's owner.
        if let Some(like) = item.like.ancestors().find(|like| like.exists()) {
            self.disk.dress(&path, like)?;
        }
        Ok((hasher.finish(), self.disk.begin_sync(&file)?))
    }

    /// Fetches item 0 of an offer, which may have come in part for an earlier one with the same digest.
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
