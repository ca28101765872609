use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::keeper::rest::Told;

/// How much is kept until somebody asks.
const MOST: usize = 100_000;

/// Whether the system tells when a file is closed that was written to.
pub(in crate::keeper) const HEARS_CLOSING: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What the system tells.
#[derive(Debug, Default)]
pub(super) struct Heard {
    news: Mutex<News>,
    /// There is some.
    pub(super) is_new: Notify,
}

#[derive(Debug, Default)]
pub(super) struct News {
    told: Vec<Told>,
    /// There is more that it did not tell.
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
            // It is a folder that cannot be watched.
            Err(error) => {
                tracing::debug!(%error, "what changes in a folder is seen each minute");
                return;
            }
        }
        drop(news);
        self.is_new.notify_one();
    }

    /// All that was told since, and whether there is more that was not.
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
            // It came from elsewhere, unless the system says next where from.
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
        // Who writes a large file is told of again and again.
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

/// Watches what is called `path`. Nothing where it has no name, as `/` and `..` have none.
pub(super) fn above(path: &Path, heard: Arc<Heard>) -> Result<Option<RecommendedWatcher>, notify::Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let name = name.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_it = |path: &PathBuf| path.file_name() == Some(&name);
        let is_ours = |event: &Event| event.paths.iter().any(is_it);
        // What is told of another folder's path is told by the one that watches it.
        let event = event.map(|event| match is_ours(&event) {
            true => Event { paths: Vec::new(), ..event },
            false => event,
        });
        heard.hear(|event| event.paths.is_empty(), &event);
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
