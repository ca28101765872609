use std::collections::BTreeSet;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

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

/// What the system tells.
#[derive(Debug)]
struct Heard {
    news: Mutex<News>,
    is_new: Notify,
}

#[derive(Debug)]
struct News {
    touched: Touched,
    is_change: bool,
    /// There is more that it did not tell.
    is_lost: bool,
}

impl Heard {
    fn hear(&self, is_ours: impl Fn(&Event) -> bool, event: &notify::Result<Event>) {
        let mut news = self.news();
        match event {
            Ok(event) if event.need_rescan() => (news.touched, news.is_lost) = (Touched::All, true),
            Ok(event) if is_reading(event.kind) || !is_ours(event) => return,
            Ok(event) if event.paths.is_empty() => (news.touched, news.is_change) = (Touched::All, true),
            Ok(event) => {
                news.touched.add(&event.paths);
                news.is_change = true;
            }
            // It is a folder that cannot be watched.
            Err(error) => {
                tracing::debug!(%error, "what changes in a folder is seen each minute");
                return;
            }
        }
        drop(news);
        self.is_new.notify_one();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Watches `root` and all below it, which is at rest when nothing has changed for `settle`; and whether it is still
    /// what is at `path`.
    pub(super) fn start(path: &Path, root: &Path, settle: Duration) -> Result<Self, notify::Error> {
        let news = News { touched: Touched::All, is_change: false, is_lost: false };
        let heard = Arc::new(Heard { news: Mutex::new(news), is_new: Notify::new() });
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

/// Watches what is called `path`. Nothing where it has no name, as `/` and `..` have none.
fn above(path: &Path, heard: Arc<Heard>) -> Result<Option<RecommendedWatcher>, notify::Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let name = name.to_owned();
    let mut watcher = notify::recommended_watcher(move |event| {
        let is_it = |path: &PathBuf| path.file_name() == Some(&name);
        heard.hear(|event| event.paths.iter().any(is_it), &event);
    })?;
    watcher.watch(parent, RecursiveMode::NonRecursive)?;
    Ok(Some(watcher))
}

/// Whether it is about files alone that lie beside the devices' folders and are none of theirs, such as a broker's
/// that it writes again and again.
fn is_hidden(paths: &[PathBuf], root: &Path) -> bool {
    let is_hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        path.parent() == Some(root) && name.starts_with(b".") && !path.is_dir()
    };
    !paths.is_empty() && paths.iter().all(is_hidden)
}

/// Whether somebody only reads, as we do ourselves.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::Flag;
    use std::fs;
    use tokio::time::timeout;

    impl Watch {
        /// The system loses count.
        pub(in super::super) fn lose(&self) {
            let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
            self.heard.hear(|_| false, &Ok(overflow));
        }
    }

    const SETTLE: Duration = Duration::from_millis(50);
    /// Far more than anything takes.
    const GUARD: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_is_written_renamed_or_removed_is_seen_also_in_new_folders_and_elsewhere() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        watch.follow([root.path(), elsewhere.path()].into_iter());
        let (lamp, file) = (root.path().join("LAMP"), root.path().join("LAMP/main.py"));
        let changes: [&dyn Fn(); 5] = [
            &|| fs::create_dir(&lamp).unwrap(),
            &|| fs::write(&file, "1").unwrap(),
            &|| fs::rename(&file, lamp.join("x.py")).unwrap(),
            &|| fs::remove_file(lamp.join("x.py")).unwrap(),
            &|| fs::write(elsewhere.path().join("common.py"), "1").unwrap(),
        ];
        for change in changes {
            change();
            timeout(GUARD, watch.settled()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_tree_that_was_just_written_to_is_looked_at_again() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        let now = SystemTime::now();
        assert_eq!(watch.disturbance(None), Disturbance::None);
        assert_eq!(watch.disturbance(Some(now - Duration::from_secs(10))), Disturbance::None);
        let ahead = now + Duration::from_secs(3600);
        assert_eq!(watch.disturbance(Some(ahead)), Disturbance::None, "a clock that is wrong");
        assert_eq!(watch.disturbance(Some(SystemTime::now())), Disturbance::Written);
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.disturbance(Some(now)), Disturbance::None);
    }

    #[tokio::test]
    async fn what_is_written_after_it_was_at_rest_disturbs_a_look() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        fs::write(root.path().join("main.py"), "1").unwrap();
        // Half-way, and at rest.
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::Written);
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::None);
        fs::write(root.path().join("main.py"), "2").unwrap();
        let disturbed = async {
            while watch.disturbance(None) == Disturbance::None {
                tokio::task::yield_now().await;
            }
        };
        timeout(GUARD, disturbed).await.unwrap();
        while watch.disturbance(None) != Disturbance::None {
            timeout(GUARD, watch.settled()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_checkout_is_waited_for_however_long_it_pauses() {
        let home = tempfile::tempdir().unwrap();
        let (lock, root) = (home.path().join(".git/index.lock"), home.path().join("devices"));
        fs::create_dir(home.path().join(".git")).unwrap();
        fs::create_dir(&root).unwrap();
        let mut watch = Watch::start(&root, &root, SETTLE).unwrap();
        fs::write(&lock, "").unwrap();
        fs::write(root.join("main.py"), "1").unwrap();
        // Half-way.
        timeout(GUARD, watch.settled()).await.unwrap();
        assert!(timeout(6 * SETTLE, watch.settled()).await.is_err());
        fs::remove_file(&lock).unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::None);
        // One that has begun before anybody watched.
        fs::write(&lock, "").unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::Written);
        fs::remove_file(&lock).unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::None);
    }

    #[tokio::test]
    async fn a_hidden_file_beside_the_folders_is_no_change_and_one_in_them_is() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("LAMP")).unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        fs::write(root.path().join(".announcements.new"), "1").unwrap();
        fs::rename(root.path().join(".announcements.new"), root.path().join(".announcements")).unwrap();
        assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
        fs::write(root.path().join("LAMP/.mqttotaignore"), "1").unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_is_put_in_the_place_of_the_root_is_seen_and_what_is_beside_it_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (link, other) = (home.path().join("devices"), home.path().join("other"));
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        let mut watch = Watch::start(&link, one.path(), SETTLE).unwrap();
        std::os::unix::fs::symlink(two.path(), &other).unwrap();
        assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
        fs::rename(&other, &link).unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        fs::remove_file(&link).unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        fs::create_dir(&link).unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_told_where_something_was_written_and_that_anything_may_have_been() {
        let root = tempfile::tempdir().unwrap();
        let (main, root) = (root.path().join("main.py"), root.path());
        let mut watch = Watch::start(root, root, SETTLE).unwrap();
        assert_eq!(watch.touched(), Touched::All);
        fs::write(&main, "1").unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.touched(), Touched::Paths(BTreeSet::from([main.clone()])));
        assert_eq!(watch.touched(), Touched::NOTHING);
        watch.lose();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert_eq!(watch.touched(), Touched::All);
        watch.lose();
        assert_eq!(watch.disturbance(None), Disturbance::Lost);
        fs::write(&main, "2").unwrap();
        timeout(GUARD, watch.heard.is_new.notified()).await.unwrap();
        assert_eq!(watch.disturbance(None), Disturbance::Written);
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("main.py"), "1").unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        fs::read(root.path().join("main.py")).unwrap();
        fs::read_dir(root.path()).unwrap().count();
        assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    }
}
