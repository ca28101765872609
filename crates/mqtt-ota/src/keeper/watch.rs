mod heard;

use std::collections::BTreeSet;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::{Instant, timeout_at};

use self::heard::{Heard, above, is_hidden};
use super::checkout;
use super::touched::Touched;

/// How long a tree that never comes to rest is waited for.
const RESTLESS: Duration = Duration::from_secs(30);
/// How often all of it is looked at all the same: the file systems of other machines tell of no change.
const LOOK: Duration = Duration::from_secs(60);

/// The folders, as somebody writes to them.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Tells when another folder, or a link to one, is put in the root's place.
    _above: Option<RecommendedWatcher>,
    heard: Arc<Heard>,
    root: PathBuf,
    /// Folders outside the root.
    others: BTreeSet<PathBuf>,
    settle: Duration,
    /// When all of the tree is looked at all the same.
    look_at: Instant,
    /// When a change has come to rest, if nothing more is seen.
    rest_at: Option<Instant>,
    /// When it is looked at ahead of that, so that it is known by then what it came to.
    ahead_at: Option<Instant>,
    /// When it has gone on for too long; from its beginning until what it came to is seen.
    at_last: Option<Instant>,
    /// The system has told of it.
    is_told: bool,
    /// The tree does not come to rest, and is looked at as it is.
    is_restless: bool,
    /// When it was last asked, git was writing to it.
    is_git_at_work: bool,
    /// Until when the system may lose count because of the last look.
    calm_at: Instant,
}

/// What happened while the tree was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    None,
    /// The system had too much to tell of. It does so of reading too, and so of the look itself.
    Lost,
    /// Somebody has written: what was found may be half of it.
    Written,
}

impl Watch {
    /// Watches `root` and all below it, which is at rest when nothing has changed for `settle`; and whether it is still
    /// what is at `path`.
    pub(super) fn start(path: &Path, root: &Path, settle: Duration) -> Result<Self, notify::Error> {
        let heard = Arc::new(Heard::new());
        let (top, hears) = (root.to_owned(), Arc::clone(&heard));
        let mut watcher = notify::recommended_watcher(move |event| {
            hears.hear(|event| !is_hidden(&event.paths, &top), &event);
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        let above = above(path, Arc::clone(&heard)).inspect_err(
            |error| tracing::debug!(%error, "what is put in the folder's place is seen each minute"),
        );
        Ok(Self {
            watcher,
            _above: above.ok().flatten(),
            heard,
            root: root.to_owned(),
            others: BTreeSet::new(),
            settle,
            look_at: Instant::now() + LOOK,
            rest_at: None,
            ahead_at: None,
            at_last: None,
            is_told: false,
            is_restless: false,
            is_git_at_work: false,
            calm_at: Instant::now(),
        })
    }

    /// Watches these folders as well where they are outside the root, and no longer those of before.
    pub(super) fn follow<'a>(&mut self, places: impl Iterator<Item = &'a Path>) {
        let wanted: BTreeSet<_> =
            places.filter(|place| !place.starts_with(&self.root)).map(Path::to_owned).collect();
        for gone in self.others.difference(&wanted) {
            let _ = self.watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.others) {
            if let Err(error) = self.watcher.watch(new, RecursiveMode::Recursive) {
                tracing::warn!(path = %new.display(), %error, "a folder is not watched, but looked at each minute");
            }
        }
        self.others = wanted;
    }

    /// What may have changed since this was asked last.
    pub(super) fn touched(&mut self) -> Touched {
        self.heard.news().touched.take()
    }

    /// What happened since the tree was last at rest. Nothing where it does not come to rest. `newest`: the time of the
    /// last change that was found, as a write may have begun before it was watched.
    pub(super) fn disturbance(&mut self, newest: Option<SystemTime>) -> Disturbance {
        let is_new = newest.is_some_and(|newest| match newest.elapsed() {
            Ok(age) => age < self.settle,
            // A clock that is ahead says nothing, unless it is by little.
            Err(ahead) => ahead.duration() < self.settle,
        });
        let was_waiting = self.rest_at.is_some();
        let is_lost = self.hear();
        if self.is_restless {
            return Disturbance::None;
        }
        // So may a checkout have.
        let is_new = is_new || self.is_checked_out();
        match self.rest_at {
            Some(_) if was_waiting || !is_lost => Disturbance::Written,
            _ if is_new => {
                self.wait();
                Disturbance::Written
            }
            Some(_) => Disturbance::Lost,
            None => Disturbance::None,
        }
    }

    /// Whether what is found counts at once: the system has told of it, or it does not come to rest.
    pub(super) fn is_to_be_taken(&self) -> bool {
        self.is_told || self.is_restless
    }

    /// What was found counts: what changes from here on is another change. A look that the system has lost count of, and
    /// that counts all the same, is not followed by another one, which would be no better.
    pub(super) fn seen(&mut self, disturbance: Disturbance) {
        (self.at_last, self.is_told, self.is_restless) = (None, false, false);
        self.calm_at = Instant::now() + self.settle;
        if disturbance == Disturbance::Lost {
            self.rest_at = None;
        }
    }

    /// Of what may have changed until now, nothing is known.
    pub(super) fn doubt(&mut self) {
        self.heard.news().touched = Touched::All;
    }

    /// What was found does not count yet: all is looked at again, when it has been at rest from now on. To be found twice
    /// is worth little within a moment.
    pub(super) fn wait(&mut self) {
        self.doubt();
        self.changed();
    }

    /// Takes what the system has told. Yields whether there is only more that it did not tell.
    fn hear(&mut self) -> bool {
        let mut news = self.heard.news();
        let (is_change, is_lost) = (take(&mut news.is_change), take(&mut news.is_lost));
        drop(news);
        let is_lost = is_lost && self.calm_at <= Instant::now();
        if is_change || is_lost {
            self.is_told |= is_change;
            self.changed();
            self.ahead_at = is_change.then(|| Instant::now() + self.settle / 2);
        }
        is_lost && !is_change
    }

    fn changed(&mut self) {
        let now = Instant::now();
        self.rest_at = Some(now + self.settle);
        self.at_last.get_or_insert(now + RESTLESS);
    }

    /// Whether git is writing to it, which is said once.
    fn is_checked_out(&mut self) -> bool {
        let was_it = self.is_git_at_work;
        self.is_git_at_work =
            [&self.root].into_iter().chain(&self.others).any(|it| checkout::is_under_way(it));
        if self.is_git_at_work && !was_it {
            tracing::debug!(root = %self.root.display(), "git is at work on the folder, and is waited for");
        }
        self.is_git_at_work
    }

    /// Waits until something has changed and the tree is at rest again, or half-way there; or until it is time to look
    /// anyway. Cancel safe.
    pub(super) async fn settled(&mut self) {
        loop {
            let at_last = self.at_last;
            let until = self
                .rest_at
                .map_or(self.look_at, |rest_at| at_last.map_or(rest_at, |last| last.min(rest_at)));
            let ahead_at = self.ahead_at.filter(|ahead_at| *ahead_at < until);
            if timeout_at(ahead_at.unwrap_or(until), self.heard.is_new.notified()).await.is_ok() {
                self.hear();
                continue;
            }
            self.ahead_at = None;
            if ahead_at.is_some() {
                return;
            }
            let is_change = self.rest_at.take().is_some();
            let now = Instant::now();
            self.is_restless = is_change && at_last.is_some_and(|at_last| at_last <= now);
            // It is quiet only because git waits for something.
            if is_change && !self.is_restless && self.is_checked_out() {
                self.rest_at = Some(now + self.settle);
                continue;
            }
            if self.look_at <= now {
                self.look_at = now + LOOK;
                self.doubt();
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests;
