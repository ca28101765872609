use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::described::Described;
use super::list::{List, Listed};
use super::shared::{Owner, Shared};
use super::stale::Stale;
use super::{Before, FolderError, Folders};
use crate::keeper::settings::DeviceSettings;
use crate::keeper::touched::Touched;
use crate::wire::DeviceName;

/// How much of the files is kept in memory, in bytes.
const IN_MEMORY: u64 = 16 * 1024 * 1024;

/// A folder before its files are hashed.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Of two files with one name, the later one's counts. None is empty.
    pub(super) lists: Vec<Arc<List>>,
}

/// A device, what could be read of its settings, and its files.
type DeviceFound = (DeviceName, Option<Arc<DeviceSettings>>, Result<Found, Arc<FolderError>>);

/// One look at the tree.
pub(super) struct Looking {
    pub(super) found: Vec<DeviceFound>,
    pub(super) folders: Folders,
}

impl Looking {
    /// Looks at the tree, as far as it may have changed since `before`. Blocking.
    pub(super) fn at(root: &Path, before: &Before, touched: &Touched) -> Result<Self, FolderError> {
        let Before { last, counted } = before;
        let stale = Stale::of(root, last, touched);
        let described = match stale {
            Stale::All => describe(root)?,
            Stale::Places(_) => Arc::clone(&last.described),
        };
        let mut lists = Lists::new(&last.lists, stale);
        let shared = Shared::of(&described, &counted.shared);
        let wrong: Vec<_> = described.iter().filter(|folder| folder.settings.is_err()).collect();
        let (mut found, mut strays) = (Vec::new(), Vec::new());
        for folder in described.iter() {
            let path = &folder.path;
            lists.newest = lists.newest.max(folder.file.as_ref().and_then(|file| file.modified()));
            let owner = match folder.is_without_settings() {
                true => shared.owner(folder.name(), &wrong),
                false => Owner::Device,
            };
            if owner == Owner::Others {
                continue;
            }
            let device = match folder.name().to_string_lossy().parse() {
                Ok(device) => device,
                Err(source) => {
                    strays.push(Arc::new(FolderError::Name { path: path.clone(), source }));
                    continue;
                }
            };
            let settings = folder.settings.clone().map(Option::unwrap_or_default);
            let looked = match (&settings, owner) {
                (_, Owner::Unclear { settings }) => {
                    Err(Arc::new(FolderError::Unclear { path: path.clone(), settings }))
                }
                (Err(error), _) => Err(Arc::clone(error)),
                (Ok(_), _) => lists.of(folder),
            };
            found.push((device, settings.ok(), looked));
        }
        let Lists { lists, newest, .. } = lists;
        let is_sure = |listed: &Listed| listed.as_ref().is_ok_and(|list| !list.has_links);
        let is_unsure = !lists.values().all(is_sure)
            || described.iter().flat_map(|folder| &folder.includes).any(Result::is_err);
        let folders = Folders { described, lists, newest, strays, shared, is_unsure, ..Folders::default() };
        Ok(Self { found, folders })
    }
}

/// The folders in the root, in the order of their names.
fn describe(root: &Path) -> Result<Arc<[Described]>, FolderError> {
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
    Ok(paths.into_iter().map(Described::read).collect())
}

/// What is found in the places.
struct Lists<'a> {
    before: &'a HashMap<PathBuf, Listed>,
    stale: Stale,
    lists: HashMap<PathBuf, Listed>,
    in_memory: u64,
    newest: Option<SystemTime>,
}

impl<'a> Lists<'a> {
    fn new(before: &'a HashMap<PathBuf, Listed>, stale: Stale) -> Self {
        let mut lists =
            Self { before, stale, lists: HashMap::with_capacity(before.len()), in_memory: 0, newest: None };
        lists.in_memory =
            before.keys().filter_map(|place| lists.kept(place)).map(|list| list.in_memory).sum();
        lists
    }

    /// The files of one device: those that its folder includes, and its own.
    fn of(&mut self, folder: &Described) -> Result<Found, Arc<FolderError>> {
        let mut lists = Vec::with_capacity(folder.includes.len() + 1);
        for place in &folder.includes {
            lists.push(self.list(place.as_ref().map_err(Arc::clone)?)?);
        }
        lists.push(self.list(&folder.path)?);
        lists.retain(|list| !list.files.is_empty());
        Ok(Found { path: folder.path.clone(), lists })
    }

    fn list(&mut self, place: &Path) -> Listed {
        if let Some(listed) = self.lists.get(place) {
            return listed.clone();
        }
        let listed = match self.kept(place) {
            Some(kept) => Ok(Arc::clone(kept)),
            None => self.read(place).map(Arc::new).map_err(Arc::new),
        };
        self.lists.insert(place.to_owned(), listed.clone());
        listed
    }

    fn read(&mut self, place: &Path) -> Result<List, FolderError> {
        let room = IN_MEMORY.saturating_sub(self.in_memory);
        let known = self.before.get(place).and_then(|known| known.as_deref().ok());
        let list = List::read(place, known, room)?;
        self.in_memory += list.in_memory;
        self.newest = self.newest.max(list.newest);
        Ok(list)
    }

    /// What was found in a place before, where it is so still.
    fn kept(&self, place: &Path) -> Option<&'a Arc<List>> {
        let known = self.before.get(place)?.as_ref().ok()?;
        (!known.has_links && !self.stale.has(place)).then_some(known)
    }
}
