use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::keeper::touched::Touched;

/// What the system tells.
#[derive(Debug)]
pub(super) struct Heard {
    news: Mutex<News>,
    /// There is some.
    pub(super) is_new: Notify,
}

#[derive(Debug)]
pub(super) struct News {
    pub(super) touched: Touched,
    pub(super) is_change: bool,
    /// There is more that it did not tell.
    pub(super) is_lost: bool,
}

impl Heard {
    /// Nothing yet, and nothing is known of what there is.
    pub(super) fn new() -> Self {
        let news = News { touched: Touched::All, is_change: false, is_lost: false };
        Self { news: Mutex::new(news), is_new: Notify::new() }
    }

    pub(super) fn hear(&self, is_ours: impl Fn(&Event) -> bool, event: &notify::Result<Event>) {
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

    pub(super) fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches what is called `path`. Nothing where it has no name, as `/` and `..` have none.
pub(super) fn above(path: &Path, heard: Arc<Heard>) -> Result<Option<RecommendedWatcher>, notify::Error> {
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
pub(super) fn is_hidden(paths: &[PathBuf], root: &Path) -> bool {
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
