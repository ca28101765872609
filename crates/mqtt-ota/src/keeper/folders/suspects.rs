use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::FolderError;
use crate::keeper::rest::{Unclosed, is_temporary};
use crate::keeper::writers::{Identity, Writers, name_of};

/// Files and places that a scan has to treat with caution.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Suspects {
    /// Files that were written to and not closed since, as far as was heard.
    pub(in crate::keeper) unclosed: Vec<(PathBuf, Unclosed)>,
    /// Settings files that are being written.
    pub(in crate::keeper) settings: BTreeSet<PathBuf>,
    /// Places that are scanned again, whether or not they were touched.
    pub(in crate::keeper) doubted: BTreeSet<PathBuf>,
}

/// Files that somebody may be writing to.
#[derive(Debug, Default)]
pub(super) struct Open {
    heard: HashMap<Identity, PathBuf>,
    /// Files that become others by a rename.
    temporary: BTreeSet<PathBuf>,
    writers: Writers,
    /// Files that were reported, and do not exist or are not open.
    pub(super) gone: BTreeSet<PathBuf>,
}

impl Open {
    /// Finds out which files are open. Files that other processes have open are left out unless files are read
    /// (`is_read`). Blocking.
    pub(super) fn of(suspects: &Suspects, is_read: bool) -> Self {
        let writers = if is_read { Writers::now() } else { Writers::default() };
        let mut open = Self { writers, ..Self::default() };
        for (path, unclosed) in &suspects.unclosed {
            let Ok(metadata) = path.symlink_metadata() else {
                open.gone.insert(path.clone());
                continue;
            };
            let Some(file) = identity(&metadata) else { continue };
            // A file that has bytes before any were written, or several names, was not created but given another name.
            // The system does not report who has it open.
            let is_linked = metadata.len() > 0 || !has_one_name(&metadata);
            if !metadata.is_file() || (!unclosed.is_written && is_linked && open.writers.of(file).is_none()) {
                open.gone.insert(path.clone());
            } else if is_temporary(path) {
                open.temporary.insert(path.clone());
            } else {
                open.heard.insert(file, path.clone());
            }
        }
        open
    }

    /// Returns an error that names the writer of a file, if somebody writes to it.
    pub(super) fn hold(&self, path: &Path, file: Option<Identity>) -> Option<FolderError> {
        let file = file?;
        let by = self.writers.of(file).map(name_of);
        let is_open = by.is_some() || self.heard.contains_key(&file);
        is_open.then(|| FolderError::Open { path: path.to_owned(), by })
    }

    /// Returns an error for a file in a folder that is being written and becomes another one by a rename.
    pub(super) fn hold_in(&self, place: &Path) -> Option<FolderError> {
        let path = self.temporary.range(place.to_owned()..).next().filter(|path| path.starts_with(place))?;
        Some(FolderError::Open { path: path.clone(), by: None })
    }

    /// Returns true if the file is one that becomes another one by a rename.
    pub(super) fn is_temporary(&self, path: &Path) -> bool {
        self.temporary.contains(path)
    }
}

#[cfg(unix)]
pub(super) fn identity(metadata: &std::fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(super) fn identity(_: &std::fs::Metadata) -> Option<Identity> {
    None
}

#[cfg(unix)]
fn has_one_name(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.nlink() <= 1
}

#[cfg(not(unix))]
fn has_one_name(_: &std::fs::Metadata) -> bool {
    true
}
