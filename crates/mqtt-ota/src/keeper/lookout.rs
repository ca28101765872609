//! When the folders are looked at, and which look counts.

use std::collections::BTreeSet;
use std::io;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use super::error::KeeperError;
use super::folders::{Before, FolderError, Folders};
use super::root::Root;
use super::touched::Touched;
use super::watch::{Disturbance, Watch};
use crate::wire::Algorithm;

/// One who looks at the folders.
pub(super) struct Lookout {
    /// As it was given, made absolute.
    path: PathBuf,
    /// What was found there.
    root: Arc<Root>,
    watch: Watch,
    settle: Duration,
    /// A look in the background: a device that wakes meanwhile is not to wait.
    looking: JoinSet<Result<(Root, Arc<Folders>), FolderError>>,
    /// When it has begun.
    began: Instant,
    is_to_look_again: bool,
    /// What counted last.
    known: Option<Arc<Folders>>,
    /// What was found since and does not count, and when.
    found: Option<(Instant, Arc<Folders>)>,
}

/// What is seen of the folders.
#[derive(Debug)]
pub(super) enum Sight {
    /// It is time to look.
    Due,
    /// What the devices are to have.
    Clear(Arc<Folders>),
    /// It may be the half of what somebody writes, and is looked at again.
    Blurred,
    /// What there was to know stays known.
    Unreadable(KeeperError),
}

impl Lookout {
    /// Takes what is at `path` for this keeper alone, and watches it from now on. What is written there has come to
    /// rest when nothing has changed for `settle`.
    pub(super) fn start(path: &Path, settle: Duration) -> Result<Self, KeeperError> {
        let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
        let root = Root::at(path).map_err(unreadable)?;
        root.lock()?;
        Ok(Self {
            path: path.to_owned(),
            watch: watch(path, &root, settle)?,
            root: Arc::new(root),
            settle,
            looking: JoinSet::new(),
            began: Instant::now(),
            is_to_look_again: false,
            known: None,
            found: None,
        })
    }

    /// Where the folders are, as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the folders. Of two looks at once the older one might count in the end.
    pub(super) fn look(&mut self, algorithms: &BTreeSet<Algorithm>) {
        self.is_to_look_again = !self.looking.is_empty();
        if self.is_to_look_again {
            return;
        }
        self.began = Instant::now();
        let counted = self.known.clone().unwrap_or_default();
        let last = self.found.as_ref().map_or_else(|| Arc::clone(&counted), |(_, found)| Arc::clone(found));
        let (path, before, algorithms) = (self.path.clone(), Before { last, counted }, algorithms.clone());
        let (root_before, touched) = (Arc::clone(&self.root), self.watch.touched());
        self.looking.spawn(async move {
            let root = found(&path).await.map_err(|source| FolderError::Unreadable { path, source })?;
            let touched = if root.is(&root_before) { touched } else { Touched::All };
            let folders = match before.last.is_still(&algorithms, &touched) {
                true => before.last,
                false => Arc::new(Folders::scan(root.path(), before, algorithms, touched).await?),
            };
            Ok((root, folders))
        });
    }

    /// What is seen next; where a look is under way, what that came to. Cancel safe.
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
                self.watch.doubt();
                Sight::Blurred
            }
        }
    }

    /// What was read while somebody wrote may never have been. File systems of other machines do not tell of that:
    /// what is found there without having been told of has to be found twice.
    fn weigh(&mut self, looked: Result<(Root, Arc<Folders>), FolderError>) -> Sight {
        let newest = looked.as_ref().ok().and_then(|(_, folders)| folders.newest);
        let disturbance = self.watch.disturbance(newest);
        let (root, folders) = match looked {
            Err(error) => {
                self.watch.doubt();
                if disturbance != Disturbance::None {
                    return Sight::Blurred;
                }
                self.watch.seen(disturbance);
                return Sight::Unreadable(error.into());
            }
            Ok(found) => found,
        };
        let is_other = !root.is(&self.root);
        if is_other && let Err(error) = self.follow(root) {
            self.watch.seen(disturbance);
            return Sight::Unreadable(error);
        }
        let is_written = disturbance == Disturbance::Written;
        // What changes is seen only from here on.
        let is_sure = !is_other && self.is_sure(&folders, disturbance);
        if is_written || !is_sure {
            // Of what is written the system tells more, and what it is.
            if is_other || !is_written {
                self.watch.wait();
            }
            self.found = Some((Instant::now(), folders));
            return Sight::Blurred;
        }
        self.watch.seen(disturbance);
        self.watch.follow(folders.places());
        (self.known, self.found) = (Some(Arc::clone(&folders)), None);
        Sight::Clear(folders)
    }

    /// Keeps this folder instead, which is in the place of the one before.
    fn follow(&mut self, root: Root) -> Result<(), KeeperError> {
        root.lock()?;
        self.watch = watch(&self.path, &root, self.settle)?;
        tracing::info!(path = %self.path.display(), root = %root.path().display(), "another folder is in its place");
        self.root = Arc::new(root);
        Ok(())
    }

    fn is_sure(&self, folders: &Folders, disturbance: Disturbance) -> bool {
        let is_lost = disturbance == Disturbance::Lost;
        let is_known = self.known.as_ref().map_or(!is_lost, |known| known.is_like(folders));
        let is_found_again = self.found.as_ref().is_some_and(|(at, found)| {
            self.began.saturating_duration_since(*at) >= self.settle && found.is_like(folders)
        });
        is_known || is_found_again || (self.watch.is_to_be_taken() && !is_lost)
    }
}

fn watch(path: &Path, root: &Root, settle: Duration) -> Result<Watch, KeeperError> {
    let failed = |source| KeeperError::Watch { path: root.path().to_owned(), source };
    Watch::start(path, root.path(), settle).map_err(failed)
}

/// What is at this path now.
async fn found(path: &Path) -> io::Result<Root> {
    let path = path.to_owned();
    spawn_blocking(move || Root::at(&path)).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
