use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::receiver::failure::Failure;
use crate::receiver::set::{OfferedSet, Taken};
use crate::receiver::supply::{Broken, Items, Supply};
use crate::receiver::{disk::Disk, store::Store};
use crate::wire::{Algorithm, Ask, Delete, Digest, Manifest, ManifestLine, Reason, SetTerms};

/// Bytes that come at once.
const PIECE: usize = 700;

/// Sender without a network, which has the items of a set.
#[derive(Clone)]
pub(super) struct Memory {
    items: Arc<Vec<Vec<u8>>>,
    coming: Bytes,
    asked: Arc<Mutex<Vec<Ask>>>,
    /// Number of bytes after which each connection breaks.
    breaks: Option<usize>,
    left: usize,
}

impl Memory {
    pub(super) fn of(items: Vec<Vec<u8>>) -> Self {
        Self { items: Arc::new(items), coming: Bytes::new(), asked: Arc::default(), breaks: None, left: 0 }
    }

    pub(super) fn breaking_after(mut self, bytes: usize) -> Self {
        (self.breaks, self.left) = (Some(bytes), bytes);
        self
    }

    /// Returns the requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        let id = crate::wire::OfferId::from_bytes([0; 8]);
        let asked = self.asked.lock().unwrap();
        let lines = asked.iter().map(|ask| crate::wire::Request { id, ask: ask.clone() }.to_string());
        lines.map(|line| line[17..].to_owned()).collect()
    }
}

impl Supply for Memory {
    fn ask(&mut self, ask: Ask, expected: u64) {
        assert!(self.coming.is_empty(), "{ask:?} before the answer is over");
        if let Ask::Range { first, last, offset } = ask {
            let bytes = self.items[first as usize..=last.unwrap() as usize].concat();
            self.coming = Bytes::from(bytes).slice(offset as usize..);
            assert_eq!(self.coming.len() as u64, expected, "{ask:?}");
        }
        self.asked.lock().unwrap().push(ask);
    }

    fn read(&mut self) -> Result<Bytes, Broken> {
        let mut count = PIECE.min(self.coming.len());
        if let Some(breaks) = self.breaks {
            if self.left == 0 {
                self.left = breaks;
                return Err(Broken::Lost(Failure::new(Reason::Short, "broken off")));
            }
            count = count.min(self.left);
            self.left -= count;
        }
        assert!(count > 0, "nothing was asked for");
        Ok(self.coming.split_to(count))
    }

    fn close(&mut self) {
        self.coming = Bytes::new();
    }

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

/// Files to be synced to a device.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    pub(super) terms: SetTerms,
}

impl Folder {
    pub(super) fn of(files: &[(&'static str, Vec<u8>)]) -> Self {
        let mut files = files.to_vec();
        files.sort_by_key(|(path, _)| *path);
        Self { files, terms: SetTerms { delete: Delete::FormerSet, ..SetTerms::default() } }
    }

    pub(super) fn manifest(&self) -> Manifest {
        Manifest::new(self.files.iter().map(|(path, bytes)| ManifestLine {
            digest: Digest::of(Algorithm::Sha256, bytes),
            size: bytes.len() as u64,
            path: path.parse().unwrap(),
        }))
        .unwrap()
    }

    pub(super) fn offered(&self) -> OfferedSet {
        let text = self.manifest().to_string();
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        OfferedSet { digest, size: text.len() as u64, terms: self.terms, max_size: 1 << 30 }
    }

    pub(super) fn supply(&self) -> Memory {
        let manifest = self.manifest().to_string().into_bytes();
        Memory::of(
            std::iter::once(manifest).chain(self.files.iter().map(|(_, bytes)| bytes.clone())).collect(),
        )
    }

    /// Syncs the folder to a device. Returns the requests on the way too.
    pub(super) fn sync<D: Disk>(&self, store: &Store<D>) -> (Result<Taken, Failure>, Vec<String>) {
        self.sync_from(store, self.supply())
    }

    pub(super) fn sync_from<D: Disk>(
        &self,
        store: &Store<D>,
        supply: Memory,
    ) -> (Result<Taken, Failure>, Vec<String>) {
        let taken = store.take_set(&self.offered(), &mut Items::new(supply.clone(), 3), &mut |_| {});
        (taken, supply.asked())
    }
}

/// Returns bytes that differ from seed to seed.
pub(super) fn bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed.into());
    (0..length).map(|_| random.u8(..)).collect()
}
