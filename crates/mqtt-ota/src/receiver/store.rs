use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::disk::{Disk, Syncing};
use super::failure::Failure;
use super::journal::{Journal, Subject};
use super::place::locate;
use crate::wire::{DevicePath, Digest, Hasher, STATE_FOLDER};

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// The names in the client's folder. `N` is a staged file and `kN` the copy of the one before it, where `N`
/// is the number of a line in the manifest, which is 0.
pub(super) mod name {
    /// The manifest that is being fetched from, or was last.
    pub(in crate::receiver) const MANIFEST: &str = "0";
    /// Item 0 of an offer, as far as it has come; and the bytes of its digest.
    pub(in crate::receiver) const PART: &str = "part";
    pub(in crate::receiver) const PART_OF: &str = "part.of";
    /// A journal that is not committed yet.
    pub(in crate::receiver) const PLAN: &str = "plan";
    /// The journal of a set that is being put in place.
    pub(in crate::receiver) const COMMIT: &str = "commit";
    /// That of one that is in place, and not confirmed. `boots` has one byte for each boot since.
    pub(in crate::receiver) const TRIAL: &str = "trial";
    pub(in crate::receiver) const BOOTS: &str = "boots";
    /// That of one that is confirmed, and whose copies are still kept.
    pub(in crate::receiver) const LAST: &str = "last";
    /// That of one that is being taken back.
    pub(in crate::receiver) const UNDO: &str = "undo";
    /// That of the last one that was taken back; `error` says why, if anybody knows.
    pub(in crate::receiver) const BACK: &str = "back";
    pub(in crate::receiver) const ERROR: &str = "error";
    /// The manifest of what is installed; `was` where a file was changed since by itself.
    pub(in crate::receiver) const SET: &str = "set";
    pub(in crate::receiver) const WAS: &str = "was";
    /// The paths of files that sets before it have brought, one a line; and the list that is to take its place.
    pub(in crate::receiver) const LEFT: &str = "left";
    pub(in crate::receiver) const LEFT_NEXT: &str = "left.new";
}

/// A device's files below a folder, and the client's own state among them.
#[derive(Debug)]
pub(super) struct Store<D> {
    pub(super) disk: D,
    pub(super) root: PathBuf,
}

impl<D: Disk> Store<D> {
    /// `root` is a folder, with all links followed, in which the client's own has been made.
    pub(super) fn new(disk: D, root: PathBuf) -> Self {
        Self { disk, root }
    }

    /// A file in the client's folder.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The client's folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.root.join(STATE_FOLDER)
    }

    /// Whether the file system takes names that differ only in case for one: nothing else is called as the client's
    /// folder.
    pub(super) fn folds_case(&self) -> bool {
        self.root.join(STATE_FOLDER.to_uppercase()).symlink_metadata().is_ok()
    }

    /// Whether there is such a file in the client's folder.
    pub(super) fn there(&self, name: &str) -> bool {
        self.state(name).symlink_metadata().is_ok()
    }

    /// The length of a file in the client's folder, in bytes.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.state(name)).ok().map(|there| there.len())
    }

    /// What is in a file of the client's folder; None where it is not there.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.state(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A journal; None where it is not there, or none.
    pub(super) fn journal(&self, name: &str) -> io::Result<Option<Journal>> {
        Ok(self.read(name)?.and_then(|bytes| Journal::parse(std::str::from_utf8(&bytes).ok()?)))
    }

    /// Where a file of a journal is.
    pub(super) fn place(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Manifest => self.state(name::SET),
            Subject::Left => self.state(name::LEFT),
            // Nobody has made a link of it that leads elsewhere since it was located.
            Subject::File(path) => self.locate(path).unwrap_or_else(|_| self.target(path)),
        }
    }

    /// Where a file of the device is, no links followed.
    pub(super) fn target(&self, path: &DevicePath) -> PathBuf {
        path.parts().fold(self.root.clone(), |place, part| place.join(part))
    }

    /// Where a file of the device is, all links followed.
    pub(super) fn locate(&self, path: &DevicePath) -> Result<PathBuf, Failure> {
        locate(&self.root, path)
    }

    /// Gives a file in the client's folder another name there, for good.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.state(from), &self.state(to))?;
        self.sync()
    }

    /// Brings the names in the client's folder to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.folder())
    }

    /// Removes a file of the client's folder, if it is there.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        self.remove(&self.state(name))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match path.symlink_metadata() {
            // Something else has the name by now.
            Ok(there) if there.is_dir() => Ok(()),
            Ok(_) => self.disk.remove(path),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a file of the client's folder, and syncs it. Its name is not synced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.disk.create(&self.state(name))?;
        self.disk.write(&mut file, bytes)?;
        self.disk.sync(&file)
    }

    /// Copies a file into the client's folder, with its permissions, and begins to sync it. Its name is not
    /// synced.
    pub(super) fn copy(&self, from: &Path, name: &str) -> io::Result<Syncing> {
        let to = self.state(name);
        let mut file = self.disk.create(&to)?;
        each_chunk(from, |chunk| self.disk.write(&mut file, chunk))?;
        self.disk.dress(&to, from)?;
        self.disk.begin_sync(&file)
    }

    /// Makes the folders of a file, each synced into the one above it.
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

    /// Removes the folders of a file that are empty now; yields the one that is left.
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

    /// Brings the names in some folders to the disk.
    pub(super) fn sync_folders(&self, folders: &BTreeSet<PathBuf>) -> io::Result<()> {
        folders.iter().try_for_each(|folder| self.disk.sync_folder(folder))
    }

    /// Whether a file has this digest.
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

/// Whether there is no such file, nor can be one as things are.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a file piece by piece; yields its length in bytes.
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
