use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::keeper::rest::Told;

/// Number of events that are kept until somebody asks.
const MOST: usize = 100_000;

/// True where the system reports the closing of a file that was open for writing.
pub(in crate::keeper) const HEARS_CLOSING: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Events that the system has reported.
#[derive(Debug, Default)]
pub(super) struct Heard {
    news: Mutex<News>,
    /// Notification of new events.
    pub(super) is_new: Notify,
}

#[derive(Debug, Default)]
pub(super) struct News {
    told: Vec<Told>,
    /// True if events were lost.
    is_lost: bool,
}

impl Heard {
    pub(super) fn hear(&self, is_ours: impl Fn(&Event) -> bool, event: &notify::Result<Event>) {
        let mut news = self.news();
        match event {
            Ok(event) if event.need_rescan() => news.is_lost = true,
            Ok(event) if is_reading(event.kind) || !is_ours(event) => return,
            Ok(event) if event.paths.is_empty() => news.add(Told::Anything),
            Ok(event) => event.paths.iter().for_each(|path| news.add_event(event, path)),
            // The error is about a folder that cannot be watched.
            Err(error) => {
                tracing::debug!(%error, "what changes in a folder is seen each minute");
                return;
            }
        }
        drop(news);
        self.is_new.notify_one();
    }

    /// Returns the events since the last call, and whether some were lost.
    pub(super) fn take(&self) -> (Vec<Told>, bool) {
        let mut news = self.news();
        (take(&mut news.told), take(&mut news.is_lost))
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn add_event(&mut self, event: &Event, path: &Path) {
        let path = path.to_owned();
        let told = match event.kind {
            EventKind::Create(CreateKind::Folder) => Told::Arrived(path),
            EventKind::Create(_) if HEARS_CLOSING => Told::Created(path),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)) if HEARS_CLOSING => Told::Written(path),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Told::Closed(path),
            // The path came from elsewhere, unless the next event says where from.
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Told::Arrived(path),
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                let (Some(from), Some(to)) = (event.paths.first(), event.paths.last()) else { return };
                if path != *from {
                    return;
                }
                if self.told.last().is_some_and(|last| matches!(last, Told::Arrived(path) if path == to)) {
                    self.told.pop();
                }
                Told::Moved { from: from.clone(), to: to.clone() }
            }
            EventKind::Remove(_) => Told::Gone(path),
            _ => Told::Other(path),
        };
        self.add(told);
    }

    fn add(&mut self, told: Told) {
        // A process that writes a large file causes the same event again and again.
        if self.told.last() == Some(&told) {
            return;
        }
        if self.told.len() >= MOST {
            self.told.clear();
            self.is_lost = true;
        }
        self.told.push(told);
    }
}

/// Watches the entry that `path` names in its parent folder. Returns `None` where there is no such name, as in `/` and
/// `..`.
pub(super) fn above(path: &Path, heard: Arc<Heard>) -> Result<Option<RecommendedWatcher>, notify::Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let name = name.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_it = |path: &PathBuf| path.file_name() == Some(&name);
        let is_ours = |event: &Event| event.paths.iter().any(is_it);
        // Events of other entries are left to the watchers of those entries.
        let event = event.map(|event| match is_ours(&event) {
            true => Event { paths: Vec::new(), ..event },
            false => event,
        });
        heard.hear(|event| event.paths.is_empty(), &event);
    })?;
    watcher.watch(parent, RecursiveMode::NonRecursive)?;
    Ok(Some(watcher))
}

/// Returns true if an event is only about files beside the devices' folders that are no device's, such as those that a
/// broker writes again and again.
pub(super) fn is_hidden(paths: &[PathBuf], root: &Path) -> bool {
    let is_hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        path.parent() == Some(root) && name.starts_with(b".") && !path.is_dir()
    };
    !paths.is_empty() && paths.iter().all(is_hidden)
}

/// Returns true if somebody only reads, as the keeper itself does.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
