use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long a tree that never comes to rest is waited for.
const RESTLESS: Duration = Duration::from_secs(30);
/// How often it is looked at all the same: the file systems of other machines tell of no change.
const LOOK: Duration = Duration::from_secs(60);

/// The folders, as somebody writes to them.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Tells when another folder, or a link to one, is put in the root's place.
    _above: Option<RecommendedWatcher>,
    changes: mpsc::Receiver<()>,
    root: PathBuf,
    /// Folders outside the root.
    others: BTreeSet<PathBuf>,
    settle: Duration,
    /// When the tree is looked at all the same.
    look_at: Instant,
    /// When a change has come to rest, if nothing more is seen.
    rest_at: Option<Instant>,
    /// When it has gone on for too long; from its beginning until what it came to is seen.
    at_last: Option<Instant>,
    /// The system has told of it.
    is_told: bool,
    /// The tree does not come to rest, and is looked at as it is.
    is_restless: bool,
}

impl Watch {
    /// Watches `root` and all below it, which is at rest when nothing has changed for `settle`; and whether it is still
    /// what is at `path`.
    pub(super) fn start(path: &Path, root: &Path, settle: Duration) -> Result<Self, notify::Error> {
        // One change that waits to be seen stands for all that come until then.
        let (changed, changes) = mpsc::channel(1);
        let (top, replaced) = (root.to_owned(), changed.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !is_reading(event.kind) && !is_hidden(&event.paths, &top)) {
                let _ = changed.try_send(());
            }
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        let above = above(path, replaced).inspect_err(
            |error| tracing::debug!(%error, "what is put in the folder's place is seen each minute"),
        );
        Ok(Self {
            watcher,
            _above: above.ok().flatten(),
            changes,
            root: root.to_owned(),
            others: BTreeSet::new(),
            settle,
            look_at: Instant::now() + LOOK,
            rest_at: None,
            at_last: None,
            is_told: false,
            is_restless: false,
        })
    }

    /// Watches these folders as well, and no longer those of before.
    pub(super) fn follow(&mut self, places: &BTreeSet<PathBuf>) {
        let wanted: BTreeSet<_> =
            places.iter().filter(|place| !place.starts_with(&self.root)).cloned().collect();
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

    /// Whether somebody writes since the tree was last at rest: what was looked at meanwhile may be half of it. Never
    /// where it does not come to rest. `newest`: the time of the last change that was found, as a write may have begun
    /// before it was watched.
    pub(super) fn is_disturbed(&mut self, newest: Option<SystemTime>) -> bool {
        let is_new = newest.is_some_and(|newest| match newest.elapsed() {
            Ok(age) => age < self.settle,
            // A clock that is ahead says nothing, unless it is by little.
            Err(ahead) => ahead.duration() < self.settle,
        });
        if self.changes.try_recv().is_ok() {
            self.told();
        } else if is_new && self.rest_at.is_none() {
            self.changed();
        }
        self.rest_at.is_some() && !self.is_restless
    }

    /// Whether what is found counts at once: the system has told of it, or it does not come to rest.
    pub(super) fn is_to_be_taken(&self) -> bool {
        self.is_told || self.is_restless
    }

    /// What was found counts: what changes from here on is another change.
    pub(super) fn seen(&mut self) {
        (self.at_last, self.is_told, self.is_restless) = (None, false, false);
    }

    /// What was found does not count yet: it is looked at again, at rest.
    pub(super) fn wait(&mut self) {
        if self.rest_at.is_none() {
            self.changed();
        }
    }

    fn told(&mut self) {
        self.is_told = true;
        self.changed();
    }

    fn changed(&mut self) {
        let now = Instant::now();
        self.rest_at = Some(now + self.settle);
        self.at_last.get_or_insert(now + RESTLESS);
    }

    /// Waits until something has changed and the tree is at rest again; or until it is time to look anyway. Cancel
    /// safe.
    pub(super) async fn settled(&mut self) {
        loop {
            let at_last = self.at_last;
            let until = self
                .rest_at
                .map_or(self.look_at, |rest_at| at_last.map_or(rest_at, |last| last.min(rest_at)));
            match timeout_at(until, self.changes.recv()).await {
                Ok(Some(())) => self.told(),
                // The watcher lives as long as this, so the channel does not end.
                Ok(None) => std::future::pending().await,
                Err(_) => {
                    let is_change = self.rest_at.take().is_some();
                    self.is_restless = is_change && at_last.is_some_and(|at_last| at_last <= Instant::now());
                    self.look_at = Instant::now() + LOOK;
                    return;
                }
            }
        }
    }
}

/// Watches what is called `path`. Nothing where it has no name, as `/` and `..` have none.
fn above(path: &Path, changed: mpsc::Sender<()>) -> Result<Option<RecommendedWatcher>, notify::Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let name = name.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_it = |path: &PathBuf| path.file_name() == Some(&name);
        if event.is_ok_and(|event| !is_reading(event.kind) && event.paths.iter().any(is_it)) {
            let _ = changed.try_send(());
        }
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
    use std::fs;
    use tokio::time::timeout;

    const SETTLE: Duration = Duration::from_millis(50);
    /// Far more than anything takes.
    const GUARD: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_is_written_renamed_or_removed_is_seen_also_in_new_folders_and_elsewhere() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        watch.follow(&BTreeSet::from([root.path().to_owned(), elsewhere.path().to_owned()]));
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
        assert!(!watch.is_disturbed(None));
        assert!(!watch.is_disturbed(Some(now - Duration::from_secs(10))));
        assert!(!watch.is_disturbed(Some(now + Duration::from_secs(3600))), "a clock that is wrong");
        assert!(watch.is_disturbed(Some(SystemTime::now())));
        timeout(GUARD, watch.settled()).await.unwrap();
        assert!(!watch.is_disturbed(Some(now)));
    }

    #[tokio::test]
    async fn what_is_written_after_it_was_at_rest_disturbs_a_look() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        fs::write(root.path().join("main.py"), "1").unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert!(!watch.is_disturbed(None));
        fs::write(root.path().join("main.py"), "2").unwrap();
        let disturbed = async {
            while !watch.is_disturbed(None) {
                tokio::task::yield_now().await;
            }
        };
        timeout(GUARD, disturbed).await.unwrap();
        timeout(GUARD, watch.settled()).await.unwrap();
        assert!(!watch.is_disturbed(None));
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
    async fn reading_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("main.py"), "1").unwrap();
        let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
        fs::read(root.path().join("main.py")).unwrap();
        fs::read_dir(root.path()).unwrap().count();
        assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    }
}
