//! Whether git is at work on files, which may be slow to come: from a network, or through a filter.

use std::fs;
use std::path::{Path, PathBuf};

/// What git has there from before it writes the first file of a checkout until after the last.
const LOCK: &str = "index.lock";

/// Whether a checkout is under way that a folder is a part of. Blocking, and quick.
pub(super) fn is_under_way(folder: &Path) -> bool {
    git_folder(folder).is_some_and(|git| git.join(LOCK).exists())
}

/// Where git keeps what it knows of the checkout that a folder is a part of.
fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    if git.is_dir() {
        return Some(git);
    }
    // A worktree, or a submodule: a file that says where it is (gitrepository-layout(5)).
    let text = fs::read_to_string(&git).ok()?;
    let at = text.strip_prefix("gitdir:")?.trim();
    Some(git.parent()?.join(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_under_way_while_git_has_its_lock_also_in_a_worktree() {
        let home = tempfile::tempdir().unwrap();
        let (whole, tree) = (home.path().join("whole"), home.path().join("tree"));
        let (devices, other) = (whole.join("home/devices"), tree.join("devices"));
        for folder in [&devices, &other, &whole.join(".git/worktrees/tree")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(tree.join(".git"), "gitdir: ../whole/.git/worktrees/tree\n").unwrap();
        assert_eq!((is_under_way(&devices), is_under_way(&other)), (false, false));
        fs::write(whole.join(".git/index.lock"), "").unwrap();
        assert_eq!((is_under_way(&devices), is_under_way(&other)), (true, false));
        fs::rename(whole.join(".git/index.lock"), whole.join(".git/worktrees/tree/index.lock")).unwrap();
        assert_eq!((is_under_way(&devices), is_under_way(&other)), (false, true));
    }
}
