use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Folders;
use crate::keeper::settings::SETTINGS_FILE;
use crate::keeper::touched::Touched;

/// Part of the tree that has to be read again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stale {
    All,
    /// Only the files in these places.
    Places(BTreeSet<PathBuf>),
}

impl Stale {
    /// Returns the places touched since `before`, and those that are `doubted`. A path that is in none of the places,
    /// or that may change which places there are, makes everything stale. Blocking.
    pub(super) fn of(root: &Path, before: &Folders, touched: &Touched, doubted: &BTreeSet<PathBuf>) -> Self {
        let Touched::Paths(paths) = touched else { return Self::All };
        let mut includes = BTreeSet::new();
        for include in before.described.iter().flat_map(|folder| &folder.includes) {
            let Ok(place) = include else { return Self::All };
            includes.insert(place);
        }
        if !doubted.iter().all(|place| before.lists.contains_key(place)) {
            return Self::All;
        }
        let mut stale = doubted.clone();
        for path in paths {
            // The system may report the path by a link that leads there.
            let (Some(Ok(folder)), Some(name)) = (path.parent().map(Path::canonicalize), path.file_name())
            else {
                return Self::All;
            };
            let path = folder.join(name);
            let has_place = name == SETTINGS_FILE || includes.iter().any(|place| place.starts_with(&path));
            let mut places = folder.ancestors().filter(|place| before.lists.contains_key(*place)).peekable();
            if folder == root || has_place || places.peek().is_none() {
                return Self::All;
            }
            stale.extend(places.map(Path::to_owned));
        }
        Self::Places(stale)
    }

    /// Returns true if anything is stale.
    pub(super) fn is_any(&self) -> bool {
        !matches!(self, Self::Places(places) if places.is_empty())
    }

    pub(super) fn has(&self, place: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Places(places) => places.contains(place),
        }
    }
}
