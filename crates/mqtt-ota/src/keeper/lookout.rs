//! When the folders are looked at, and which look counts.

use std::collections::BTreeSet;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::folders::{FolderError, Folders};
use super::watch::Watch;
use crate::wire::Algorithm;

/// One who looks at the folders.
pub(super) struct Lookout {
    root: PathBuf,
    watch: Watch,
    settle: Duration,
    /// A look in the background: a device that wakes meanwhile is not to wait.
    looking: JoinSet<Result<Folders, FolderError>>,
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
    Unreadable(FolderError),
}

impl Lookout {
    /// Watches `root` from now on. What is written there has come to rest when nothing has changed for `settle`.
    pub(super) fn start(root: &Path, settle: Duration) -> Result<Self, notify::Error> {
        Ok(Self {
            root: root.to_owned(),
            watch: Watch::start(root, settle)?,
            settle,
            looking: JoinSet::new(),
            began: Instant::now(),
            is_to_look_again: false,
            known: None,
            found: None,
        })
    }

    /// Where the folders are.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at the folders. Of two looks at once the older one might count in the end.
    pub(super) fn look(&mut self, algorithms: &BTreeSet<Algorithm>) {
        self.is_to_look_again = !self.looking.is_empty();
        if self.is_to_look_again {
            return;
        }
        self.began = Instant::now();
        let before = self.found.as_ref().map(|(_, found)| found).or(self.known.as_ref());
        let (root, before, algorithms) =
            (self.root.clone(), before.cloned().unwrap_or_default(), algorithms.clone());
        self.looking.spawn(async move { Folders::scan(&root, &before, &algorithms).await });
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
            _ => Sight::Blurred,
        }
    }

    /// What was read while somebody wrote may never have been. File systems of other machines do not tell of that:
    /// what is found there without having been told of has to be found twice.
    fn weigh(&mut self, looked: Result<Folders, FolderError>) -> Sight {
        let newest = looked.as_ref().ok().and_then(|folders| folders.newest);
        let is_disturbed = self.watch.is_disturbed(newest);
        let mut folders = match looked {
            Err(_) if is_disturbed => return Sight::Blurred,
            Err(error) => {
                self.watch.seen();
                return Sight::Unreadable(error);
            }
            Ok(folders) => folders,
        };
        if is_disturbed || !self.is_sure(&folders) {
            self.watch.wait();
            folders.believe(self.known.as_deref());
            self.found = Some((Instant::now(), Arc::new(folders)));
            return Sight::Blurred;
        }
        self.watch.seen();
        self.watch.follow(&folders.places);
        let folders = Arc::new(folders);
        (self.known, self.found) = (Some(Arc::clone(&folders)), None);
        Sight::Clear(folders)
    }

    fn is_sure(&self, folders: &Folders) -> bool {
        let is_known = self.known.as_ref().is_none_or(|known| known.is_like(folders));
        let is_found_again = self.found.as_ref().is_some_and(|(at, found)| {
            self.began.saturating_duration_since(*at) >= self.settle && found.is_like(folders)
        });
        is_known || is_found_again || self.watch.is_to_be_taken()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
