//! Scans of the folders: when they are made, and what of them counts.

mod holds;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use self::holds::Holds;
use super::error::KeeperError;
use super::folders::{Before, FolderError, Folders, Looked, Suspects};
use super::rest::{Quiet, Verdict};
use super::root::Root;
use super::touched::Touched;
use super::watch::Watch;
use crate::wire::Algorithm;

/// Scanner of the folders.
pub(super) struct Lookout {
    /// Path as it was given, made absolute.
    path: PathBuf,
    /// Folder that was found there.
    root: Arc<Root>,
    watch: Watch,
    quiet: Quiet,
    /// Scan in the background, so that a device that wakes meanwhile does not wait for it.
    looking: JoinSet<Result<Found, FolderError>>,
    /// Start of the scan.
    began: Instant,
    is_to_look_again: bool,
    /// Folders that counted last.
    known: Option<Arc<Folders>>,
    /// Folders that were found last.
    found: Option<Arc<Folders>>,
    /// First finding in each place where the system has not reported the change, with its time.
    once: HashMap<PathBuf, (Instant, Option<Looked>)>,
    /// Places that do not count, and since when.
    holds: Holds,
}

/// Result of a scan.
#[derive(Debug)]
struct Found {
    root: Root,
    folders: Arc<Folders>,
    /// True if everything that the system had reported by the end of the scan has been heard.
    is_all: bool,
}

/// Step of a [`Lookout`].
#[derive(Debug)]
pub(super) enum Sight {
    /// Time to scan.
    Due,
    /// Files that the devices are to have.
    Clear(Arc<Folders>),
    /// Nothing new that counts yet.
    Blurred,
    /// Error that prevents a scan. Everything known before stays known.
    Unreadable(KeeperError),
}

impl Lookout {
    /// Reserves the folder at `path` for this keeper and watches it from now on. Files written there have come to rest
    /// when nothing has changed for the time in `quiet`.
    pub(super) fn start(path: &Path, quiet: Quiet) -> Result<Self, KeeperError> {
        let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
        let root = Root::at(path).map_err(unreadable)?;
        root.lock()?;
        Ok(Self {
            path: path.to_owned(),
            watch: watch(path, &root, quiet)?,
            root: Arc::new(root),
            quiet,
            looking: JoinSet::new(),
            began: Instant::now(),
            is_to_look_again: false,
            known: None,
            found: None,
            once: HashMap::new(),
            holds: Holds::default(),
        })
    }

    /// Returns the path of the folders, as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a scan, or repeats it after the one under way. Of two scans at once, the older one might count in the
    /// end.
    pub(super) fn look(&mut self, algorithms: &BTreeSet<Algorithm>) {
        self.is_to_look_again = !self.looking.is_empty();
        if self.is_to_look_again {
            return;
        }
        let now = Instant::now();
        self.began = now;
        let counted = self.known.clone().unwrap_or_default();
        let last = self.found.clone().unwrap_or_else(|| Arc::clone(&counted));
        let suspects = Suspects {
            unclosed: self.watch.rest.unclosed(now),
            settings: self.watch.rest.settings(now),
            doubted: self.holds.doubted().chain(self.once.keys()).cloned().collect(),
        };
        let (path, before, algorithms) = (self.path.clone(), Before { last, counted }, algorithms.clone());
        let (root_before, touched) = (Arc::clone(&self.root), self.watch.rest.looking(now));
        let catch_up = self.watch.catch_up();
        self.looking.spawn(async move {
            let root = found(&path).await.map_err(|source| FolderError::Unreadable { path, source })?;
            let touched = if root.is(&root_before) { touched } else { Touched::All };
            let folders = match before.last.is_still(&algorithms, &touched) && suspects.doubted.is_empty() {
                true => before.last,
                false => Arc::new(Folders::scan(root.path(), before, algorithms, touched, suspects).await?),
            };
            // A file that was read while it was written may seem to have contents that it never had. Reports of such
            // writes have to be heard before the scan is weighed.
            let is_all = spawn_blocking(catch_up).await.unwrap_or(false);
            Ok(Found { root, folders, is_all })
        });
    }

    /// Waits for the next step. While a scan is under way, that is its result. Cancel safe.
    pub(super) async fn next(&mut self) -> Sight {
        if self.looking.is_empty() {
            if !take(&mut self.is_to_look_again) {
                self.watch.settled().await;
            }
            return Sight::Due;
        }
        match self.looking.join_next().await {
            Some(Ok(looked)) => self.weigh(looked),
            _ => {
                self.watch.rest.doubt();
                self.watch.again(Instant::now() + self.quiet.more);
                Sight::Blurred
            }
        }
    }

    /// Returns the places that have been held for so long that it was logged, and the reasons. `None` where nothing has
    /// changed since the last call.
    pub(super) fn take_held(&mut self) -> Option<HashMap<PathBuf, Arc<FolderError>>> {
        self.holds.take_said()
    }

    /// Works out what of a scan counts. A place does not count while it moves, while somebody has a file in it open, or
    /// while git is at work on it. A change that the system has not reported has to be found twice, because file
    /// systems of other machines report nothing.
    fn weigh(&mut self, looked: Result<Found, FolderError>) -> Sight {
        let is_lost = self.watch.hear_after_look();
        let now = Instant::now();
        let Found { root, folders, is_all } = match looked {
            Err(error) => {
                self.watch.rest.doubt();
                self.watch.again(now + self.quiet.more);
                let is_moving = self.watch.rest.is_moving(self.began, now);
                self.watch.looked();
                self.watch.rest.seen(self.began, now);
                return if is_moving { Sight::Blurred } else { Sight::Unreadable(error.into()) };
            }
            Ok(found) => found,
        };
        let is_other = !root.is(&self.root);
        if is_other && let Err(error) = self.follow(root) {
            return Sight::Unreadable(error);
        }
        self.watch.rest.sorted(&folders.unsent, &folders.gone);
        for path in &folders.frozen {
            self.watch.rest.touch(path.clone());
        }
        let held = self.held(&folders, is_other || is_lost || !is_all, now);
        let mut all = folders.holds.clone();
        for (place, why) in &held.places {
            all.entry(place.clone()).or_insert_with(|| Arc::clone(why));
        }
        let next = self.holds.update(&all, self.quiet, now);
        next.into_iter().for_each(|at| self.watch.again(at));
        if !self.once.is_empty() {
            self.watch.again(now + self.quiet.more);
        }
        self.watch.looked();
        self.found = Some(Arc::clone(&folders));
        let known = self.known.clone().unwrap_or_default();
        if held.is_structural || (self.known.is_some() && !held.is_news && !all.is_empty()) {
            return Sight::Blurred;
        }
        self.watch.rest.seen(self.began, now);
        let counted = match all.is_empty() {
            true => folders,
            false => Arc::new(folders.without(&all, &known)),
        };
        if self.watch.follow(counted.real_places()) {
            // A place that is watched only from now on may have changed since the scan.
            self.watch.rest.doubt();
            self.watch.again(now + self.quiet.more);
        }
        self.known = Some(Arc::clone(&counted));
        Sight::Clear(counted)
    }

    /// Finds the places of a scan that do not count, beyond those that the scan itself holds back.
    fn held(&mut self, folders: &Folders, is_lost: bool, now: Instant) -> Weighed {
        let mut held = Weighed::default();
        let is_first = self.known.is_none();
        let before = self.known.clone().unwrap_or_default();
        let mut once = take(&mut self.once);
        for (place, is_settings, looked) in folders.against(&before) {
            let place = place.as_ref();
            if folders.holds.contains_key(place) {
                continue;
            }
            let real = looked.as_ref().and_then(Looked::real).unwrap_or(place);
            let is_sure = match self.watch.rest.verdict(place, real, self.began, now) {
                Verdict::Moving => false,
                Verdict::Still if self.watch.is_watched(real) && !is_lost => true,
                _ if is_first
                    && !is_lost
                    && looked.as_ref().is_some_and(|it| {
                        it.is_old(self.quiet.more + now.saturating_duration_since(self.began))
                    }) =>
                {
                    true
                }
                _ => {
                    let is_same = |(at, before): &(Instant, Option<Looked>)| {
                        self.began.saturating_duration_since(*at) >= self.quiet.more
                            && Looked::are_like(before, &looked)
                    };
                    let before = once.remove(place);
                    if before.as_ref().is_some_and(is_same) {
                        true
                    } else {
                        let since = before.filter(|(_, before)| Looked::are_like(before, &looked));
                        let since = since.map_or(now, |(at, _)| at);
                        self.once.insert(place.to_owned(), (since, looked.clone()));
                        false
                    }
                }
            };
            if is_sure {
                held.is_news = true;
            } else {
                held.is_structural |= is_settings;
                let why = FolderError::Unsteady { path: place.to_owned() };
                held.places.insert(place.to_owned(), Arc::new(why));
            }
        }
        held.is_news |= is_first;
        held
    }

    /// Keeps this folder from now on, which has taken the place of the one before.
    fn follow(&mut self, root: Root) -> Result<(), KeeperError> {
        root.lock()?;
        self.watch = watch(&self.path, &root, self.quiet)?;
        self.watch.again(Instant::now() + self.quiet.more);
        tracing::info!(path = %self.path.display(), root = %root.path().display(), "another folder is in its place");
        self.root = Arc::new(root);
        Ok(())
    }
}

/// Places of a scan that do not count.
#[derive(Debug, Default)]
struct Weighed {
    places: HashMap<PathBuf, Arc<FolderError>>,
    /// True if settings are among them, which decide whose a folder is.
    is_structural: bool,
    /// True if something new does count.
    is_news: bool,
}

fn watch(path: &Path, root: &Root, quiet: Quiet) -> Result<Watch, KeeperError> {
    let failed = |source| KeeperError::Watch { path: root.path().to_owned(), source };
    Watch::start(path, root.path(), quiet).map_err(failed)
}

/// Opens the folder that is at this path now.
async fn found(path: &Path) -> io::Result<Root> {
    let path = path.to_owned();
    spawn_blocking(move || Root::at(&path)).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
