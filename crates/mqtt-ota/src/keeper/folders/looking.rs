use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::described::Described;
use super::list::{List, Listed};
use super::shared::{Owner, Shared};
use super::stale::Stale;
use super::suspects::{Open, Suspects, identity};
use super::{Before, FolderError, Folders};
use crate::check::is_no_devices;
use crate::keeper::checkout::{Checkout, Checkouts};
use crate::keeper::settings::{DeviceSettings, SETTINGS_FILE};
use crate::keeper::touched::Touched;
use crate::set::IGNORE_FILE;
use crate::wire::DeviceName;

/// Limit of the file contents that are kept in memory, in bytes.
const IN_MEMORY: u64 = 16 * 1024 * 1024;

/// Folder before its files are hashed.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Lists of files, none of them empty. Of two files with one name, the one in the later list counts.
    pub(super) lists: Vec<Arc<List>>,
}

/// Device, with its settings as far as they could be read, the places of its files, and the files.
type DeviceFound = (DeviceName, Option<Arc<DeviceSettings>>, Vec<PathBuf>, Result<Found, Arc<FolderError>>);

/// Single scan of the tree.
pub(super) struct Looking {
    pub(super) found: Vec<DeviceFound>,
    pub(super) folders: Folders,
}

impl Looking {
    /// Scans the tree, as far as it may have changed since `before`. Blocking.
    pub(super) fn at(
        root: &Path,
        before: &Before,
        touched: &Touched,
        suspects: &Suspects,
    ) -> Result<Self, FolderError> {
        let Before { last, counted } = before;
        let stale = Stale::of(root, last, touched, &suspects.doubted);
        // Files that are opened from here on are reported by the system.
        let open = Open::of(suspects, stale.is_any());
        let (described, frozen) = match stale {
            Stale::All => describe(root, counted, suspects, &open)?,
            Stale::Places(_) => (Arc::clone(&last.described), last.frozen.clone()),
        };
        let checkouts = Arc::clone(&last.checkouts);
        let mut lists = Lists::new(&last.lists, stale, &open, &checkouts);
        let shared = Shared::of(&described, &counted.shared);
        let wrong: Vec<_> = described.iter().filter(|folder| folder.settings.is_err()).collect();
        let (mut found, mut strays) = (Vec::new(), Vec::new());
        for folder in described.iter() {
            let path = &folder.path;
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
            let places = folder.includes.iter().flatten().chain([path]).cloned().collect();
            found.push((device, settings.ok(), places, looked));
        }
        let unsent = lists.unsent(touched, suspects, &open);
        let (lists, holds) = lists.into_found();
        let is_sure = |listed: &Listed| listed.as_ref().is_ok_and(|list| !list.has_links);
        let is_unsure = !lists.values().all(is_sure)
            || described.iter().flat_map(|folder| &folder.includes).any(Result::is_err);
        let folders = Folders {
            described,
            lists,
            strays,
            shared,
            is_unsure,
            holds,
            unsent,
            gone: open.gone.clone(),
            frozen,
            checkouts,
            ..Folders::default()
        };
        Ok(Self { found, folders })
    }
}

/// Folders in the root, and the settings files that were not read.
type Settings = (Arc<[Arc<Described>]>, BTreeSet<PathBuf>);

/// Reads the folders in the root, in the order of their names. Settings that are being written are taken as they
/// counted before, and their files are returned as well.
fn describe(
    root: &Path,
    counted: &Folders,
    suspects: &Suspects,
    open: &Open,
) -> Result<Settings, FolderError> {
    let unreadable = |source| FolderError::Unreadable { path: root.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A link to a folder counts as a folder here, so that the folder of a device can be elsewhere.
        if !is_no_devices(&entry.file_name()) && entry.path().is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut frozen = BTreeSet::new();
    let mut described = Vec::with_capacity(paths.len());
    for path in paths {
        let settings = path.join(SETTINGS_FILE);
        let file = settings.metadata().ok().and_then(|metadata| identity(&metadata));
        if suspects.settings.contains(&settings) || open.hold(&settings, file).is_some() {
            let known = counted.described.binary_search_by(|known| known.path.cmp(&path)).ok();
            let known = known.and_then(|index| counted.described.get(index)).cloned();
            described.push(known.unwrap_or_else(|| Arc::new(Described::unfinished(path))));
            frozen.insert(settings);
        } else {
            described.push(Arc::new(Described::read(path)));
        }
    }
    Ok((described.into(), frozen))
}

/// Files found in the places.
struct Lists<'a> {
    before: &'a HashMap<PathBuf, Listed>,
    stale: Stale,
    open: &'a Open,
    checkouts: MutexGuard<'a, Checkouts>,
    /// Reasons why checkouts do not count. `None`: the checkout counts.
    states: HashMap<Checkout, Option<Arc<FolderError>>>,
    lists: HashMap<PathBuf, Listed>,
    holds: HashMap<PathBuf, Arc<FolderError>>,
    in_memory: u64,
}

impl<'a> Lists<'a> {
    fn new(
        before: &'a HashMap<PathBuf, Listed>,
        stale: Stale,
        open: &'a Open,
        checkouts: &'a Mutex<Checkouts>,
    ) -> Self {
        let mut lists = Self {
            before,
            stale,
            open,
            checkouts: checkouts.lock().unwrap_or_else(PoisonError::into_inner),
            states: HashMap::new(),
            lists: HashMap::with_capacity(before.len()),
            holds: HashMap::new(),
            in_memory: 0,
        };
        lists.in_memory =
            before.keys().filter_map(|place| lists.kept(place)).map(|list| list.in_memory).sum();
        lists
    }

    fn into_found(self) -> (HashMap<PathBuf, Listed>, HashMap<PathBuf, Arc<FolderError>>) {
        (self.lists, self.holds)
    }

    /// Returns the files of one device: those that its folder includes, and its own.
    fn of(&mut self, folder: &Described) -> Result<Found, Arc<FolderError>> {
        let mut lists = Vec::with_capacity(folder.includes.len() + 1);
        for place in &folder.includes {
            let place = place.as_ref().map_err(Arc::clone)?;
            let list = self.list(place)?;
            if list.files.is_empty() {
                return Err(Arc::new(FolderError::EmptyInclude { path: place.clone() }));
            }
            lists.push(list);
        }
        lists.push(self.list(&folder.path)?);
        let places = folder.includes.iter().flatten().chain([&folder.path]);
        if let Some(why) = places.filter_map(|place| self.holds.get(place)).next() {
            return Err(Arc::clone(why));
        }
        lists.retain(|list| !list.files.is_empty());
        Ok(Found { path: folder.path.clone(), lists })
    }

    /// Returns why a place is held back, if it is.
    fn hold(&mut self, place: &Path, list: &List) -> Option<Arc<FolderError>> {
        for checkout in &list.checkouts {
            let checkouts = &mut self.checkouts;
            let state = self.states.entry(checkout.clone()).or_insert_with(|| {
                checkouts.unfinished(checkout).map(|why| Arc::new(FolderError::of(checkout, &why)))
            });
            if let Some(why) = state {
                return Some(Arc::clone(why));
            }
            if let Some(why) = checkouts.missing(checkout, &list.real) {
                return Some(Arc::new(FolderError::of(checkout, &why)));
            }
        }
        let open = list
            .files
            .iter()
            .find_map(|(name, file)| self.open.hold(&place.join(name.as_str()), file.identity()));
        open.or_else(|| self.open.hold_in(&list.real)).map(Arc::new)
    }

    /// Returns the files that were reported, exist, and are not sent.
    fn unsent(&self, touched: &Touched, suspects: &Suspects, open: &Open) -> BTreeSet<PathBuf> {
        let touched: Vec<_> = match touched {
            Touched::Paths(paths) => paths.iter().collect(),
            Touched::All => Vec::new(),
        };
        let heard = touched.into_iter().chain(suspects.unclosed.iter().map(|(path, _)| path));
        let lists: Vec<_> = self.lists.values().flatten().collect();
        let is_sent = |path: &Path| {
            path.file_name().is_some_and(|name| name == SETTINGS_FILE || name == IGNORE_FILE)
                || lists.iter().any(|list| list.has(path))
        };
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        let unsent = heard.filter(|path| is_file(path) && !open.is_temporary(path) && !is_sent(path));
        unsent.cloned().collect()
    }

    fn list(&mut self, place: &Path) -> Listed {
        if let Some(listed) = self.lists.get(place) {
            return listed.clone();
        }
        let listed = match self.kept(place) {
            Some(kept) => Ok(Arc::clone(kept)),
            None => self.read(place).map(Arc::new).map_err(Arc::new),
        };
        if let Ok(list) = &listed
            && let Some(why) = self.hold(place, list)
        {
            self.holds.insert(place.to_owned(), why);
        }
        self.lists.insert(place.to_owned(), listed.clone());
        listed
    }

    fn read(&mut self, place: &Path) -> Result<List, FolderError> {
        let room = IN_MEMORY.saturating_sub(self.in_memory);
        let known = self.before.get(place).and_then(|known| known.as_deref().ok());
        let list = List::read(place, known, room)?;
        self.in_memory += list.in_memory;
        Ok(list)
    }

    /// Returns the earlier list of a place, where it is still valid.
    fn kept(&self, place: &Path) -> Option<&'a Arc<List>> {
        let known = self.before.get(place)?.as_ref().ok()?;
        (!known.has_links && !self.stale.has(place)).then_some(known)
    }
}
