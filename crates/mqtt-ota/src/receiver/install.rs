use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::wire::{DevicePath, Digest, Hasher, Reason, STATE_FOLDER};

/// How much of an old file is read at once to hash it, in bytes.
const CHUNK: usize = 64 * 1024;

/// Why an offer was not installed, as the status says it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// An error of the disk.
    pub(super) fn write(error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Reason::NoSpace
            }
            _ => Reason::Write,
        };
        Self::new(reason, error.to_string())
    }
}

/// The folder below which the device's files are.
#[derive(Debug, Clone)]
pub(super) struct Root(PathBuf);

impl Root {
    /// Makes the folder and the one for state below it, and removes what an earlier run left half received.
    pub(super) async fn open(path: PathBuf) -> io::Result<Self> {
        blocking(move || {
            let state = path.join(STATE_FOLDER);
            fs::create_dir_all(&state)?;
            for entry in fs::read_dir(&state)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(Self(path.canonicalize()?))
        })
        .await
    }

    /// A new temporary file in the file system of the root. It is removed unless it is installed.
    pub(super) async fn incoming(&self) -> Result<NamedTempFile, Failure> {
        let state = self.0.join(STATE_FOLDER);
        blocking(move || {
            fs::create_dir_all(&state)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(INCOMING);
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
            builder.tempfile_in(&state)
        })
        .await
        .map_err(|error| Failure::write(&error))
    }

    /// Where a file belongs. Its folder is made; it must lie below the root when all links are followed.
    pub(super) async fn place(&self, path: &DevicePath) -> Result<Place, Failure> {
        let (root, path) = (self.0.clone(), path.clone());
        let refused = |text: &str| Failure::new(Reason::BadName, text);
        let mut relative = PathBuf::new();
        for part in path.parts() {
            // What is one plain name here depends on the system: Windows has drives, and names of its own.
            let mut components = Path::new(part).components();
            match (components.next(), components.next()) {
                (Some(Component::Normal(name)), None) if name == part => relative.push(name),
                _ => return Err(refused("this system does not take the name")),
            }
        }
        blocking(move || {
            let target = root.join(&relative);
            let folder = target.parent().unwrap_or(&root);
            // The part of the way that exists is looked at before anything is made.
            let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&root);
            if !existing.canonicalize()?.starts_with(&root) {
                return Ok(Err("it leaves the root"));
            }
            if !existing.is_dir() {
                return Ok(Err("what would be its folder is a file"));
            }
            make_folders(existing, folder)?;
            if fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
                return Ok(Err("what has this name is no file"));
            }
            Ok(Ok(Place(target)))
        })
        .await
        .map_err(|error| Failure::write(&error))?
        .map_err(refused)
    }
}

/// What the names of temporary files begin with.
const INCOMING: &str = "incoming-";

/// Where one file belongs.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    /// Whether the file there has this digest.
    pub(super) async fn holds(&self, digest: Digest) -> bool {
        let path = self.0.clone();
        blocking(move || {
            let mut hasher = Hasher::new(digest.algorithm());
            // Opening a FIFO waits for its writer, and a device file may never end.
            if !fs::metadata(&path)?.is_file() {
                return Ok(false);
            }
            let mut file = File::open(path)?;
            let mut chunk = vec![0; CHUNK];
            loop {
                match io::Read::read(&mut file, &mut chunk)? {
                    0 => return Ok(hasher.finish() == digest),
                    read => hasher.update(chunk.get(..read).unwrap_or_default()),
                }
            }
        })
        .await
        .unwrap_or(false)
    }

    /// Puts a file that was checked in place of the old one: synced, renamed over it, and the folder synced,
    /// so that after a power cut there is the one or the other.
    pub(super) async fn install(self, incoming: NamedTempFile) -> Result<(), Failure> {
        blocking(move || {
            incoming.as_file().sync_all()?;
            #[cfg(unix)]
            if let Ok(old) = fs::metadata(&self.0) {
                incoming.as_file().set_permissions(old.permissions())?;
            }
            incoming.persist(&self.0).map_err(|error| error.error)?;
            // The new file is in place; some file systems cannot sync a folder.
            if let Err(error) = sync_folder(&self.0) {
                tracing::warn!(path = %self.0.display(), %error, "the folder could not be synced");
            }
            Ok(())
        })
        .await
        .map_err(|error| Failure::write(&error))
    }
}

/// Makes what is missing between `existing` and `folder`, each folder synced into the one above it.
fn make_folders(existing: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    folder.ancestors().take_while(|made| *made != existing).try_for_each(sync_folder)
}

/// Syncs the folder of a file. Windows has no such call: there the file system's journal has to do.
fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
