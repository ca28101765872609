//! Work of git in the files: a checkout may take long, and a merge may wait for somebody for days.

mod index;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::index::Index;

/// Lock file that git holds from before it writes the first file of a checkout until after the last.
const LOCK: &str = "index.lock";

/// Files and folders that git has while an operation waits to be ended, with the name of the operation.
const UNDER_WAY: [(&str, &str); 7] = [
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase or `git am`"),
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("sequencer", "a cherry-pick or a revert"),
    ("BISECT_LOG", "a bisect"),
];

/// Folder that git keeps files in, and the folder with git's own data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checkout {
    top: PathBuf,
    git: PathBuf,
}

/// Reason why the files of a checkout are not those that somebody wants to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Files that git is writing.
    Locked,
    /// Operation that somebody has to end.
    UnderWay(&'static str),
    /// File for which somebody has to decide between versions.
    Unmerged(String),
    /// Submodule whose files were not fetched.
    Uninitialised(String),
}

impl Checkout {
    /// Returns the checkout that a folder is a part of. Blocking, and quick.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        folder.ancestors().find_map(Self::at)
    }

    /// Returns the checkout whose top folder this is.
    pub(super) fn at(top: &Path) -> Option<Self> {
        let dot = top.join(".git");
        let metadata = dot.metadata().ok()?;
        let git = match metadata.is_dir() {
            true => dot,
            // A worktree or a submodule has a file that says where git's data is (gitrepository-layout(5)).
            false => {
                let text = metadata.is_file().then(|| fs::read_to_string(&dot).ok()).flatten()?;
                top.join(text.strip_prefix("gitdir:")?.trim())
            }
        };
        Some(Self { top: top.to_owned(), git })
    }

    pub(super) fn top(&self) -> &Path {
        &self.top
    }
}

/// States of checkouts. Unchanged indexes are not read again.
#[derive(Debug, Default)]
pub(super) struct Checkouts {
    indexes: HashMap<PathBuf, (Stamp, Option<Index>)>,
}

/// Length and time of an index.
type Stamp = (u64, Option<SystemTime>);

impl Checkouts {
    /// Returns why the files of a checkout do not count, if they do not. Blocking.
    pub(super) fn unfinished(&mut self, checkout: &Checkout) -> Option<Unfinished> {
        let has = |name: &str| checkout.git.join(name).symlink_metadata().is_ok();
        if has(LOCK) {
            return Some(Unfinished::Locked);
        }
        if let Some(path) = self.index(checkout).and_then(|index| index.unmerged.clone()) {
            return Some(Unfinished::Unmerged(path));
        }
        let under_way = UNDER_WAY.iter().find(|(name, _)| has(name));
        under_way.map(|(_, what)| Unfinished::UnderWay(what))
    }

    /// Returns a submodule that belongs in a place and was not fetched. Blocking.
    pub(super) fn missing(&mut self, checkout: &Checkout, place: &Path) -> Option<Unfinished> {
        let of_place = |path: &&String| {
            let at = checkout.top.join(path);
            (place.starts_with(&at) || at.starts_with(place)) && is_empty(&at)
        };
        let missing = self.index(checkout)?.submodules.iter().find(of_place);
        missing.cloned().map(Unfinished::Uninitialised)
    }

    fn index(&mut self, checkout: &Checkout) -> Option<&Index> {
        let path = &checkout.git.join("index");
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let stamp = (metadata.len(), metadata.modified().ok());
        let is_known = self.indexes.get(path).is_some_and(|(known, _)| *known == stamp);
        if !is_known {
            // An index that git is writing meanwhile has a lock.
            let index = Index::read(path).inspect_err(
                |error| tracing::debug!(path = %path.display(), %error, "git's index cannot be read"),
            );
            self.indexes.insert(path.clone(), (stamp, index.ok()));
        }
        self.indexes.get(path)?.1.as_ref()
    }
}

/// Returns true if this is an empty folder, as git leaves the place of a submodule.
fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => write!(f, "git is at work, and has its {LOCK}"),
            Self::UnderWay(what) => write!(f, "{what} is under way"),
            Self::Unmerged(path) => write!(f, "{path} is unmerged"),
            Self::Uninitialised(path) => write!(f, "the submodule {path} is not initialised"),
        }
    }
}

#[cfg(test)]
mod tests;
