use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Folders;
use super::list::{List, Listed};
use crate::payload::Payload;

/// What a look has found in a place, or in a folder's settings.
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

    /// Where a place really is.
    pub(in crate::keeper) fn real(&self) -> Option<&Path> {
        match self {
            Self::Files(list) => Some(&list.real),
            Self::Bad | Self::Settings(_) => None,
        }
    }

    /// Whether it was last changed so long ago.
    pub(in crate::keeper) fn is_old(&self, than: Duration) -> bool {
        let newest = match self {
            Self::Files(list) => list.newest,
            Self::Bad => None,
            Self::Settings(file) => file.modified(),
        };
        newest.is_none_or(|newest| match newest.elapsed() {
            Ok(age) => age >= than,
            // A clock that is ahead says nothing, unless it is by little.
            Err(ahead) => ahead.duration() >= than,
        })
    }

    /// Whether two looks have found the same.
    pub(in crate::keeper) fn are_like(one: &Option<Self>, other: &Option<Self>) -> bool {
        match (one, other) {
            (Some(Self::Files(list)), Some(Self::Files(other))) => list.is_like(other),
            (Some(Self::Bad), Some(Self::Bad)) | (None, None) => true,
            (Some(Self::Settings(file)), Some(Self::Settings(other))) => file.is_of_same_time(other),
            _ => false,
        }
    }
}

/// What is other than it was: in which place, whether that is a file with settings, and what is there now.
pub(in crate::keeper) type Difference<'a> = (std::borrow::Cow<'a, Path>, bool, Option<Looked>);

impl Folders {
    /// What is other than it was `before`.
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
