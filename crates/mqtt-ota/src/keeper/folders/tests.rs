use std::fs;

use super::list::List;
use super::stale::Stale;
use super::*;
use crate::wire::Digest;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

async fn scan(root: &Path) -> Folders {
    scan_touched(root, Arc::default(), Touched::All).await
}

async fn scan_touched(root: &Path, before: Arc<Folders>, touched: Touched) -> Folders {
    let before = Before { last: Arc::clone(&before), counted: before };
    Folders::scan(root, before, BTreeSet::from([Algorithm::Sha256]), touched, Suspects::default())
        .await
        .unwrap()
}

fn folder<'a>(folders: &'a Folders, device: &str) -> &'a Folder {
    match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
        Kept::Folder(folder) => folder,
        Kept::Unusable { error, .. } => panic!("{error}"),
    }
}

fn names(folder: &Folder) -> Vec<&str> {
    folder.set().files().map(|(path, _)| path.as_str()).collect()
}

fn error(folders: &Folders, device: &str) -> String {
    match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
        Kept::Folder(folder) => panic!("{:?}", names(folder)),
        Kept::Unusable { error, .. } => error.to_string(),
    }
}

#[tokio::test]
async fn a_folder_is_a_device_and_its_settings_are_not_sent() {
    let root = tree(&[
        ("LAMP/main.py", "1"),
        ("LAMP/lib/x.py", "2"),
        ("LAMP/device.toml", "hold = true"),
        ("LAMP/lib/device.toml", "an application's own"),
        ("LAMP/main.py~", "an editor's"),
        ("LAMP/#x.py#", "an editor's"),
        (".git/config", ""),
        ("README.md", "not a folder"),
    ]);
    let folders = scan(root.path()).await;
    assert_eq!(folders.devices.len(), 1);
    let lamp = folder(&folders, "LAMP");
    assert_eq!(names(lamp), ["lib/device.toml", "lib/x.py", "main.py"]);
    assert!(lamp.settings.hold);
    // The `sync` command sends the same files.
    let set = FileSet::of_folder(root.path().join("LAMP")).await.unwrap();
    assert!(set.files().map(|(path, _)| path.as_str()).eq(["lib/device.toml", "lib/x.py", "main.py"]));
}

#[tokio::test]
async fn included_files_come_along_and_the_device_s_own_win() {
    let root = tree(&[
        ("LAMP/device.toml", "include = [\"../common\", \"../lamps\"]\naliases = [\"ATTIC\"]"),
        ("LAMP/main.py", "own"),
        ("common/main.py", "common"),
        ("common/wifi.py", "common"),
        ("common/lib/a.py", "common"),
        ("lamps/wifi.py", "lamps"),
    ]);
    let folders = scan(root.path()).await;
    assert_eq!(folders.devices.len(), 2, "what is included is no device");
    for device in ["LAMP", "ATTIC"] {
        let lamp = folder(&folders, device);
        assert_eq!(names(lamp), ["lib/a.py", "main.py", "wifi.py"]);
        let Prepared { manifest, digest, .. } = lamp.prepared(Algorithm::Sha256).unwrap();
        assert_eq!(manifest.lines()[1].digest, Digest::of(Algorithm::Sha256, b"own"));
        assert_eq!(manifest.lines()[2].digest, Digest::of(Algorithm::Sha256, b"lamps"));
        assert_eq!(*digest, manifest.digest(Algorithm::Sha256));
    }
}

#[tokio::test]
async fn an_included_folder_with_settings_is_a_device_all_the_same() {
    let root = tree(&[
        ("LAMP/device.toml", "include = [\"../HALL\"]"),
        ("HALL/device.toml", ""),
        ("HALL/main.py", "x"),
    ]);
    let folders = scan(root.path()).await;
    assert_eq!(names(folder(&folders, "LAMP")), ["main.py"]);
    assert_eq!(names(folder(&folders, "HALL")), ["main.py"]);
}

async fn scan_after(root: &Path, before: &Arc<Folders>) -> Arc<Folders> {
    Arc::new(scan_touched(root, Arc::clone(before), Touched::All).await)
}

fn devices(folders: &Folders) -> Vec<String> {
    folders.devices.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_was_included_is_no_device_while_the_settings_are_wrong_or_gone() {
    let root =
        tree(&[("LAMP/device.toml", "include = [\"../common\"]"), ("LAMP/main.py", ""), ("common/x.py", "")]);
    let settings = root.path().join("LAMP/device.toml");
    let first = Arc::new(scan(root.path()).await);
    assert_eq!(devices(&first), ["LAMP"]);
    fs::write(&settings, "include = [").unwrap();
    let broken = scan_after(root.path(), &first).await;
    assert_eq!(devices(&broken), ["LAMP"]);
    fs::remove_file(&settings).unwrap();
    let without = scan_after(root.path(), &broken).await;
    assert_eq!(devices(&without), ["LAMP"]);
    fs::rename(root.path().join("LAMP"), root.path().join("HALL")).unwrap();
    let gone = scan_after(root.path(), &without).await;
    assert_eq!(devices(&gone), ["HALL"]);
    fs::rename(root.path().join("HALL"), root.path().join("LAMP")).unwrap();
    fs::write(&settings, "include = []").unwrap();
    let other = scan_after(root.path(), &gone).await;
    assert_eq!(devices(&other), ["LAMP", "common"], "nobody includes it any more");
}

#[tokio::test]
async fn what_was_included_is_a_device_as_soon_as_it_has_settings() {
    let root = tree(&[("LAMP/device.toml", "include = [\"../common\"]"), ("common/x.py", "")]);
    let first = Arc::new(scan(root.path()).await);
    fs::remove_file(root.path().join("LAMP/device.toml")).unwrap();
    fs::write(root.path().join("common/device.toml"), "").unwrap();
    let second = scan_after(root.path(), &first).await;
    assert_eq!(names(folder(&second, "common")), ["x.py"]);
}

#[tokio::test]
async fn nothing_is_sent_from_a_folder_that_settings_name_which_nobody_understands() {
    let root = tree(&[
        ("LAMP/device.toml", "inclued = [\"../Common\"]"),
        ("HALL/main.py", ""),
        ("common/x.py", ""),
        ("ATTIC/device.toml", "# common"),
        ("ATTIC/main.py", ""),
    ]);
    let first = Arc::new(scan(root.path()).await);
    let wrong = error(&first, "common");
    assert!(wrong.contains("common: ") && wrong.ends_with("LAMP/device.toml is wrong"), "{wrong}");
    assert_eq!(names(folder(&first, "HALL")), ["main.py"]);
    assert_eq!(names(folder(&first, "ATTIC")), ["main.py"]);
    fs::write(root.path().join("LAMP/device.toml"), "").unwrap();
    let second = scan_after(root.path(), &first).await;
    assert_eq!(names(folder(&second, "common")), ["x.py"]);
}

#[tokio::test]
async fn nothing_is_sent_from_any_folder_without_settings_while_some_cannot_be_read_at_all() {
    let root =
        tree(&[("LAMP/main.py", ""), ("HALL/main.py", ""), ("HALL/device.toml", ""), ("x/main.py", "")]);
    for bytes in [&b"include = [\"\xff"[..], &[b'#'; 2_000_000]] {
        fs::write(root.path().join("LAMP/device.toml"), bytes).unwrap();
        let folders = scan(root.path()).await;
        assert!(error(&folders, "x").starts_with("cannot tell whether others include"));
        assert_eq!(names(folder(&folders, "HALL")), ["main.py"]);
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_folder_is_no_other_s() {
    let root = tree(&[
        ("GOOD/main.py", ""),
        ("TYPO/device.toml", "inclued = []"),
        ("TYPO/main.py", ""),
        ("LOST/device.toml", "include = [\"../nowhere\"]"),
        ("LOST/main.py", ""),
        ("EMPTY/device.toml", ""),
        ("FIRST/device.toml", "aliases = [\"BOTH\"]"),
        ("FIRST/main.py", ""),
        ("BOTH/main.py", ""),
        ("$x/main.py", ""),
    ]);
    let folders = scan(root.path()).await;
    assert_eq!(names(folder(&folders, "GOOD")), ["main.py"]);
    assert!(error(&folders, "TYPO").ends_with("device.toml is wrong"));
    assert!(error(&folders, "LOST").starts_with("cannot include"));
    assert!(error(&folders, "EMPTY").starts_with("cannot send"));
    assert_eq!(error(&folders, "BOTH"), "more than one folder is for BOTH");
    assert_eq!(folders.strays.len(), 1);
}

#[tokio::test]
async fn an_alias_that_is_there_twice_or_is_the_folder_s_own_name_is_one_device() {
    let root =
        tree(&[("LAMP/device.toml", "aliases = [\"LAMP\", \"HALL\", \"HALL\"]"), ("LAMP/main.py", "")]);
    let folders = scan(root.path()).await;
    for device in ["LAMP", "HALL"] {
        assert_eq!(names(folder(&folders, device)), ["main.py"]);
    }
}

#[tokio::test]
async fn the_aliases_and_groups_of_a_folder_that_cannot_be_sent_are_known() {
    let root = tree(&[
        ("LAMP/device.toml", "aliases = [\"HALL\"]\ngroups = [\"first\"]"),
        ("TYPO/device.toml", "["),
    ]);
    let folders = scan(root.path()).await;
    assert!(error(&folders, "HALL").starts_with("cannot send"));
    let groups = |device: &str| match &folders.devices[&device.parse::<DeviceName>().unwrap()] {
        Kept::Unusable { groups, .. } => groups.clone(),
        Kept::Folder(_) => panic!("{device}"),
    };
    assert_eq!(groups("HALL"), Some(BTreeSet::from(["first".to_owned()])));
    assert_eq!(groups("TYPO"), None);
}

fn digest(folders: &Folders, device: &str) -> Digest {
    folder(folders, device).prepared(Algorithm::Sha256).unwrap().digest
}

/// Returns the files of one folder, by their names.
fn list<'a>(folders: &'a Folders, root: &Path, folder: &str) -> &'a List {
    folders.lists[&root.join(folder)].as_ref().unwrap()
}

#[tokio::test]
async fn what_has_not_changed_is_not_hashed_again() {
    let root = tree(&[("LAMP/main.py", "1"), ("LAMP/b.py", "1")]);
    let first = Arc::new(scan(root.path()).await);
    fs::write(root.path().join("LAMP/b.py"), "22").unwrap();
    let second = scan_after(root.path(), &first).await;
    let [before, after] = [&first, &second].map(|folders| &list(folders, root.path(), "LAMP").files);
    assert_eq!(after.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b.py", "main.py"]);
    assert!(!before[0].1.is(&after[0].1));
    assert!(before[1].1.is(&after[1].1));
    assert_ne!(digest(&first, "LAMP"), digest(&second, "LAMP"));
}

#[tokio::test]
async fn those_who_include_the_same_share_it() {
    let root = tree(&[
        ("LAMP/device.toml", "include = [\"../common\"]"),
        ("HALL/device.toml", "include = [\"../common\"]\nhold = true"),
        ("ATTIC/device.toml", "include = [\"../common\"]"),
        ("ATTIC/x.py", ""),
        ("common/main.py", "1"),
    ]);
    let folders = scan(root.path()).await;
    let [lamp, hall, attic] = ["LAMP", "HALL", "ATTIC"].map(|device| folder(&folders, device));
    assert!(Arc::ptr_eq(&lamp.files, &hall.files));
    assert!(!lamp.settings.hold && hall.settings.hold);
    assert_eq!(names(attic), ["main.py", "x.py"]);
}

fn touched(root: &Path, paths: &[&str]) -> Touched {
    Touched::Paths(paths.iter().map(|path| root.join(path)).collect())
}

#[tokio::test]
async fn only_where_something_is_touched_it_is_looked_at_and_all_who_have_it_have_it_anew() {
    let root = tree(&[
        ("LAMP/device.toml", "include = [\"../common\"]"),
        ("LAMP/lib/x.py", "1"),
        ("HALL/main.py", "1"),
        ("common/main.py", "1"),
    ]);
    let root = root.path();
    let first = Arc::new(scan(root).await);
    fs::write(root.join("common/main.py"), "22").unwrap();
    fs::write(root.join("LAMP/lib/new.py"), "22").unwrap();
    fs::write(root.join("HALL/main.py"), "22").unwrap();
    let changed = touched(root, &["common/main.py", "LAMP/lib/new.py"]);
    let second = Arc::new(scan_touched(root, Arc::clone(&first), changed).await);
    let digests = |folders: &Folders| ["LAMP", "HALL"].map(|device| digest(folders, device));
    let all = scan(root).await;
    assert_eq!(names(folder(&second, "LAMP")), ["lib/new.py", "lib/x.py", "main.py"]);
    assert_eq!(digests(&second)[0], digests(&all)[0]);
    assert_eq!(digests(&second)[1], digests(&first)[1], "nobody has told of it");
    let third = scan_touched(root, second, touched(root, &["HALL/main.py"])).await;
    assert_eq!(digests(&third), digests(&all));
    assert!(third.against(&all).is_empty());
}

#[tokio::test]
async fn what_may_change_which_folders_there_are_is_not_told_apart() {
    let root = tree(&[
        ("LAMP/device.toml", "include = [\"../.all/lib\"]"),
        ("LAMP/lib/x.py", "1"),
        (".all/lib/main.py", "1"),
    ]);
    let root = &root.path().canonicalize().unwrap();
    let before = scan(root).await;
    let places = |paths: &[&str]| match Stale::of(root, &before, &touched(root, paths), &BTreeSet::new()) {
        Stale::All => None,
        Stale::Places(places) => {
            Some(places.iter().map(|place| place.strip_prefix(root).unwrap().display().to_string()).collect())
        }
    };
    assert_eq!(places(&[]), Some(vec![]));
    assert_eq!(places(&["LAMP/x.py", "LAMP/lib/x.py"]), Some(vec!["LAMP".to_owned()]));
    assert_eq!(places(&[".all/lib/x.py"]), Some(vec![".all/lib".to_owned()]));
    for path in
        ["LAMP", "HALL", "HALL/main.py", "LAMP/device.toml", "LAMP/no/x.py", ".all", ".all/lib", ".all/x"]
    {
        assert_eq!(places(&["LAMP/x.py", path]), None, "{path}");
    }
    assert_eq!(Stale::of(root, &before, &Touched::All, &BTreeSet::new()), Stale::All);
    fs::remove_dir_all(root.join(".all/lib")).unwrap();
    let broken = scan(root).await;
    assert_eq!(Stale::of(root, &broken, &touched(root, &["LAMP/x.py"]), &BTreeSet::new()), Stale::All);
}

#[cfg(unix)]
#[tokio::test]
async fn where_a_link_leads_to_is_looked_at_whatever_is_touched() {
    use std::os::unix::fs::symlink;
    let (root, far) = (tree(&[("LAMP/y.py", ""), ("ATTIC/main.py", "1")]), tree(&[("x.py", "1")]));
    let root = root.path();
    symlink(far.path(), root.join("HALL")).unwrap();
    symlink(far.path().join("x.py"), root.join("LAMP/x.py")).unwrap();
    symlink(root.join("ATTIC"), root.join("CELLAR")).unwrap();
    let before = Arc::new(scan(root).await);
    fs::write(far.path().join("x.py"), "22").unwrap();
    fs::write(root.join("ATTIC/main.py"), "22").unwrap();
    let after = scan_touched(root, before, touched(root, &["CELLAR/main.py"])).await;
    assert!(after.against(&scan(root).await).is_empty());
}

#[tokio::test]
async fn a_root_that_is_gone_is_an_error_and_not_a_house_without_devices() {
    let root = tempfile::tempdir().unwrap();
    let gone = root.path().join("gone");
    let scanned =
        Folders::scan(&gone, Before::default(), BTreeSet::new(), Touched::All, Suspects::default()).await;
    assert!(matches!(scanned, Err(FolderError::Unreadable { .. })));
}
