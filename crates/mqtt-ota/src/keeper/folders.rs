use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use super::settings::{DeviceSettings, SETTINGS_FILE, SETTINGS_MAX, SettingsError};
use crate::payload::Payload;
use crate::set::{FileSet, SetError, walk};
use crate::wire::{Algorithm, DeviceName, DevicePath, Digest, Manifest, NameError};

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
    /// The files by their paths, so that what has not changed is not hashed again.
    files: HashMap<PathBuf, Payload>,
    /// How much of them is kept in memory, in bytes.
    in_memory: u64,
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
    /// include and that have no [`SETTINGS_FILE`]. What has not changed since `before` is not read again.
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
        let (looking, known) = (root.to_owned(), before.files.clone());
        let looked = spawn_blocking(move || Looking::at(&looking, known)).await;
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
    fn at(root: &Path, known: HashMap<PathBuf, Payload>) -> Result<Self, FolderError> {
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
        let mut folders = Folders { places: BTreeSet::from([root.to_owned()]), ..Folders::default() };
        let settings: Vec<_> = paths.iter().map(|path| read_settings(path)).collect();
        let included: BTreeSet<_> = paths
            .iter()
            .zip(&settings)
            .filter_map(|(path, settings)| Some((path, settings.as_ref().ok()?.as_ref()?)))
            .flat_map(|(path, settings)| settings.include.iter().map(move |include| path.join(include)))
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        let mut found = Vec::new();
        let mut shared = HashMap::new();
        for (path, settings) in paths.into_iter().zip(settings) {
            let is_shared = matches!(settings, Ok(None))
                && path.canonicalize().is_ok_and(|canonical| included.contains(&canonical));
            if is_shared {
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
            let looked =
                settings.and_then(|settings| look(&path, settings, &known, &mut shared, &mut folders));
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

fn read_settings(folder: &Path) -> Result<Option<DeviceSettings>, FolderError> {
    let path = folder.join(SETTINGS_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FolderError::Unreadable { path, source }),
    };
    let mut text = String::new();
    let read = file.take(SETTINGS_MAX + 1).read_to_string(&mut text);
    let length = read.map_err(|source| FolderError::Unreadable { path: path.clone(), source })?;
    let settings =
        if length as u64 > SETTINGS_MAX { Err(SettingsError::TooLong) } else { DeviceSettings::parse(&text) };
    settings.map(Some).map_err(|source| FolderError::Settings { path, source: Box::new(source) })
}

/// Why nothing can be sent from a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It is not there, or may not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its name is no device's.
    #[error("{} is named as no device can be", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// The rule that it breaks.
        source: NameError,
    },
    /// Its settings.
    #[error("{} is wrong", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<SettingsError>,
    },
    /// A folder that it includes.
    #[error("cannot include {}", path.display())]
    Include {
        /// The folder that is included.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its files.
    #[error("cannot send what is in {}", path.display())]
    Set {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        source: SetError,
    },
    /// Two folders are for one device.
    #[error("more than one folder is for {device}")]
    Twice {
        /// The device.
        device: DeviceName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    async fn scan(root: &Path) -> Folders {
        Folders::scan(root, &Folders::default(), &BTreeSet::from([Algorithm::Sha256])).await.unwrap()
    }

    fn folder<'a>(folders: &'a Folders, device: &str) -> &'a Folder {
        match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
            Kept::Folder(folder) => folder,
            Kept::Unusable { error, .. } => panic!("{error}"),
        }
    }

    fn names(folder: &Folder) -> Vec<&str> {
        folder.set.files().map(|(path, _)| path.as_str()).collect()
    }

    fn error(folders: &Folders, device: &str) -> String {
        match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
            Kept::Folder(folder) => panic!("{:?}", names(folder)),
            Kept::Unusable { error, .. } => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_folder_is_a_device_and_its_settings_are_not_sent() {
        let root = tree(&[
            ("LAMP/main.py", "1"),
            ("LAMP/lib/x.py", "2"),
            ("LAMP/device.toml", "hold = true"),
            ("LAMP/lib/device.toml", "an application's own"),
            ("LAMP/main.py~", "an editor's"),
            ("LAMP/#x.py#", "an editor's"),
            (".git/config", ""),
            ("README.md", "not a folder"),
        ]);
        let folders = scan(root.path()).await;
        assert_eq!(folders.devices.len(), 1);
        let lamp = folder(&folders, "LAMP");
        assert_eq!(names(lamp), ["lib/device.toml", "lib/x.py", "main.py"]);
        assert!(lamp.settings.hold);
        let set = FileSet::of_folder(root.path().join("LAMP/lib")).await.unwrap();
        assert_eq!(set.files().len(), 2);
    }

    #[tokio::test]
    async fn included_files_come_along_and_the_device_s_own_win() {
        let root = tree(&[
            ("LAMP/device.toml", "include = [\"../common\", \"../lamps\"]\naliases = [\"ATTIC\"]"),
            ("LAMP/main.py", "own"),
            ("common/main.py", "common"),
            ("common/wifi.py", "common"),
            ("common/lib/a.py", "common"),
            ("lamps/wifi.py", "lamps"),
        ]);
        let folders = scan(root.path()).await;
        assert_eq!(folders.devices.len(), 2, "what is included is no device");
        for device in ["LAMP", "ATTIC"] {
            let lamp = folder(&folders, device);
            assert_eq!(names(lamp), ["lib/a.py", "main.py", "wifi.py"]);
            let (manifest, digest) = lamp.manifest(Algorithm::Sha256).unwrap();
            assert_eq!(manifest.lines()[1].digest, Digest::of(Algorithm::Sha256, b"own"));
            assert_eq!(manifest.lines()[2].digest, Digest::of(Algorithm::Sha256, b"lamps"));
            assert_eq!(*digest, manifest.digest(Algorithm::Sha256));
        }
    }

    #[tokio::test]
    async fn an_included_folder_with_settings_is_a_device_all_the_same() {
        let root = tree(&[
            ("LAMP/device.toml", "include = [\"../HALL\"]"),
            ("HALL/device.toml", ""),
            ("HALL/main.py", "x"),
        ]);
        let folders = scan(root.path()).await;
        assert_eq!(names(folder(&folders, "LAMP")), ["main.py"]);
        assert_eq!(names(folder(&folders, "HALL")), ["main.py"]);
    }

    #[tokio::test]
    async fn what_is_wrong_with_one_folder_is_no_other_s() {
        let root = tree(&[
            ("GOOD/main.py", ""),
            ("TYPO/device.toml", "inclued = []"),
            ("TYPO/main.py", ""),
            ("LOST/device.toml", "include = [\"../nowhere\"]"),
            ("LOST/main.py", ""),
            ("EMPTY/device.toml", ""),
            ("FIRST/device.toml", "aliases = [\"BOTH\"]"),
            ("FIRST/main.py", ""),
            ("BOTH/main.py", ""),
            ("$x/main.py", ""),
        ]);
        let folders = scan(root.path()).await;
        assert_eq!(names(folder(&folders, "GOOD")), ["main.py"]);
        assert!(error(&folders, "TYPO").ends_with("device.toml is wrong"));
        assert!(error(&folders, "LOST").starts_with("cannot include"));
        assert!(error(&folders, "EMPTY").starts_with("cannot send"));
        assert_eq!(error(&folders, "BOTH"), "more than one folder is for BOTH");
        assert_eq!(folders.strays.len(), 1);
    }

    #[tokio::test]
    async fn an_alias_that_is_there_twice_or_is_the_folder_s_own_name_is_one_device() {
        let root =
            tree(&[("LAMP/device.toml", "aliases = [\"LAMP\", \"HALL\", \"HALL\"]"), ("LAMP/main.py", "")]);
        let folders = scan(root.path()).await;
        for device in ["LAMP", "HALL"] {
            assert_eq!(names(folder(&folders, device)), ["main.py"]);
        }
    }

    #[tokio::test]
    async fn the_aliases_and_groups_of_a_folder_that_cannot_be_sent_are_known() {
        let root = tree(&[
            ("LAMP/device.toml", "aliases = [\"HALL\"]\ngroups = [\"first\"]"),
            ("TYPO/device.toml", "["),
        ]);
        let folders = scan(root.path()).await;
        assert!(error(&folders, "HALL").starts_with("cannot send"));
        let groups = |device: &str| match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
            Kept::Unusable { groups, .. } => groups.clone(),
            Kept::Folder(_) => panic!("{device}"),
        };
        assert_eq!(groups("HALL"), Some(BTreeSet::from(["first".to_owned()])));
        assert_eq!(groups("TYPO"), None);
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_hashed_again() {
        let root = tree(&[("LAMP/main.py", "1"), ("LAMP/b.py", "1")]);
        let sha256 = BTreeSet::from([Algorithm::Sha256]);
        let first = Folders::scan(root.path(), &Folders::default(), &sha256).await.unwrap();
        fs::write(root.path().join("LAMP/b.py"), "22").unwrap();
        let second = Folders::scan(root.path(), &first, &sha256).await.unwrap();
        let (main, other) = (root.path().join("LAMP/main.py"), root.path().join("LAMP/b.py"));
        assert!(first.files[&main].is(&second.files[&main]));
        assert!(!first.files[&other].is(&second.files[&other]));
        let (_, before) = folder(&first, "LAMP").manifest(Algorithm::Sha256).unwrap();
        let (_, after) = folder(&second, "LAMP").manifest(Algorithm::Sha256).unwrap();
        assert_ne!(before, after);
    }

    #[tokio::test]
    async fn a_root_that_is_gone_is_an_error_and_not_a_house_without_devices() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        let scanned = Folders::scan(&gone, &Folders::default(), &BTreeSet::new()).await;
        assert!(matches!(scanned, Err(FolderError::Unreadable { .. })));
    }
}
