mod described;
mod error;
mod list;
mod looked;
mod looking;
mod scan;
mod shared;
mod stale;
mod suspects;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use self::described::Described;
pub use self::error::FolderError;
use self::list::Listed;
pub(super) use self::looked::Looked;
use self::shared::Shared;
pub(super) use self::suspects::Suspects;
use super::checkout::Checkouts;
use super::settings::DeviceSettings;
use super::touched::Touched;
use crate::check::Findings;
use crate::set::{FileSet, Prepared};
use crate::wire::{Algorithm, Announcement, DeviceName};

/// Files that the devices are to have, as one scan has found them: a folder for each device.
#[derive(Debug, Default, Clone)]
pub(super) struct Folders {
    /// Devices by name, each with its own folder or the folder that has it among its aliases.
    pub(super) devices: BTreeMap<DeviceName, Kept>,
    /// Problems that concern no device in particular.
    pub(super) strays: Vec<Arc<FolderError>>,
    /// Places that are held back, and the reasons.
    pub(super) holds: HashMap<PathBuf, Arc<FolderError>>,
    /// Files that were reported, exist, and are not sent.
    pub(super) unsent: BTreeSet<PathBuf>,
    /// Files that were reported, and do not exist or are not open.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Settings files that were not read again, because they are being written.
    pub(super) frozen: BTreeSet<PathBuf>,
    /// Folders in the root, by name.
    described: Arc<[Arc<Described>]>,
    /// Files found in each place, so that unchanged ones are not hashed again.
    lists: HashMap<PathBuf, Listed>,
    /// True if a place could not be read, or may have changed in more than the touched paths.
    is_unsure: bool,
    shared: Shared,
    /// Hash functions that the files are hashed with.
    algorithms: BTreeSet<Algorithm>,
    /// States of the git checkouts.
    checkouts: Arc<Mutex<Checkouts>>,
}

/// Results of earlier scans.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) last: Arc<Folders>,
    /// Last scan that counted. Folders that it found to be shared stay so.
    pub(super) counted: Arc<Folders>,
}

/// Folder of one device, as far as it is known.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// Files that the device is to have.
    Folder(Arc<Folder>),
    /// Folder from which nothing can be sent.
    Unusable {
        error: Arc<FolderError>,
        /// Groups in its settings. `None` where the settings cannot be read.
        groups: Option<BTreeSet<String>>,
        /// Places where its files would be.
        places: Vec<PathBuf>,
    },
}

impl Kept {
    /// Returns the places of the files.
    pub(super) fn places(&self) -> &[PathBuf] {
        match self {
            Self::Folder(folder) => &folder.places,
            Self::Unusable { places, .. } => places,
        }
    }

    /// Returns the groups that the device belongs to. `None` where they are not known.
    pub(super) fn groups(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Folder(folder) => Some(&folder.settings.groups),
            Self::Unusable { groups, .. } => groups.as_ref(),
        }
    }
}

/// Files of a device, and the settings by which it is kept.
#[derive(Debug)]
pub(super) struct Folder {
    files: Arc<Files>,
    pub(super) settings: Arc<DeviceSettings>,
    /// Folders that it includes, and its own.
    places: Vec<PathBuf>,
}

/// Files that are on a device together. Devices that include the same folders share them.
#[derive(Debug)]
struct Files {
    /// Folder of one of the devices.
    path: PathBuf,
    set: FileSet,
    /// Findings of the check.
    findings: Findings,
    prepared: BTreeMap<Algorithm, Prepared>,
}

impl Folder {
    pub(super) fn set(&self) -> &FileSet {
        &self.files.set
    }

    /// Returns why a device with this announcement is not given the files, or `None` if it is.
    pub(super) fn refused(&self, device: Option<&Announcement>) -> Option<Arc<FolderError>> {
        let source = self.findings()?.allow(device).err()?;
        Some(Arc::new(FolderError::Refused { path: self.files.path.clone(), source }))
    }

    /// Returns the findings of the check, unless the settings switch it off.
    pub(super) fn findings(&self) -> Option<&Findings> {
        self.settings.check.unwrap_or(true).then_some(&self.files.findings)
    }

    /// Returns the files as they are offered to devices with this hash function, if one has asked for it.
    pub(super) fn prepared(&self, algorithm: Algorithm) -> Option<&Prepared> {
        self.files.prepared.get(&algorithm)
    }
}

impl Folders {
    /// Returns these folders, with those that are held back as they were `before`.
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
        // The list of a held place is the one that counted before.
        for place in held.keys() {
            match before.lists.get(place) {
                Some(listed) => drop(counted.lists.insert(place.clone(), listed.clone())),
                None => drop(counted.lists.remove(place)),
            }
        }
        counted
    }

    /// Returns true if another scan would find the same, provided that nothing but this was touched since and that no
    /// scan has counted in between.
    pub(super) fn is_still(&self, algorithms: &BTreeSet<Algorithm>, touched: &Touched) -> bool {
        let is_held = !self.holds.is_empty() || !self.frozen.is_empty();
        *touched == Touched::NOTHING && !self.is_unsure && !is_held && self.algorithms == *algorithms
    }

    /// Returns true if a device is in this group, or may be.
    pub(super) fn may_have(&self, group: &str) -> bool {
        let is_in = |kept: &Kept| kept.groups().is_none_or(|groups| groups.contains(group));
        self.devices.values().any(is_in)
    }

    /// Returns the real paths of all places, to be watched.
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
        // A device that is also an alias of its own folder counts once.
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

#[cfg(test)]
mod tests;
