//! Which folders are for others to include, and so are no device's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::described::Described;

/// What is included by whom: names of folders in the root.
///
/// A folder that has settings of its own is a device, whoever includes it. One that has none is no device while
/// another one includes it. Settings that cannot be understood, or that are gone, take nothing back: what they have
/// included stays no device's until they are there and do not include it. And until then nothing is sent from a
/// folder that their text names, or from any where that is too long or no text. A file that the system does not let be
/// read holds back its own folder alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// A folder, and those that include it.
    includers: BTreeMap<OsString, BTreeSet<OsString>>,
}

/// Whose a folder without settings is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// A device has it.
    Device,
    /// Others include it.
    Others,
    /// These settings cannot be understood, and may include it.
    Unclear { settings: PathBuf },
}

impl Shared {
    /// What these folders include, where it was so `before`.
    pub(super) fn of(folders: &[Arc<Described>], before: &Self) -> Self {
        let mut names: BTreeMap<&Path, Vec<&OsStr>> = BTreeMap::new();
        for (folder, place) in folders.iter().filter_map(|folder| Some((folder, folder.place.as_ref()?))) {
            names.entry(place).or_default().push(folder.name());
        }
        let mut shared = Self::default();
        let mut understood = BTreeSet::new();
        for folder in folders.iter().filter(|folder| folder.understood().is_some()) {
            understood.insert(folder.name());
            let places = folder.includes.iter().flatten();
            for name in places.filter_map(|place| names.get(place.as_path())).flatten() {
                shared.add(name, folder.name());
            }
        }
        for (name, includers) in &before.includers {
            for includer in includers.iter().filter(|includer| !understood.contains(includer.as_os_str())) {
                shared.add(name, includer);
            }
        }
        shared
    }

    fn add(&mut self, name: &OsStr, includer: &OsStr) {
        self.includers.entry(name.to_owned()).or_default().insert(includer.to_owned());
    }

    /// Whose the folder with this name is, which has no settings. `wrong`: those whose settings cannot be understood.
    pub(super) fn owner(&self, name: &OsStr, wrong: &[&Arc<Described>]) -> Owner {
        if self.includers.contains_key(name) {
            return Owner::Others;
        }
        let unclear = wrong.iter().find(|folder| folder.may_include(name));
        unclear.map_or(Owner::Device, |folder| Owner::Unclear { settings: folder.settings_path() })
    }
}
