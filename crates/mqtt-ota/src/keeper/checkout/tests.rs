use std::process::Command;

use super::*;

/// Checkout with two branches that conflict: `main`, which is checked out, and `other`.
struct Repository {
    home: tempfile::TempDir,
}

impl Repository {
    fn new(format: &str) -> Self {
        let repository = Self { home: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.top()).unwrap();
        repository.git(&["init", "-q", "-b", "main", "--object-format", format]);
        for (name, text) in [("LAMP/a/long/name.py", "0"), ("LAMP/main.py", "0"), ("x.txt", "0")] {
            repository.has(name, text);
        }
        repository.commit("first");
        repository.git(&["checkout", "-q", "-b", "other"]);
        repository.has("LAMP/main.py", "other");
        repository.commit("other");
        repository.git(&["checkout", "-q", "main"]);
        repository.has("LAMP/main.py", "main");
        repository.commit("main");
        repository
    }

    fn top(&self) -> PathBuf {
        self.home.path().join("top")
    }

    fn has(&self, name: &str, text: &str) {
        let path = self.top().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// Runs git, and returns whether it succeeded.
    fn tries(&self, folder: &Path, args: &[&str]) -> bool {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "protocol.file.allow=always"]);
        git.args(["-c", "core.editor=true"]).args(args).current_dir(folder);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        git.output().unwrap().status.success()
    }

    fn git(&self, args: &[&str]) {
        assert!(self.tries(&self.top(), args), "{args:?}");
    }

    /// Returns the state of a folder.
    fn state(&self, folder: &Path) -> Option<Unfinished> {
        let checkout = Checkout::of(folder).unwrap();
        let mut checkouts = Checkouts::default();
        checkouts.unfinished(&checkout).or_else(|| checkouts.missing(&checkout, folder))
    }
}

#[test]
fn what_waits_to_be_ended_is_seen_until_it_is() {
    let repository = Repository::new("sha1");
    let (top, lamp) = (repository.top(), repository.top().join("LAMP"));
    let unmerged = Some(Unfinished::Unmerged("LAMP/main.py".to_owned()));
    assert_eq!(repository.state(&lamp), None);
    for (begin, end, resolved) in [
        ("merge other", "merge --abort", "a merge"),
        ("rebase other", "rebase --abort", "a rebase"),
        ("cherry-pick other", "cherry-pick --abort", "a cherry-pick"),
        ("revert HEAD~1 --no-edit", "revert --abort", "a revert"),
    ] {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        // A file that the first commit created and the last one changed cannot be reverted.
        assert!(!repository.tries(&top, &words(begin)), "{begin}");
        assert_eq!(repository.state(&lamp), unmerged, "{begin}");
        repository.git(&["add", "-A"]);
        assert_eq!(repository.state(&lamp), Some(Unfinished::UnderWay(resolved)), "{begin}");
        repository.git(&words(end));
        assert_eq!(repository.state(&lamp), None, "{begin}");
    }
    repository.git(&["bisect", "start"]);
    assert_eq!(repository.state(&lamp), Some(Unfinished::UnderWay("a bisect")));
    repository.git(&["bisect", "reset"]);
    assert_eq!(repository.state(&lamp), None);
    // A stash that conflicts with the present files leaves no trace but in the index.
    repository.has("LAMP/main.py", "aside");
    repository.git(&["stash", "-q"]);
    repository.has("LAMP/main.py", "by now");
    repository.commit("by now");
    assert!(!repository.tries(&top, &["stash", "pop"]));
    assert_eq!(repository.state(&lamp), unmerged);
}

#[test]
fn every_form_of_the_index_is_understood() {
    for format in ["sha1", "sha256"] {
        for version in ["2", "3", "4"] {
            let repository = Repository::new(format);
            // Version 3 is that of an index that needs its flags.
            match version {
                "3" => {
                    repository.has("LAMP/later.py", "");
                    repository.git(&["add", "-N", "LAMP/later.py"]);
                    repository.git(&["update-index", "--skip-worktree", "x.txt"]);
                }
                _ => repository.git(&["update-index", "--index-version", version]),
            }
            let index = std::fs::read(repository.top().join(".git/index")).unwrap();
            assert_eq!(index[7].to_string(), version);
            assert_eq!(repository.state(&repository.top()), None);
            repository.tries(&repository.top(), &["merge", "-q", "other"]);
            let unmerged = Some(Unfinished::Unmerged("LAMP/main.py".to_owned()));
            let expected = if version == "3" { None } else { unmerged };
            assert_eq!(repository.state(&repository.top()), expected, "{format} {version}");
        }
    }
}

#[test]
fn a_worktree_and_a_submodule_have_states_of_their_own() {
    let repository = Repository::new("sha1");
    let (top, tree) = (repository.top(), repository.home.path().join("tree"));
    repository.git(&["worktree", "add", "-q", "../tree", "-b", "third", "HEAD~1"]);
    std::fs::write(tree.join("LAMP/main.py"), "third").unwrap();
    assert!(repository.tries(&tree, &["commit", "-qam", "third"]));
    assert!(!repository.tries(&tree, &["merge", "-q", "other"]));
    assert!(matches!(repository.state(&tree.join("LAMP")), Some(Unfinished::Unmerged(_))));
    assert_eq!(repository.state(&top.join("LAMP")), None);
    let outer = Repository::new("sha1");
    let path = top.to_str().unwrap();
    outer.git(&["submodule", "add", "-q", "-b", "main", path, "common"]);
    outer.commit("common");
    assert_eq!(outer.state(&outer.top()), None);
    let common = outer.top().join("common");
    outer.tries(&common, &["merge", "-q", "origin/other"]);
    assert!(matches!(outer.state(&common.join("LAMP")), Some(Unfinished::Unmerged(_))));
    assert_eq!(outer.state(&outer.top().join("LAMP")), None);
}

#[test]
fn a_submodule_that_is_not_initialised_is_missing_where_it_belongs() {
    let (repository, outer) = (Repository::new("sha1"), Repository::new("sha1"));
    let path = repository.top();
    outer.git(&["submodule", "add", "-q", "-b", "main", path.to_str().unwrap(), "LAMP/lib"]);
    outer.commit("lib");
    outer.git(&["clone", "-q", ".", "../clone"]);
    let clone = outer.home.path().join("clone");
    let missing = Some(Unfinished::Uninitialised("LAMP/lib".to_owned()));
    assert_eq!(outer.state(&clone.join("LAMP")), missing);
    assert_eq!(outer.state(&clone.join("HALL")), None);
    assert!(outer.tries(&clone, &["submodule", "-q", "update", "--init"]));
    assert_eq!(outer.state(&clone.join("LAMP")), None);
}

#[test]
fn git_s_lock_is_seen() {
    let repository = Repository::new("sha1");
    std::fs::write(repository.top().join(".git/index.lock"), "").unwrap();
    assert_eq!(repository.state(&repository.top().join("LAMP")), Some(Unfinished::Locked));
}
