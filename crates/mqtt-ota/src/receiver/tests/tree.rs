use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use crate::wire::STATE_FOLDER;

/// Files and folders below a root, by their paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) folders: BTreeSet<String>,
}

impl Tree {
    pub(super) fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let mut tree = Self::default();
        tree.folders.insert(STATE_FOLDER.to_owned());
        for (path, bytes) in files {
            tree.files.insert((*path).to_owned(), bytes.clone());
            let ends = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
            tree.folders.extend(ends);
        }
        tree
    }

    pub(super) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(root, root);
        tree
    }

    fn add(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                self.folders.insert(name);
                self.add(root, &path);
            } else {
                self.files.insert(name, fs::read(&path).unwrap());
            }
        }
    }

    pub(super) fn write(&self, root: &Path) {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).unwrap();
        }
    }

    /// Returns the tree without the client's own folder.
    pub(super) fn device(&self) -> Self {
        let is_devices = |path: &str| path.split('/').next() != Some(STATE_FOLDER);
        Self {
            files: self.files.clone().into_iter().filter(|(path, _)| is_devices(path)).collect(),
            folders: self.folders.iter().filter(|path| is_devices(path)).cloned().collect(),
        }
    }

    /// Returns the names in the client's own folder.
    pub(super) fn state(&self) -> BTreeSet<&str> {
        let names = self.files.keys().filter_map(|path| path.strip_prefix(STATE_FOLDER));
        names.map(|name| &name[1..]).collect()
    }
}

impl fmt::Debug for Tree {
    /// Shows the lengths of the files instead of their bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.files.iter().map(|(path, bytes)| (path, bytes.len()))).finish()?;
        f.debug_set().entries(&self.folders).finish()
    }
}
