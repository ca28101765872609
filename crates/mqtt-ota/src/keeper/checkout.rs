//! What git is doing to files: a checkout may be slow to come, and a merge may wait for somebody for days.

mod index;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::index::Index;

/// What git has from before it writes the first file of a checkout until after the last.
const LOCK: &str = "index.lock";

/// What git has while something waits to be ended, and what that is called.
const UNDER_WAY: [(&str, &str); 7] = [
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase or `git am`"),
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("sequencer", "a cherry-pick or a revert"),
    ("BISECT_LOG", "a bisect"),
];

/// A folder that git keeps files in, and where it keeps what it knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checkout {
    top: PathBuf,
    git: PathBuf,
}

/// Why the files of a checkout are not what somebody wants to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Git is writing them.
    Locked,
    /// Somebody has to end what was begun.
    UnderWay(&'static str),
    /// Somebody has to say what a file is to be.
    Unmerged(String),
    /// The files of a submodule were not fetched.
    Uninitialised(String),
}

impl Checkout {
    /// The one that a folder is a part of. Blocking, and quick.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        folder.ancestors().find_map(Self::at)
    }

    /// The one whose top this is.
    pub(super) fn at(top: &Path) -> Option<Self> {
        let dot = top.join(".git");
        let metadata = dot.metadata().ok()?;
        let git = match metadata.is_dir() {
            true => dot,
            // A worktree, or a submodule: a file that says where it is (gitrepository-layout(5)).
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

/// The states of checkouts. Indexes that have not changed are not read again.
#[derive(Debug, Default)]
pub(super) struct Checkouts {
    indexes: HashMap<PathBuf, (Stamp, Option<Index>)>,
}

/// The length and the time of an index.
type Stamp = (u64, Option<SystemTime>);

impl Checkouts {
    /// Why its files do not count, if they do not. Blocking.
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

    /// What was not fetched of that which belongs into a place. Blocking.
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
            // What git has written meanwhile has its lock.
            let index = Index::read(path).inspect_err(
                |error| tracing::debug!(path = %path.display(), %error, "git's index cannot be read"),
            );
            self.indexes.insert(path.clone(), (stamp, index.ok()));
        }
        self.indexes.get(path)?.1.as_ref()
    }
}

/// Whether it is a folder with nothing in it, as git leaves the place of a submodule.
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
