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

/// How often all of it is looked at all the same: the file systems of other machines tell of no change.
const LOOK: Duration = Duration::from_secs(60);

/// The folders, as somebody writes to them.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    marker: Arc<Marker>,
    /// Tells when another folder, or a link to one, is put in the root's place.
    _above: Option<RecommendedWatcher>,
    heard: Arc<Heard>,
    root: PathBuf,
    /// All below the root is watched: it is where that cannot be that each folder in it is watched for itself.
    is_whole: bool,
    /// Folders that are watched for themselves, and whether all below them is.
    others: BTreeMap<PathBuf, bool>,
    /// What it comes to.
    pub(super) rest: Rest,
    /// When all of the tree is looked at all the same.
    look_at: Instant,
    /// When something is looked at again.
    again_at: Option<Instant>,
    /// Until when the system may lose count because of the last look.
    calm_at: Instant,
    /// How long a look is nothing but the last one's echo.
    calm: Duration,
    /// How soon after a change it is looked at, at the soonest.
    soon: Duration,
}

impl Watch {
    /// Watches `root` and all below it, and whether it is still what is at `path`.
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
        // A folder that a link leads to is watched where it is, so that it is called what it is.
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(told, config)?;
        let is_whole = match watcher.watch(root, RecursiveMode::Recursive) {
            Ok(()) => true,
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => return Err(error),
            // Something below it is unreadable, which is no reason to keep none of it.
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

    /// Watches these places as well where nothing is told of them yet, and no longer those of before. Yields whether there
    /// are any that were not watched before.
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

    /// Whether the system tells of what is written in a place.
    pub(super) fn is_watched(&self, place: &Path) -> bool {
        let mut others = self.others.iter().filter(|(other, _)| place.starts_with(other));
        HEARS_CLOSING
            && ((self.is_whole && place.starts_with(&self.root)) || others.any(|(_, is_watched)| *is_watched))
    }

    /// Waits until all has been heard that the system had to tell when this was called, and yields whether it was. To be
    /// called from a thread that may block.
    pub(super) fn catch_up(&self) -> impl FnOnce() -> bool + Send + 'static {
        let marker = Arc::clone(&self.marker);
        move || marker.pass()
    }

    /// Takes what the system has told. Yields whether it has lost count.
    pub(super) fn hear(&mut self) -> bool {
        let now = Instant::now();
        let (told, is_lost) = self.heard.take();
        // It tells of reading too, and so of the look itself.
        let is_lost = is_lost && self.calm_at <= now;
        if is_lost {
            self.rest.lose();
            self.again(now + self.calm);
        }
        told.iter().for_each(|told| self.rest.hear(told, now));
        is_lost
    }

    /// Takes what the system has told until a look was over. Where that counts all the same, it is not followed by another
    /// one, which would be no better.
    pub(super) fn hear_after_look(&mut self) -> bool {
        let is_lost = self.hear();
        self.again_at = None;
        is_lost
    }

    /// Looks again by then.
    pub(super) fn again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |again_at| again_at.min(at)));
    }

    /// A look is over.
    pub(super) fn looked(&mut self) {
        self.calm_at = Instant::now() + self.calm;
    }

    /// Waits until something has changed and a folder is at rest again, or half-way there; or until it is time to look
    /// anyway. Cancel safe.
    pub(super) async fn settled(&mut self) {
        loop {
            self.hear();
            let times = [self.rest.next(), self.again_at].into_iter().flatten();
            let until = times.fold(self.look_at, Instant::min);
            let mut until = until;
            while until > Instant::now() && timeout_at(until, self.heard.is_new.notified()).await.is_ok() {
                self.hear();
                // Nothing that is heard is looked at sooner.
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
