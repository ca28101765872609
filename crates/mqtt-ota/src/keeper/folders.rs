mod described;
mod error;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use self::described::Described;
pub use self::error::FolderError;
use self::shared::{Owner, Shared};
use super::settings::{DeviceSettings, SETTINGS_FILE};
use crate::payload::Payload;
use crate::set::{FileSet, walk};
use crate::wire::{Algorithm, DeviceName, DevicePath, Digest, Manifest};

/// A file that is at most so long, in bytes, is kept in memory: many devices get it.
const SMALL: u64 = 64 * 1024;
/// How much is kept there, in bytes.
const IN_MEMORY: u64 = 16 * 1024 * 1024;

/// What the devices are to have: a folder each, as they were when they were looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Folders {
    /// A device's own folder, or the one that has it among its aliases.
    pub(super) devices: BTreeMap<DeviceName, Kept>,
    /// What is in the way of no device in particular.
    pub(super) strays: Vec<Arc<FolderError>>,
    /// Every folder that was looked into, to be watched.
    pub(super) places: BTreeSet<PathBuf>,
    /// The files by their paths, so that what has not changed is not hashed again; settings too.
    files: HashMap<PathBuf, Payload>,
    /// How much of them is kept in memory, in bytes.
    in_memory: u64,
    shared: Shared,
    /// When the last of them was changed.
    pub(super) newest: Option<SystemTime>,
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

/// A device's files, and how they are kept.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) set: FileSet,
    pub(super) settings: DeviceSettings,
    manifests: BTreeMap<Algorithm, (Manifest, Digest)>,
}

impl Folder {
    /// The list of the files and its digest, for devices that have this hash function.
    pub(super) fn manifest(&self, algorithm: Algorithm) -> Option<&(Manifest, Digest)> {
        self.manifests.get(&algorithm)
    }
}

/// A folder before its files are hashed.
struct Found {
    path: PathBuf,
    settings: DeviceSettings,
    files: BTreeMap<DevicePath, Payload>,
}

impl Folders {
    /// Looks into `root`: each folder in it whose name begins with no dot is a device, but for those that others
    /// include and that have no [`SETTINGS_FILE`]; [`Shared`] has the rule. What has not changed since `before` is not
    /// read again.
    ///
    /// # Errors
    /// The root itself cannot be read. What is wrong with one device's folder is that device's.
    ///
    /// Cancellation: nothing is left behind, but what was hashed is known.
    pub(super) async fn scan(
        root: &Path,
        before: &Self,
        algorithms: &BTreeSet<Algorithm>,
    ) -> Result<Self, FolderError> {
        let (looking, known, shared) = (root.to_owned(), before.files.clone(), before.shared.clone());
        let looked = spawn_blocking(move || Looking::at(&looking, known, &shared)).await;
        let failed =
            |error| FolderError::Unreadable { path: root.to_owned(), source: io::Error::other(error) };
        let Looking { found, mut folders } = looked.map_err(failed)??;
        for (device, settings, found) in found {
            let hashed = match found {
                Ok(found) => found.hashed(algorithms).await,
                Err(error) => Err(error),
            };
            folders.add(device, settings, hashed);
        }
        Ok(folders)
    }

    /// Whether a look has found the same: files of the same names, lengths and times.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let is_same = |path, file: &Payload| {
            let other: Option<&Payload> = other.files.get(path);
            other.is_some_and(|other| other.is_of_same_time(file))
        };
        self.places == other.places
            && self.files.len() == other.files.len()
            && self.files.iter().all(|(path, file)| is_same(path, file))
    }

    /// Takes it from a look that counted what is shared: this one does not count.
    pub(super) fn believe(&mut self, known: Option<&Self>) {
        self.shared = known.map(|known| known.shared.clone()).unwrap_or_default();
    }

    /// Gives a folder to the device that it is named after, and to its aliases.
    fn add(
        &mut self,
        device: DeviceName,
        settings: Option<DeviceSettings>,
        hashed: Result<Folder, FolderError>,
    ) {
        let (groups, aliases) = settings.map(|settings| (settings.groups, settings.aliases)).unzip();
        let kept = match hashed {
            Ok(folder) => Kept::Folder(Arc::new(folder)),
            Err(error) => Kept::Unusable { error: Arc::new(error), groups },
        };
        // A device that is named again by its own folder is still one.
        let names: BTreeSet<_> = aliases.into_iter().flatten().chain([device]).collect();
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
    async fn hashed(self, algorithms: &BTreeSet<Algorithm>) -> Result<Folder, FolderError> {
        let Self { path, settings, files } = self;
        let failed = |source| FolderError::Set { path: path.clone(), source };
        let set = FileSet::new(files).map_err(failed)?;
        let mut manifests = BTreeMap::new();
        for algorithm in algorithms {
            let manifest = set.manifest(*algorithm).await.map_err(failed)?;
            let digest = manifest.digest(*algorithm);
            manifests.insert(*algorithm, (manifest, digest));
        }
        Ok(Folder { set, settings, manifests })
    }
}

/// One look at the tree. Blocking.
struct Looking {
    /// With what could be read of the settings.
    found: Vec<(DeviceName, Option<DeviceSettings>, Result<Found, FolderError>)>,
    folders: Folders,
}

impl Looking {
    fn at(root: &Path, known: HashMap<PathBuf, Payload>, before: &Shared) -> Result<Self, FolderError> {
        let unreadable = |source| FolderError::Unreadable { path: root.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(root).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            // A link to a folder is one here: it is how a device's folder can be elsewhere.
            if !is_hidden && entry.path().is_dir() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let described: Vec<_> = paths.into_iter().map(Described::read).collect();
        let shared = Shared::of(&described, before);
        let wrong: Vec<_> = described.iter().filter(|folder| folder.settings.is_err()).collect();
        let owners: Vec<_> = described
            .iter()
            .map(|folder| match folder.is_without_settings() {
                true => shared.owner(folder.name(), &wrong),
                false => Owner::Device,
            })
            .collect();
        let places = BTreeSet::from([root.to_owned()]);
        let mut folders = Folders { places, shared, ..Folders::default() };
        let mut found = Vec::new();
        let mut listed = HashMap::new();
        for (Described { path, settings, file, .. }, owner) in described.into_iter().zip(owners) {
            if let Some(file) = file {
                folders.newest = folders.newest.max(file.modified());
                folders.files.insert(path.join(SETTINGS_FILE), file);
            }
            if owner == Owner::Others {
                continue;
            }
            let base = path.file_name().unwrap_or_default().to_string_lossy();
            let device = match base.parse() {
                Ok(device) => device,
                Err(source) => {
                    folders.strays.push(Arc::new(FolderError::Name { path, source }));
                    continue;
                }
            };
            let settings = settings.map(Option::unwrap_or_default);
            let read = settings.as_ref().ok().cloned();
            let looked = match owner {
                Owner::Unclear { settings } => Err(FolderError::Unclear { path, settings }),
                _ => settings.and_then(|settings| look(&path, settings, &known, &mut listed, &mut folders)),
            };
            found.push((device, read, looked));
        }
        Ok(Self { found, folders })
    }
}

/// The files of one device: those that its folder includes, and its own.
fn look(
    path: &Path,
    settings: DeviceSettings,
    known: &HashMap<PathBuf, Payload>,
    shared: &mut HashMap<PathBuf, Vec<(DevicePath, Payload)>>,
    folders: &mut Folders,
) -> Result<Found, FolderError> {
    let mut files = BTreeMap::new();
    for include in &settings.include {
        let place = path.join(include);
        let place =
            place.canonicalize().map_err(|source| FolderError::Include { path: place.clone(), source })?;
        if let Some(listed) = shared.get(&place) {
            files.extend(listed.iter().cloned());
            continue;
        }
        let listed = list(&place, known, folders)?;
        files.extend(listed.iter().cloned());
        shared.insert(place, listed);
    }
    files.extend(list(path, known, folders)?);
    Ok(Found { path: path.to_owned(), settings, files })
}

/// The files below one folder.
fn list(
    folder: &Path,
    known: &HashMap<PathBuf, Payload>,
    folders: &mut Folders,
) -> Result<Vec<(DevicePath, Payload)>, FolderError> {
    folders.places.insert(folder.to_owned());
    let failed = |source| FolderError::Set { path: folder.to_owned(), source };
    let mut listed = Vec::new();
    for (name, path) in walk(folder).map_err(failed)? {
        if name.as_str() == SETTINGS_FILE || is_editors(&name) {
            continue;
        }
        let looked = Payload::look(path.clone()).map_err(|error| failed(error.into()))?;
        let is_small = looked.len() <= SMALL && folders.in_memory + looked.len() <= IN_MEMORY;
        // One that looks as it did is the same, with the hashes that are known of it.
        let payload = match known.get(&path).filter(|known| known.looks_like(&looked)) {
            Some(known) => known.clone(),
            None if is_small => match looked.snapshot().map_err(|error| failed(error.into()))? {
                Some(snapshot) => snapshot,
                None => {
                    folders.newest = Some(SystemTime::now());
                    looked
                }
            },
            None => looked,
        };
        folders.newest = folders.newest.max(payload.modified());
        if is_small && !folders.files.contains_key(&path) {
            folders.in_memory += payload.len();
        }
        folders.files.insert(path, payload.clone());
        listed.push((name, payload));
    }
    Ok(listed)
}

/// Whether an editor keeps it while somebody works on a file: `main.py~`, `#main.py#`.
fn is_editors(name: &DevicePath) -> bool {
    let base = name.as_str().rsplit('/').next().unwrap_or_default();
    base.ends_with('~') || (base.len() > 1 && base.starts_with('#') && base.ends_with('#'))
}

#[cfg(test)]
mod tests;
