//! Folders that are for others to include, and so belong to no device.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::described::Described;

/// Inclusions between the folders in the root, by name.
///
/// A folder that has settings of its own is a device, even if others include it. A folder that has none is no device
/// while another folder includes it.
///
/// Settings that cannot be understood, or that are gone, take nothing back: a folder that they have included stays no
/// device until the settings are there and do not include it. Settings that cannot be understood may also include more.
/// Nothing is sent from a folder without settings that their text names, nor from any such folder if the text is too
/// long or is no text. A settings file that the system does not let be read holds back its own folder alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Included folders, each with the folders that include it.
    includers: BTreeMap<OsString, BTreeSet<OsString>>,
}

/// Owner of a folder without settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// Device of that name.
    Device,
    /// Other folders, which include it.
    Others,
    /// Unknown, because these settings cannot be understood and may include it.
    Unclear { settings: PathBuf },
}

impl Shared {
    /// Returns the inclusions of these folders, with those from `before` that were not taken back.
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

    /// Returns the owner of a folder without settings. `wrong`: the folders whose settings cannot be understood.
    pub(super) fn owner(&self, name: &OsStr, wrong: &[&Arc<Described>]) -> Owner {
        if self.includers.contains_key(name) {
            return Owner::Others;
        }
        let unclear = wrong.iter().find(|folder| folder.may_include(name));
        unclear.map_or(Owner::Device, |folder| Owner::Unclear { settings: folder.settings_path() })
    }
}
