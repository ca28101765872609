use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::FolderError;
use crate::keeper::checkout::Checkout;
use crate::payload::Payload;
use crate::set::walk;
use crate::wire::DevicePath;

/// Length up to which a file is kept in memory, in bytes, because many devices get it.
const SMALL: u64 = 64 * 1024;

/// Files below one folder that are to be sent.
#[derive(Debug)]
pub(in crate::keeper) struct List {
    pub(super) files: Vec<(DevicePath, Payload)>,
    /// Length of the files that are kept in memory, in bytes.
    pub(super) in_memory: u64,
    /// Time of the latest change of a file.
    pub(super) newest: Option<SystemTime>,
    /// True if the folder, or a file in it, is a link. A change of its target does not touch the folder.
    pub(super) has_links: bool,
    /// Real path of the folder.
    pub(super) real: PathBuf,
    /// Git checkouts that the folder is in, or that are in it.
    pub(super) checkouts: Vec<Checkout>,
}

impl List {
    /// Reads the folder, except for files that are `known` and unchanged. Keeps at most `room` bytes in memory.
    /// Blocking.
    pub(super) fn read(folder: &Path, known: Option<&Self>, room: u64) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Set { path: folder.to_owned(), source };
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let mut list = Self {
            files: Vec::new(),
            in_memory: 0,
            newest: None,
            has_links: folder.is_symlink(),
            checkouts: Checkout::of(&real).into_iter().collect(),
            real,
        };
        for (name, path) in walk(folder).map_err(failed)?.files {
            list.has_links |= path.is_symlink();
            let looked = Payload::look(path).map_err(|error| failed(error.into()))?;
            let is_small = looked.len() <= SMALL && list.in_memory + looked.len() <= room;
            // A file that looks as it did is the same, and keeps the hashes that are known of it.
            let payload =
                match known.and_then(|known| known.file(&name)).filter(|known| known.looks_like(&looked)) {
                    Some(known) => known.clone(),
                    None if is_small => match looked.snapshot().map_err(|error| failed(error.into()))? {
                        Some(snapshot) => snapshot,
                        None => {
                            list.newest = Some(SystemTime::now());
                            looked
                        }
                    },
                    None => looked,
                };
            list.newest = list.newest.max(payload.modified());
            if payload.is_in_memory() {
                list.in_memory += payload.len();
            }
            list.files.push((name, payload));
        }
        list.files.sort_by(|(one, _), (other, _)| one.cmp(other));
        list.find_checkouts();
        Ok(list)
    }

    /// Finds the checkouts below the folder, such as submodules.
    fn find_checkouts(&mut self) {
        let names = self.files.iter().map(|(name, _)| Path::new(name.as_str()));
        let folders: BTreeSet<_> = names.flat_map(|name| name.ancestors().skip(1)).collect();
        let below = folders.into_iter().filter(|folder| !folder.as_os_str().is_empty());
        let below: Vec<_> = below.filter_map(|folder| Checkout::at(&self.real.join(folder))).collect();
        self.checkouts.extend(below);
    }

    /// Returns true if the file with this real path is one that is sent.
    pub(super) fn has(&self, path: &Path) -> bool {
        let name = path.strip_prefix(&self.real).ok().and_then(Path::to_str);
        name.is_some_and(|name| self.files.binary_search_by(|(other, _)| other.as_str().cmp(name)).is_ok())
    }

    fn file(&self, name: &DevicePath) -> Option<&Payload> {
        let index = self.files.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
        self.files.get(index).map(|(_, payload)| payload)
    }

    /// Returns true if the files of both lists have the same names, lengths and times.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let pairs = self.files.iter().zip(&other.files);
        self.files.len() == other.files.len() && { pairs }.all(|((name, file), (other_name, other_file))| {
            name == other_name && file.is_of_same_time(other_file)
        })
    }
}

/// Files found in a place, or the reason why there are none.
pub(super) type Listed = Result<Arc<List>, Arc<FolderError>>;
