use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use mqtt_ota::wire::{Content, ExtendedOffer, Hasher, Manifest};
use mqtt_ota::{DevicePath, Digest, Reason};
use tokio::time::sleep;

use super::interface::Interface;
use super::supply::{Count, Failure, Supply};

/// Maximum number of connections in a row that bring nothing.
const ATTEMPTS: u32 = 5;
/// Pause before a new connection.
const PAUSE: Duration = Duration::from_millis(200);

/// Files with their digests.
pub(super) type Files = BTreeMap<DevicePath, Digest>;

/// Data of an extended offer that a device keeps until it has all of it, whatever interrupts the transfer.
#[derive(Debug, Default)]
pub(super) struct Staging {
    of: Option<Digest>,
    manifest: Option<Manifest>,
    complete: BTreeSet<u32>,
    part: Option<Part>,
    /// Number of bytes that have come.
    received: u64,
}

/// Beginning of an item.
#[derive(Debug)]
struct Part {
    item: u32,
    hasher: Hasher,
    length: u64,
}

impl Staging {
    /// Takes an extended offer's bytes, with as many connections as it needs. Returns the manifest of a set and whether
    /// anything differed, and `None` for a file. Cancel safe: what has come stays staged.
    pub(super) async fn take(
        &mut self,
        offer: &ExtendedOffer,
        from: Interface,
        files: &Files,
        count: Count<'_>,
    ) -> Result<Option<(Manifest, bool)>, Failure> {
        if self.of != Some(offer.digest) {
            *self = Self { of: Some(offer.digest), ..Self::default() };
        }
        let mut futile = 0;
        loop {
            let before = self.received;
            let mut supply = Supply::new(offer, from, count);
            match self.attempt(&mut supply, files).await {
                Err(failure) if failure.is_of_the_link() => {
                    futile = if self.received > before { 1 } else { futile + 1 };
                    if futile == ATTEMPTS {
                        return Err(failure);
                    }
                    sleep(PAUSE).await;
                }
                done => {
                    *self = Self::default();
                    return done;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        supply: &mut Supply<'_>,
        files: &Files,
    ) -> Result<Option<(Manifest, bool)>, Failure> {
        let (digest, size) = (supply.offer.digest, supply.offer.size);
        if matches!(supply.offer.content, Content::File(_)) {
            self.item(supply, 0..=0, size, digest, |_| ()).await?;
            return Ok(None);
        }
        let manifest = match &self.manifest {
            Some(manifest) => manifest.clone(),
            None => {
                if size > Manifest::MAX_LEN as u64 {
                    return Err(Failure::new(Reason::BadOffer, "the manifest is too long"));
                }
                // The manifest is not kept in parts, so there is nothing to resume.
                self.part = None;
                let mut text = Vec::new();
                // The companion client asks for these items as well.
                let last = if files.len() < 2 { u32::MAX } else { 0 };
                self.item(supply, 0..=last, size, digest, |bytes| text.extend_from_slice(bytes)).await?;
                let parsed = Manifest::parse(&text);
                self.manifest.insert(parsed.map_err(|error| Failure::new(Reason::BadOffer, error))?).clone()
            }
        };
        let differs = |item: u32| {
            let line = manifest.lines().get(item as usize - 1);
            line.is_some_and(|line| files.get(&line.path) != Some(&line.digest))
        };
        let mut differing = false;
        for (item, line) in (1_u32..).zip(manifest.lines()).filter(|(item, _)| differs(*item)) {
            differing = true;
            if !self.complete.contains(&item) {
                let begun = self.part.as_ref().map(|part| part.item);
                let is_next = |next: &u32| {
                    differs(*next) && !self.complete.contains(next) && begun.is_none_or(|item| item != *next)
                };
                let last = (item + 1..).take_while(is_next).last().unwrap_or(item);
                self.item(supply, item..=last, line.size, line.digest, |_| ()).await?;
                self.complete.insert(item);
            }
        }
        Ok(Some((manifest, differing)))
    }

    /// Takes the first of `items`, from the staged part on. The others are asked for in the same request.
    async fn item(
        &mut self,
        supply: &mut Supply<'_>,
        items: RangeInclusive<u32>,
        size: u64,
        digest: Digest,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let item = *items.start();
        let begun = self.part.take().filter(|part| part.item == item && part.length <= size);
        let new = || Part { item, hasher: Hasher::new(digest.algorithm()), length: 0 };
        let part = self.part.insert(begun.unwrap_or_else(new));
        if part.length < size {
            supply.ask(items, part.length).await?;
        } else {
            supply.skip(item);
        }
        while part.length < size {
            let (left, hasher) = (size - part.length, &mut part.hasher);
            let taken = |bytes: &[u8]| {
                hasher.update(bytes);
                take(bytes);
            };
            let read = supply.read(left, taken).await?;
            self.received += read;
            part.length += read;
        }
        let part = self.part.take().expect("it is there");
        if part.hasher.finish() == digest {
            Ok(())
        } else {
            Err(Failure::new(Reason::HashMismatch, format!("item {item} has another hash")))
        }
    }
}
