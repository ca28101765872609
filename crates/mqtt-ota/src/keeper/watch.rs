mod heard;
mod marker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::{Instant, timeout_at};

pub(super) use self::heard::HEARS_CLOSING;
use self::heard::{Heard, above, is_hidden};
use self::marker::Marker;
use super::rest::{Quiet, Rest};

/// Interval at which everything is scanned in any case: the file systems of other machines report no change.
const LOOK: Duration = Duration::from_secs(60);

/// Watch over the folders, for what is written there.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    marker: Arc<Marker>,
    /// Watcher that reports when another folder, or a link to one, takes the root's place.
    _above: Option<RecommendedWatcher>,
    heard: Arc<Heard>,
    root: PathBuf,
    /// True if everything below the root is watched. Otherwise each folder in it is watched by itself.
    is_whole: bool,
    /// Folders to be watched by themselves, and whether everything below them is watched.
    others: BTreeMap<PathBuf, bool>,
    /// State of what was heard.
    pub(super) rest: Rest,
    /// Time of the next scan of the whole tree.
    look_at: Instant,
    /// Time at which to scan again.
    again_at: Option<Instant>,
    /// Time until which lost events may be due to the last scan.
    calm_at: Instant,
    /// Time after a scan for which lost events are only its echo.
    calm: Duration,
    /// Shortest time from a change to its scan.
    soon: Duration,
}

impl Watch {
    /// Begins to watch `root` and everything below it, and whether it is still the folder at `path`.
    pub(super) fn start(path: &Path, root: &Path, quiet: Quiet) -> Result<Self, notify::Error> {
        let heard = Arc::new(Heard::default());
        let (top, hears, marker) = (root.to_owned(), Arc::clone(&heard), Arc::new(Marker::new()));
        let marks = Arc::clone(&marker);
        let told = move |event: notify::Result<Event>| match &event {
            Ok(told) if told.paths.first().is_some_and(|path| marks.path() == Some(path)) => {
                if told.kind.is_modify() {
                    marks.heard();
                }
            }
            event => hears.hear(|event| !is_hidden(&event.paths, &top), event),
        };
        // A folder behind a link is watched by its real path, so that events have that path.
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(told, config)?;
        let is_whole = match watcher.watch(root, RecursiveMode::Recursive) {
            Ok(()) => true,
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => return Err(error),
            // Something below the root is unreadable, which is no reason to watch none of it.
            Err(error) => {
                let _ = watcher.unwatch(root);
                tracing::debug!(%error, "the folders are watched one by one");
                watcher.watch(root, RecursiveMode::NonRecursive).map_err(|_| error)?;
                false
            }
        };
        if let Some(path) = marker.path() {
            watcher.watch(path, RecursiveMode::NonRecursive)?;
        }
        let above = above(path, Arc::clone(&heard)).inspect_err(
            |error| tracing::debug!(%error, "what is put in the folder's place is seen each minute"),
        );
        Ok(Self {
            watcher,
            marker,
            _above: above.ok().flatten(),
            heard,
            root: root.to_owned(),
            is_whole,
            others: BTreeMap::new(),
            rest: Rest::of(root.to_owned(), quiet),
            look_at: Instant::now() + LOOK,
            again_at: None,
            calm_at: Instant::now(),
            calm: quiet.more,
            soon: quiet.one / 2,
        })
    }

    /// Watches these places too, where the system reports nothing of them yet, and stops watching the others. Returns
    /// true if a place is newly watched.
    pub(super) fn follow<'a>(&mut self, places: impl Iterator<Item = &'a Path> + Clone) -> bool {
        let is_other = |place: &&Path| !self.is_whole || !place.starts_with(&self.root);
        let wanted: BTreeSet<_> = places.clone().filter(is_other).map(Path::to_owned).collect();
        let watcher = &mut self.watcher;
        let gone: Vec<_> = self.others.keys().filter(|place| !wanted.contains(*place)).cloned().collect();
        for gone in gone {
            let _ = watcher.unwatch(&gone);
            self.others.remove(&gone);
        }
        let mut has_new = false;
        for new in wanted {
            if self.others.get(&new).is_some_and(|is_watched| *is_watched) {
                continue;
            }
            let watched = watcher.watch(&new, RecursiveMode::Recursive);
            let is_known = self.others.insert(new.clone(), watched.is_ok()).is_some();
            match watched {
                Ok(()) => has_new = true,
                Err(error) if !is_known => {
                    tracing::warn!(path = %new.display(), %error, "a folder is not watched, but looked at each minute");
                }
                Err(_) => {}
            }
        }
        let root = self.root.clone();
        self.rest.follow(self.others.keys(), places.filter(move |place| place.starts_with(&root)));
        has_new
    }

    /// Returns true if the system reports what is written in a place.
    pub(super) fn is_watched(&self, place: &Path) -> bool {
        let mut others = self.others.iter().filter(|(other, _)| place.starts_with(other));
        HEARS_CLOSING
            && ((self.is_whole && place.starts_with(&self.root)) || others.any(|(_, is_watched)| *is_watched))
    }

    /// Returns a function that waits until everything that the system had to report at its call has been heard. The
    /// function returns whether that succeeded, and is to be called from a thread that may block.
    pub(super) fn catch_up(&self) -> impl FnOnce() -> bool + Send + 'static {
        let marker = Arc::clone(&self.marker);
        move || marker.pass()
    }

    /// Takes the events that the system has reported. Returns true if some were lost.
    pub(super) fn hear(&mut self) -> bool {
        let now = Instant::now();
        let (told, is_lost) = self.heard.take();
        // The system reports reading too, and so the scan itself.
        let is_lost = is_lost && self.calm_at <= now;
        if is_lost {
            self.rest.lose();
            self.again(now + self.calm);
        }
        told.iter().for_each(|told| self.rest.hear(told, now));
        is_lost
    }

    /// Takes the events reported until the end of a scan. No scan follows because of them if this one counts all the
    /// same: the next one would be no better.
    pub(super) fn hear_after_look(&mut self) -> bool {
        let is_lost = self.hear();
        self.again_at = None;
        is_lost
    }

    /// Schedules a scan for this time, unless an earlier one is scheduled.
    pub(super) fn again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |again_at| again_at.min(at)));
    }

    /// Takes note that a scan is over.
    pub(super) fn looked(&mut self) {
        self.calm_at = Instant::now() + self.calm;
    }

    /// Waits until something has changed and a folder is at rest again, or half-way there, or until it is time to scan
    /// anyway. Cancel safe.
    pub(super) async fn settled(&mut self) {
        loop {
            self.hear();
            let times = [self.rest.next(), self.again_at].into_iter().flatten();
            let until = times.fold(self.look_at, Instant::min);
            let mut until = until;
            while until > Instant::now() && timeout_at(until, self.heard.is_new.notified()).await.is_ok() {
                self.hear();
                // A scan follows an event no sooner than this.
                until = until.min(Instant::now() + self.soon);
            }
            let now = Instant::now();
            if self.rest.next().is_some_and(|next| next <= now) {
                return;
            }
            if self.again_at.take_if(|at| *at <= now).is_some() {
                return;
            }
            if self.look_at <= now {
                self.look_at = now + LOOK;
                self.rest.doubt();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
