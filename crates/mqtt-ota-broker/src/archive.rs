use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::announcements::{Announcements, device_of, device_of_topic};
use crate::limits;

/// File in which announcements survive a restart of the broker.
///
/// The file always has the old or the new content, however the process ends. New content is written to a file beside
/// it, synced, and renamed.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    /// Held from the snapshot to the rename, so that an older snapshot never replaces a newer one.
    saving: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    announcements: Announcements,
    /// True if some announcements are not in the file yet.
    dirty: bool,
}

impl Archive {
    /// Reads the file if it exists. Damaged lines are skipped, with a warning and a copy of the file.
    ///
    /// Blocks.
    ///
    /// # Errors
    /// Returns an error if the path exists but is not a file, if its folder is missing, or if the path cannot be
    /// looked up. A file that cannot be read only causes a warning, because devices announce themselves again some
    /// time.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // A symbolic link stays a link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !folder(&path).is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut announcements = Announcements::default();
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
            }
            Ok(_) => match read(&path, &mut announcements) {
                Ok(0) => {}
                Ok(damaged) => {
                    let copy = beside(&path, ".damaged");
                    let copied = fs::copy(&path, &copy).is_ok();
                    tracing::warn!(path = %path.display(), copy = copied.then(|| copy.display().to_string()), lines = damaged, "damaged announcements are skipped");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "kept announcements cannot be read");
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let state = Mutex::new(State { announcements, dirty: false });
        Ok(Self { path, state, changed: Notify::new(), saving: Mutex::default() })
    }

    /// Returns the messages to publish, with their topics.
    pub(crate) fn messages(&self) -> Vec<(Bytes, Bytes)> {
        self.state().announcements.messages().collect()
    }

    /// Records a message that the broker retains. An empty message removes the record.
    pub(crate) fn take(&self, topic: &[u8], message: &[u8]) {
        let Some(name) = device_of_topic(topic) else { return };
        let mut state = self.state();
        let changed = match device_of(topic, message) {
            Some(name) if !message.is_empty() => state.announcements.insert(name, message),
            _ => state.announcements.remove(name),
        };
        if changed {
            state.dirty = true;
            self.changed.notify_one();
        }
    }

    /// Writes changes to the file, [`limits::SAVE_PAUSE`] after the first of them. Runs until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            sleep(limits::SAVE_PAUSE).await;
            let this = Arc::clone(&self);
            let saved = spawn_blocking(move || this.save()).await;
            if !matches!(saved, Ok(Ok(()))) {
                sleep(limits::SAVE_AGAIN).await;
                self.changed.notify_one();
            }
        }
    }

    /// Writes changes to the file now. Blocks.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written. The error has already been logged as a warning.
    pub(crate) fn save(&self) -> io::Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let mut state = self.state();
            if !state.dirty {
                return Ok(());
            }
            state.dirty = false;
            state.announcements.to_text()
        };
        match write(&self.path, &text) {
            Ok(()) => {
                tracing::debug!(path = %self.path.display(), bytes = text.len(), "announcements are kept");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "announcements cannot be kept");
                self.state().dirty = true;
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the sound lines, and returns the number of damaged ones.
fn read(path: &Path, announcements: &mut Announcements) -> io::Result<usize> {
    let mut file = BufReader::new(File::open(path)?.take(limits::ARCHIVE));
    let mut damaged = 0;
    let mut inside_damage = false;
    let mut line = Vec::new();
    while (&mut file).take(limits::ARCHIVE_LINE).read_until(b'\n', &mut line)? > 0 {
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        // The rest of a line that was too long belongs to the same damage.
        let counted = inside_damage || (whole && announcements.insert_line(&line));
        damaged += usize::from(!counted);
        inside_damage = !whole;
        line.clear();
    }
    Ok(damaged)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    // The rename has to be synced too. Systems other than Unix cannot sync a folder.
    #[cfg(unix)]
    File::open(folder(path))?.sync_all()?;
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
