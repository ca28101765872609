mod described;
mod error;
mod list;
mod looked;
mod looking;
mod shared;
mod stale;
mod suspects;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::task::spawn_blocking;

use self::described::Described;
pub use self::error::FolderError;
use self::list::Listed;
pub(super) use self::looked::Looked;
use self::looking::{Found, Looking};
use self::shared::Shared;
pub(super) use self::suspects::Suspects;
use super::checkout::Checkouts;
use super::settings::DeviceSettings;
use super::touched::Touched;
use crate::check::Findings;
use crate::set::{FileSet, Prepared};
use crate::wire::{Algorithm, Announcement, DeviceName};

/// What the devices are to have: a folder each, as they were when they were looked at.
#[derive(Debug, Default, Clone)]
pub(super) struct Folders {
    /// A device's own folder, or the one that has it among its aliases.
    pub(super) devices: BTreeMap<DeviceName, Kept>,
    /// What is in the way of no device in particular.
    pub(super) strays: Vec<Arc<FolderError>>,
    /// The places that are held back, and why.
    pub(super) holds: HashMap<PathBuf, Arc<FolderError>>,
    /// Files that were heard of, are there, and are not sent.
    pub(super) unsent: BTreeSet<PathBuf>,
    /// Files that were heard of, and are not there or not open.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Files with settings that were not read anew, as somebody writes them.
    pub(super) frozen: BTreeSet<PathBuf>,
    /// The folders in the root, by their names.
    described: Arc<[Arc<Described>]>,
    /// What was found in each folder that was looked into, so that what has not changed is not hashed again.
    lists: HashMap<PathBuf, Listed>,
    /// A place could not be read, or more than is touched may have changed in it.
    is_unsure: bool,
    shared: Shared,
    /// The hash functions that it is hashed with.
    algorithms: BTreeSet<Algorithm>,
    /// What git says.
    checkouts: Arc<Mutex<Checkouts>>,
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
        /// Where its files would be.
        places: Vec<PathBuf>,
    },
}

impl Kept {
    /// The places that its files are in.
    pub(super) fn places(&self) -> &[PathBuf] {
        match self {
            Self::Folder(folder) => &folder.places,
            Self::Unusable { places, .. } => places,
        }
    }

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
    /// The folders that it includes, and its own.
    places: Vec<PathBuf>,
}

/// Files that are on a device together. Those who include the same have the same.
#[derive(Debug)]
struct Files {
    /// The folder of one of the devices.
    path: PathBuf,
    set: FileSet,
    /// What is wrong with them.
    findings: Findings,
    prepared: BTreeMap<Algorithm, Prepared>,
}

impl Folder {
    pub(super) fn set(&self) -> &FileSet {
        &self.files.set
    }

    /// Why a device that has announced this is not given the files.
    pub(super) fn refused(&self, device: Option<&Announcement>) -> Option<Arc<FolderError>> {
        let source = self.findings()?.allow(device).err()?;
        Some(Arc::new(FolderError::Refused { path: self.files.path.clone(), source }))
    }

    /// What was found in the files, unless the settings are against looking.
    pub(super) fn findings(&self) -> Option<&Findings> {
        self.settings.check.unwrap_or(true).then_some(&self.files.findings)
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
        suspects: Suspects,
    ) -> Result<Self, FolderError> {
        let looking = root.to_owned();
        let looked = spawn_blocking(move || Looking::at(&looking, &before, &touched, &suspects)).await;
        let failed =
            |error| FolderError::Unreadable { path: root.to_owned(), source: io::Error::other(error) };
        let Looking { found, mut folders } = looked.map_err(failed)??;
        folders.algorithms.clone_from(&algorithms);
        let mut known = HashMap::new();
        for (device, settings, places, found) in found {
            let files = match found {
                Ok(found) => found.hashed(&algorithms, &mut known).await,
                Err(error) => Err(error),
            };
            folders.add(device, settings, places, files);
        }
        Ok(folders)
    }

    /// The same, but as it was `before` where something is held back.
    pub(super) fn without(&self, held: &HashMap<PathBuf, Arc<FolderError>>, before: &Self) -> Self {
        let mut counted = self.clone();
        let hold = |kept: &Kept| kept.places().iter().find_map(|place| held.get(place));
        for (device, kept) in &self.devices {
            let known = before.devices.get(device);
            let Some(why) = hold(kept).or_else(|| known.and_then(hold)) else { continue };
            let unusable = || Kept::Unusable {
                error: Arc::clone(why),
                groups: kept.groups().cloned(),
                places: kept.places().to_vec(),
            };
            counted.devices.insert(device.clone(), known.cloned().unwrap_or_else(unusable));
        }
        for (device, known) in &before.devices {
            if !self.devices.contains_key(device) && hold(known).is_some() {
                counted.devices.insert(device.clone(), known.clone());
            }
        }
        // What does not count is not what is known.
        for place in held.keys() {
            match before.lists.get(place) {
                Some(listed) => drop(counted.lists.insert(place.clone(), listed.clone())),
                None => drop(counted.lists.remove(place)),
            }
        }
        counted
    }

    /// Whether another look would find the same, if this is all that was touched since this one, and no look has counted
    /// in between.
    pub(super) fn is_still(&self, algorithms: &BTreeSet<Algorithm>, touched: &Touched) -> bool {
        let is_held = !self.holds.is_empty() || !self.frozen.is_empty();
        *touched == Touched::NOTHING && !self.is_unsure && !is_held && self.algorithms == *algorithms
    }

    /// Whether a device is in this group, as far as is known.
    pub(super) fn may_have(&self, group: &str) -> bool {
        let is_in = |kept: &Kept| kept.groups().is_none_or(|groups| groups.contains(group));
        self.devices.values().any(is_in)
    }

    /// Where every folder that was looked into really is, to be watched.
    pub(super) fn real_places(&self) -> impl Iterator<Item = &Path> + Clone {
        self.lists.iter().map(|(place, listed)| listed.as_ref().map_or(place.as_path(), |list| &list.real))
    }

    /// Gives a folder to the device that it is named after, and to its aliases.
    fn add(
        &mut self,
        device: DeviceName,
        settings: Option<Arc<DeviceSettings>>,
        places: Vec<PathBuf>,
        files: Result<Arc<Files>, Arc<FolderError>>,
    ) {
        // A device that is named again by its own folder is still one.
        let aliases = settings.iter().flat_map(|settings| settings.aliases.iter().cloned());
        let names: BTreeSet<_> = aliases.chain([device]).collect();
        let groups = settings.as_ref().map(|settings| settings.groups.clone());
        let kept = match files {
            Ok(files) => {
                Kept::Folder(Arc::new(Folder { files, settings: settings.unwrap_or_default(), places }))
            }
            Err(error) => Kept::Unusable { error, groups, places },
        };
        for name in names {
            let twice = |known: &Kept| Kept::Unusable {
                error: Arc::new(FolderError::Twice { device: name.clone() }),
                groups: None,
                places: known.places().iter().chain(kept.places()).cloned().collect(),
            };
            self.devices
                .entry(name.clone())
                .and_modify(|known| *known = twice(known))
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
        let findings = set.check().await.map_err(failed)?;
        let mut prepared = BTreeMap::new();
        for algorithm in algorithms {
            prepared.insert(*algorithm, set.prepare(*algorithm).await.map_err(failed)?);
        }
        let files = Arc::new(Files { path, set, findings, prepared });
        known.insert(key, Arc::clone(&files));
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
