use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::disk::{Disk, Syncing};
use super::failure::Failure;
use super::journal::{Journal, Subject};
use super::place::locate;
use crate::wire::{DevicePath, Digest, Hasher, STATE_FOLDER};

/// Bytes of a file that are read at once.
const CHUNK: usize = 64 * 1024;

/// Names in the client's folder. `N` is a staged file and `kN` the copy of the file before it, where `N` is the
/// file's number in the journal. Number 0 is the manifest.
pub(super) mod name {
    /// Manifest that is being fetched from, or was fetched from last.
    pub(in crate::receiver) const MANIFEST: &str = "0";
    /// Item 0 of an offer, as far as it has come.
    pub(in crate::receiver) const PART: &str = "part";
    /// Bytes of the digest of [`PART`].
    pub(in crate::receiver) const PART_OF: &str = "part.of";
    /// Journal that is not committed yet.
    pub(in crate::receiver) const PLAN: &str = "plan";
    /// Journal of a set that is being put in place.
    pub(in crate::receiver) const COMMIT: &str = "commit";
    /// Journal of a set that is in place and not confirmed.
    pub(in crate::receiver) const TRIAL: &str = "trial";
    /// File with one byte for each boot of the set on trial.
    pub(in crate::receiver) const BOOTS: &str = "boots";
    /// Journal of a set that is confirmed, and whose copies are still kept.
    pub(in crate::receiver) const LAST: &str = "last";
    /// Journal of a set that is being taken back.
    pub(in crate::receiver) const UNDO: &str = "undo";
    /// Journal of the last set that was taken back.
    pub(in crate::receiver) const BACK: &str = "back";
    /// Reason why the set on trial does not work, or why the last set was taken back, if it is known.
    pub(in crate::receiver) const ERROR: &str = "error";
    /// Manifest of the installed set.
    pub(in crate::receiver) const SET: &str = "set";
    /// Manifest of the installed set, after a single file was changed.
    pub(in crate::receiver) const WAS: &str = "was";
    /// Paths of files that earlier sets have brought, one a line.
    pub(in crate::receiver) const LEFT: &str = "left";
    /// List that is to take the place of [`LEFT`].
    pub(in crate::receiver) const LEFT_NEXT: &str = "left.new";
}

/// Files of a device below a folder, with the client's own state among them.
#[derive(Debug)]
pub(super) struct Store<D> {
    pub(super) disk: D,
    pub(super) root: PathBuf,
}

impl<D: Disk> Store<D> {
    /// Creates a store. `root` is a folder with all links followed, in which the client's own folder already exists.
    pub(super) fn new(disk: D, root: PathBuf) -> Self {
        Self { disk, root }
    }

    /// Returns the path of a file in the client's folder.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Returns the path of the client's folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.root.join(STATE_FOLDER)
    }

    /// Returns true if the file system ignores the case of names. The test is whether the client's folder is also
    /// found under an upper-case name, which nothing else has.
    pub(super) fn folds_case(&self) -> bool {
        self.root.join(STATE_FOLDER.to_uppercase()).symlink_metadata().is_ok()
    }

    /// Returns true if the client's folder has this file.
    pub(super) fn there(&self, name: &str) -> bool {
        self.state(name).symlink_metadata().is_ok()
    }

    /// Returns the length of a file in the client's folder, in bytes.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.state(name)).ok().map(|there| there.len())
    }

    /// Returns the contents of a file in the client's folder, or `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.state(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a journal, or `None` if it does not exist or cannot be parsed.
    pub(super) fn journal(&self, name: &str) -> io::Result<Option<Journal>> {
        Ok(self.read(name)?.and_then(|bytes| Journal::parse(std::str::from_utf8(&bytes).ok()?)))
    }

    /// Returns the path of a file that a journal names.
    pub(super) fn place(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Manifest => self.state(name::SET),
            Subject::Left => self.state(name::LEFT),
            // The path was located before. The fallback is used if a link that leads elsewhere was made since, or if
            // a file is still in the place of the path's folder.
            Subject::File(path) => self.locate(path).unwrap_or_else(|_| self.target(path)),
        }
    }

    /// Returns the path of a file of the device, with no links followed.
    pub(super) fn target(&self, path: &DevicePath) -> PathBuf {
        path.parts().fold(self.root.clone(), |place, part| place.join(part))
    }

    /// Returns the path of a file of the device, with all links followed.
    pub(super) fn locate(&self, path: &DevicePath) -> Result<PathBuf, Failure> {
        locate(&self.root, path)
    }

    /// Renames a file within the client's folder, and syncs the folder.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.state(from), &self.state(to))?;
        self.sync()
    }

    /// Syncs the names in the client's folder to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.folder())
    }

    /// Removes a file from the client's folder if it exists.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        self.remove(&self.state(name))
    }

    /// Removes a file if it exists.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match path.symlink_metadata() {
            // A folder has the name by now.
            Ok(there) if there.is_dir() => Ok(()),
            Ok(_) => self.disk.remove(path),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a file of the client's folder and syncs it. The name is not synced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.disk.create(&self.state(name))?;
        self.disk.write(&mut file, bytes)?;
        self.disk.sync(&file)
    }

    /// Copies a file into the client's folder, with its permissions, and begins to sync it. The name is not synced.
    pub(super) fn copy(&self, from: &Path, name: &str) -> io::Result<Syncing> {
        let to = self.state(name);
        let mut file = self.disk.create(&to)?;
        each_chunk(from, |chunk| self.disk.write(&mut file, chunk))?;
        self.disk.dress(&to, from)?;
        self.disk.begin_sync(&file)
    }

    /// Creates the folders of a file, and syncs each into the folder above it.
    pub(super) fn make_folders(&self, file: &Path) -> io::Result<()> {
        let missing: Vec<_> = file.ancestors().skip(1).take_while(|folder| !folder.is_dir()).collect();
        for folder in missing.into_iter().rev() {
            self.disk.make_folder(folder)?;
            if let Some(above) = folder.parent() {
                self.disk.sync_folder(above)?;
            }
        }
        Ok(())
    }

    /// Removes the folders of a file that are empty now. Returns the one that is left.
    pub(super) fn tidy_folders(&self, file: &Path) -> io::Result<PathBuf> {
        let below_root = |folder: &&Path| folder.starts_with(&self.root) && *folder != self.root;
        for folder in file.ancestors().skip(1).take_while(below_root) {
            match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
                Ok(true) => self.disk.remove_folder(folder)?,
                Err(error) if is_missing(&error) => {}
                _ => return Ok(folder.to_owned()),
            }
        }
        Ok(self.root.clone())
    }

    /// Syncs the names in some folders to the disk.
    pub(super) fn sync_folders(&self, folders: &BTreeSet<PathBuf>) -> io::Result<()> {
        folders.iter().try_for_each(|folder| self.disk.sync_folder(folder))
    }

    /// Returns true if a file has this digest.
    pub(super) fn holds(&self, path: &Path, digest: Digest) -> bool {
        // Opening a FIFO waits for its writer, and a device file may never end.
        if !fs::metadata(path).is_ok_and(|there| there.is_file()) {
            return false;
        }
        let mut hasher = Hasher::new(digest.algorithm());
        let hashed = each_chunk(path, |chunk| {
            hasher.update(chunk);
            Ok(())
        });
        hashed.is_ok() && hasher.finish() == digest
    }
}

/// Returns true if the error says that a file does not exist, or that a part of its path is not a folder.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a file piece by piece. Returns its length in bytes.
pub(super) fn each_chunk(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let (mut file, mut chunk, mut length) = (File::open(path)?, vec![0; CHUNK], 0);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                take(chunk.get(..read).unwrap_or_default())?;
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
