use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Folders;
use super::list::{List, Listed};
use crate::payload::Payload;

/// Contents of a place, or a folder's settings, as a scan has found them.
#[derive(Debug, Clone)]
pub(in crate::keeper) enum Looked {
    Files(Arc<List>),
    Bad,
    Settings(Payload),
}

impl Looked {
    fn of(listed: &Listed) -> Self {
        match listed {
            Ok(list) => Self::Files(Arc::clone(list)),
            Err(_) => Self::Bad,
        }
    }

    /// Returns the real path of a place.
    pub(in crate::keeper) fn real(&self) -> Option<&Path> {
        match self {
            Self::Files(list) => Some(&list.real),
            Self::Bad | Self::Settings(_) => None,
        }
    }

    /// Returns true if the last change is at least this long ago, or its time is not known.
    pub(in crate::keeper) fn is_old(&self, than: Duration) -> bool {
        let newest = match self {
            Self::Files(list) => list.newest,
            Self::Bad => None,
            Self::Settings(file) => file.modified(),
        };
        newest.is_none_or(|newest| match newest.elapsed() {
            Ok(age) => age >= than,
            // A time in the future says nothing, unless it is only a little ahead.
            Err(ahead) => ahead.duration() >= than,
        })
    }

    /// Returns true if two scans have found the same.
    pub(in crate::keeper) fn are_like(one: &Option<Self>, other: &Option<Self>) -> bool {
        match (one, other) {
            (Some(Self::Files(list)), Some(Self::Files(other))) => list.is_like(other),
            (Some(Self::Bad), Some(Self::Bad)) | (None, None) => true,
            (Some(Self::Settings(file)), Some(Self::Settings(other))) => file.is_of_same_time(other),
            _ => false,
        }
    }
}

/// Difference between two scans: the place, whether it is a settings file, and what is there now.
pub(in crate::keeper) type Difference<'a> = (std::borrow::Cow<'a, Path>, bool, Option<Looked>);

impl Folders {
    /// Returns the differences from the folders as they were `before`.
    pub(in crate::keeper) fn against<'a>(&'a self, before: &'a Self) -> Vec<Difference<'a>> {
        let mut differences: Vec<Difference<'a>> = Vec::new();
        for (place, listed) in &self.lists {
            let is_like = match (listed, before.lists.get(place)) {
                (Ok(list), Some(Ok(other))) => Arc::ptr_eq(list, other) || list.is_like(other),
                (Err(_), Some(Err(_))) => true,
                _ => false,
            };
            if !is_like {
                differences.push((place.as_path().into(), false, Some(Looked::of(listed))));
            }
        }
        let gone = before.lists.keys().filter(|place| !self.lists.contains_key(*place));
        differences.extend(gone.map(|place| (place.as_path().into(), false, None)));
        if !Arc::ptr_eq(&self.described, &before.described) {
            let settings = |folders: &Self| {
                let described = folders.described.iter();
                let files =
                    described.filter_map(|folder| Some((folder.settings_path(), folder.file.clone()?)));
                files.collect::<std::collections::BTreeMap<_, _>>()
            };
            let (now, before) = (settings(self), settings(before));
            let gone = before.keys().filter(|path| !now.contains_key(*path));
            differences.extend(gone.map(|path| (path.clone().into(), true, None)));
            for (path, file) in now {
                if !before.get(&path).is_some_and(|before| before.is_of_same_time(&file)) {
                    differences.push((path.into(), true, Some(Looked::Settings(file))));
                }
            }
        }
        differences
    }
}
