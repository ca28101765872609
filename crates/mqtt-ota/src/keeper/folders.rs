mod described;
mod error;
mod list;
mod looking;
mod shared;
mod stale;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use self::described::Described;
pub use self::error::FolderError;
use self::list::Listed;
use self::looking::{Found, Looking};
use self::shared::Shared;
use super::settings::DeviceSettings;
use super::touched::Touched;
use crate::set::{FileSet, Prepared};
use crate::wire::{Algorithm, DeviceName};

/// What the devices are to have: a folder each, as they were when they were looked at.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// A device's own folder, or the one that has it among its aliases.
    pub(super) devices: BTreeMap<DeviceName, Kept>,
    /// What is in the way of no device in particular.
    pub(super) strays: Vec<Arc<FolderError>>,
    /// When the last of what was looked at was changed.
    pub(super) newest: Option<SystemTime>,
    /// The folders in the root, by their names.
    described: Arc<[Described]>,
    /// What was found in each folder that was looked into, so that what has not changed is not hashed again.
    lists: HashMap<PathBuf, Listed>,
    /// A place could not be read, or more than is touched may have changed in it.
    is_unsure: bool,
    shared: Shared,
    /// The hash functions that it is hashed with.
    algorithms: BTreeSet<Algorithm>,
}

/// What is known of earlier looks.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) last: Arc<Folders>,
    /// The last one that counted: what it found to be shared holds on.
    pub(super) counted: Arc<Folders>,
}

/// What is known of one device's folder.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// What the device is to have.
    Folder(Arc<Folder>),
    /// Nothing can be sent from it.
    Unusable {
        error: Arc<FolderError>,
        /// What its settings say of its groups; None where they cannot be read.
        groups: Option<BTreeSet<String>>,
    },
}

impl Kept {
    /// What the device is called together with others; None where that is not known.
    pub(super) fn groups(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Folder(folder) => Some(&folder.settings.groups),
            Self::Unusable { groups, .. } => groups.as_ref(),
        }
    }
}

/// A device's files, and how they are kept.
#[derive(Debug)]
pub(super) struct Folder {
    files: Arc<Files>,
    pub(super) settings: Arc<DeviceSettings>,
}

/// Files that are on a device together. Those who include the same have the same.
#[derive(Debug)]
struct Files {
    set: FileSet,
    prepared: BTreeMap<Algorithm, Prepared>,
}

impl Folder {
    pub(super) fn set(&self) -> &FileSet {
        &self.files.set
    }

    /// The files as they are offered to devices that have this hash function, if one has asked for it.
    pub(super) fn prepared(&self, algorithm: Algorithm) -> Option<&Prepared> {
        self.files.prepared.get(&algorithm)
    }
}

impl Folders {
    /// Looks into `root`: each folder in it whose name begins with no dot is a device, but for those that others
    /// include and that have no [`SETTINGS_FILE`](super::settings::SETTINGS_FILE); [`Shared`] has the rule. What has
    /// not changed since the last look is not read again, and where nothing is `touched` it is not looked at either.
    ///
    /// # Errors
    /// The root itself cannot be read. What is wrong with one device's folder is that device's.
    ///
    /// Cancellation: nothing is left behind, but what was hashed is known.
    pub(super) async fn scan(
        root: &Path,
        before: Before,
        algorithms: BTreeSet<Algorithm>,
        touched: Touched,
    ) -> Result<Self, FolderError> {
        let looking = root.to_owned();
        let looked = spawn_blocking(move || Looking::at(&looking, &before, &touched)).await;
        let failed =
            |error| FolderError::Unreadable { path: root.to_owned(), source: io::Error::other(error) };
        let Looking { found, mut folders } = looked.map_err(failed)??;
        folders.algorithms.clone_from(&algorithms);
        let mut known = HashMap::new();
        for (device, settings, found) in found {
            let files = match found {
                Ok(found) => found.hashed(&algorithms, &mut known).await,
                Err(error) => Err(error),
            };
            folders.add(device, settings, files);
        }
        Ok(folders)
    }

    /// Whether a look has found the same: files of the same names, lengths and times.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let is_same = |place: &PathBuf, listed: &Listed| match (listed, other.lists.get(place)) {
            (Ok(list), Some(Ok(other))) => list.is_like(other),
            (Err(_), Some(Err(_))) => true,
            _ => false,
        };
        let described = self.described.iter().zip(other.described.iter());
        self.described.len() == other.described.len()
            && { described }.all(|(folder, other)| folder.is_like(other))
            && self.lists.len() == other.lists.len()
            && self.lists.iter().all(|(place, listed)| is_same(place, listed))
    }

    /// Whether another look would find the same, if this is all that was touched since this one, and no look has counted
    /// in between.
    pub(super) fn is_still(&self, algorithms: &BTreeSet<Algorithm>, touched: &Touched) -> bool {
        *touched == Touched::NOTHING && !self.is_unsure && self.algorithms == *algorithms
    }

    /// Whether a device is in this group, as far as is known.
    pub(super) fn may_have(&self, group: &str) -> bool {
        let is_in = |kept: &Kept| kept.groups().is_none_or(|groups| groups.contains(group));
        self.devices.values().any(is_in)
    }

    /// Every folder that was looked into, to be watched.
    pub(super) fn places(&self) -> impl Iterator<Item = &Path> {
        self.lists.keys().map(PathBuf::as_path)
    }

    /// Gives a folder to the device that it is named after, and to its aliases.
    fn add(
        &mut self,
        device: DeviceName,
        settings: Option<Arc<DeviceSettings>>,
        files: Result<Arc<Files>, Arc<FolderError>>,
    ) {
        // A device that is named again by its own folder is still one.
        let aliases = settings.iter().flat_map(|settings| settings.aliases.iter().cloned());
        let names: BTreeSet<_> = aliases.chain([device]).collect();
        let groups = settings.as_ref().map(|settings| settings.groups.clone());
        let kept = match files {
            Ok(files) => Kept::Folder(Arc::new(Folder { files, settings: settings.unwrap_or_default() })),
            Err(error) => Kept::Unusable { error, groups },
        };
        for name in names {
            let twice = || Kept::Unusable {
                error: Arc::new(FolderError::Twice { device: name.clone() }),
                groups: None,
            };
            self.devices
                .entry(name.clone())
                .and_modify(|known| *known = twice())
                .or_insert_with(|| kept.clone());
        }
    }
}

impl Found {
    /// `known`: the files of others, by the lists that they are made of.
    async fn hashed(
        self,
        algorithms: &BTreeSet<Algorithm>,
        known: &mut HashMap<Vec<usize>, Arc<Files>>,
    ) -> Result<Arc<Files>, Arc<FolderError>> {
        let Self { path, lists } = self;
        let key: Vec<_> = lists.iter().map(|list| Arc::as_ptr(list).addr()).collect();
        if let Some(files) = known.get(&key) {
            return Ok(Arc::clone(files));
        }
        let failed = |source| Arc::new(FolderError::Set { path: path.clone(), source });
        let files: BTreeMap<_, _> = lists.iter().flat_map(|list| list.files.iter().cloned()).collect();
        let set = FileSet::new(files).map_err(failed)?;
        let mut prepared = BTreeMap::new();
        for algorithm in algorithms {
            prepared.insert(*algorithm, set.prepare(*algorithm).await.map_err(failed)?);
        }
        let files = Arc::new(Files { set, prepared });
        known.insert(key, Arc::clone(&files));
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
