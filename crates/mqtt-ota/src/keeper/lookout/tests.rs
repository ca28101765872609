use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::*;
use crate::keeper::folders::Kept;

const SETTLE: Duration = Duration::from_secs(1);
const QUIET: Quiet = Quiet { one: SETTLE, more: SETTLE };
const LOOK: Duration = Duration::from_secs(60);

/// Folder of a device on a file system that reports nothing: the target of a link is not watched.
struct Share {
    root: tempfile::TempDir,
    far: tempfile::TempDir,
}

impl Share {
    fn new() -> Self {
        let share = Self { root: tempfile::tempdir().unwrap(), far: tempfile::tempdir().unwrap() };
        fs::create_dir(share.root.path().join("LAMP")).unwrap();
        share.has("main.py", "1");
        share
    }

    /// Adds a file.
    fn has(&self, name: &str, text: &str) {
        self.write(name, text);
        symlink(self.far.path().join(name), self.root.path().join("LAMP").join(name)).unwrap();
    }

    /// Writes a file, with a clock so far behind that its time tells nothing.
    fn write(&self, name: &str, text: &str) {
        let path = self.far.path().join(name);
        fs::write(&path, text).unwrap();
        let behind = SystemTime::now() - Duration::from_secs(7200);
        File::options().write(true).open(&path).unwrap().set_modified(behind).unwrap();
    }
}

/// Returns the result of the next scan, and the time until then.
async fn looked(lookout: &mut Lookout) -> (Sight, Duration) {
    let begun = Instant::now();
    loop {
        match lookout.next().await {
            Sight::Due => lookout.look(&BTreeSet::from([Algorithm::Sha256])),
            sight => return (sight, begun.elapsed()),
        }
    }
}

async fn started(share: &Share) -> Lookout {
    let mut lookout = Lookout::start(share.root.path(), QUIET).unwrap();
    lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    assert!(matches!(lookout.next().await, Sight::Clear(_)));
    lookout
}

fn length(sight: &Sight) -> u64 {
    let Sight::Clear(folders) = sight else { panic!("{sight:?}") };
    let (_, kept) = folders.devices.first_key_value().unwrap();
    match kept {
        Kept::Folder(folder) => folder.set().payloads().map(|(_, payload)| payload.len()).sum(),
        // The folder was not known before.
        Kept::Unusable { error, .. } if error.is_held() => 0,
        Kept::Unusable { error, .. } => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_told_of_counts_when_it_is_found_twice() {
    let share = Share::new();
    let mut lookout = started(&share).await;
    share.write("main.py", "22");
    let (sight, waited) = looked(&mut lookout).await;
    assert!(matches!(sight, Sight::Blurred) && waited >= LOOK, "{sight:?} {waited:?}");
    share.write("main.py", "333");
    let (sight, waited) = looked(&mut lookout).await;
    assert!(matches!(sight, Sight::Blurred) && waited >= SETTLE, "{sight:?} {waited:?}");
    let (sight, waited) = looked(&mut lookout).await;
    assert_eq!(length(&sight), 3);
    assert!(waited >= SETTLE && waited < LOOK, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_follows_at_once_does_not_count_as_the_second_one() {
    let share = Share::new();
    let mut lookout = started(&share).await;
    share.write("main.py", "22");
    assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    assert_eq!(length(&looked(&mut lookout).await.0), 2);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_counts_at_once() {
    let share = Share::new();
    let mut lookout = started(&share).await;
    let (sight, waited) = looked(&mut lookout).await;
    assert_eq!(length(&sight), 1);
    assert!(waited >= LOOK);
}

// On the real clock, because that of the system does not stand still.
#[tokio::test]
async fn what_is_told_of_is_looked_at_half_way_and_counts_as_it_was_then_once_it_is_at_rest() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("LAMP/main.py");
    fs::create_dir(root.path().join("LAMP")).unwrap();
    fs::write(&file, "1").unwrap();
    let mut lookout = started_at(root.path()).await;
    fs::write(&file, "22").unwrap();
    assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    let found = lookout.found.clone().unwrap();
    let sight = clear(&mut lookout).await;
    assert!(matches!(&sight, Sight::Clear(folders) if Arc::ptr_eq(folders, &found)), "{sight:?}");
    assert_eq!(length(&sight), 2);
}

/// Returns the result of the next scan, during which events are lost.
async fn lost(lookout: &mut Lookout) -> Sight {
    while lookout.looking.is_empty() {
        assert!(matches!(lookout.next().await, Sight::Due));
        lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    }
    lookout.watch.lose();
    lookout.next().await
}

#[tokio::test(start_paused = true)]
async fn what_the_system_has_lost_count_of_counts_when_it_is_found_twice_and_is_not_looked_at_for_ever() {
    let share = Share::new();
    let mut lookout = Lookout::start(share.root.path(), QUIET).unwrap();
    lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    assert_eq!(held(&lost(&mut lookout).await), ["LAMP"]);
    assert_eq!(length(&lost(&mut lookout).await), 1);
    // The system may report the scan itself only now.
    lookout.watch.lose();
    let (sight, waited) = looked(&mut lookout).await;
    assert_eq!(length(&sight), 1);
    assert!(waited > LOOK / 2, "{waited:?}");
    share.write("main.py", "22");
    lookout.watch.lose();
    assert!(matches!(lost(&mut lookout).await, Sight::Blurred));
    share.write("main.py", "333");
    assert!(matches!(lost(&mut lookout).await, Sight::Blurred));
    assert_eq!(length(&lost(&mut lookout).await), 3);
}

#[tokio::test(start_paused = true)]
async fn where_it_is_told_of_it_is_looked_at_and_all_once_a_minute() {
    let root = tempfile::tempdir().unwrap();
    let (lamp, hall) = (root.path().join("LAMP/main.py"), root.path().join("HALL/main.py"));
    for file in [&lamp, &hall] {
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(file, "1").unwrap();
    }
    let mut lookout = Lookout::start(root.path(), QUIET).unwrap();
    while !held(&clear(&mut lookout).await).is_empty() {}
    fs::write(&lamp, "22").unwrap();
    assert_eq!(lengths(&clear(&mut lookout).await), [1, 2]);
    // Without a report of the change, the whole tree is scanned.
    fs::write(&hall, "333").unwrap();
    sleep(LOOK).await;
    let _ = lookout.watch.rest.looking(Instant::now());
    lookout.watch.rest.doubt();
    assert_eq!(lengths(&clear(&mut lookout).await), [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn settings_that_nobody_told_of_have_to_be_found_twice_as_well() {
    let share = Share::new();
    share.has("device.toml", "hold = true");
    let mut lookout = started(&share).await;
    share.write("device.toml", "hold = false");
    assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    assert!(matches!(looked(&mut lookout).await.0, Sight::Clear(_)));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_tells_of_and_never_comes_to_rest_is_never_taken() {
    let share = Share::new();
    let mut lookout = started(&share).await;
    let begun = Instant::now();
    for length in 2..100 {
        share.write("main.py", &"x".repeat(length));
        assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    }
    assert!(begun.elapsed() > 2 * LOOK);
    assert_eq!(length(&clear(&mut lookout).await), 99);
}

// On the real clock, because that of the system does not stand still.
#[tokio::test]
async fn what_was_just_written_when_it_started_is_found_twice_and_the_others_are_not() {
    let root = tempfile::tempdir().unwrap();
    for device in ["LAMP", "HALL"] {
        fs::create_dir(root.path().join(device)).unwrap();
        fs::write(root.path().join(device).join("main.py"), "1").unwrap();
    }
    let old = SystemTime::now() - Duration::from_secs(10);
    File::options().write(true).open(root.path().join("HALL/main.py")).unwrap().set_modified(old).unwrap();
    let mut lookout = Lookout::start(root.path(), QUIET).unwrap();
    lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    assert_eq!(held(&looked(&mut lookout).await.0), ["LAMP"]);
    assert_eq!(held(&clear(&mut lookout).await), Vec::<String>::new());
}

/// Returns the devices whose folders are held back and whose files were not known before.
fn held(sight: &Sight) -> Vec<String> {
    let Sight::Clear(folders) = sight else { panic!("{sight:?}") };
    let is_held = |kept: &Kept| matches!(kept, Kept::Unusable { error, .. } if error.is_held());
    folders.devices.iter().filter(|(_, kept)| is_held(kept)).map(|(device, _)| device.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_checkout_is_waited_for_however_long_it_pauses() {
    let (home, _) = releases();
    let (lock, root) = (home.path().join(".git/index.lock"), home.path().join("1/devices"));
    fs::create_dir(home.path().join(".git")).unwrap();
    let mut lookout = started_at(&root).await;
    fs::write(&lock, "").unwrap();
    fs::write(root.join("LAMP/main.py"), "22").unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * LOOK {
        assert!(matches!(looked(&mut lookout).await.0, Sight::Blurred));
    }
    fs::remove_file(&lock).unwrap();
    assert_eq!(length(&clear(&mut lookout).await), 2);
    // A checkout that began before the watch is noticed as well.
    drop(lookout);
    fs::write(&lock, "").unwrap();
    let mut lookout = Lookout::start(&root, QUIET).unwrap();
    assert_eq!(held(&looked(&mut lookout).await.0), ["LAMP"]);
    fs::remove_file(&lock).unwrap();
    assert_eq!(length(&clear(&mut lookout).await), 2);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_held_holds_no_other_one() {
    use std::io::Write as _;
    let root = tempfile::tempdir().unwrap();
    for device in ["LAMP", "HALL"] {
        fs::create_dir(root.path().join(device)).unwrap();
        fs::write(root.path().join(device).join("main.py"), "1").unwrap();
    }
    let mut lookout = Lookout::start(root.path(), QUIET).unwrap();
    while !held(&clear(&mut lookout).await).is_empty() {}
    let mut file = File::create(root.path().join("LAMP/main.py")).unwrap();
    file.write_all(b"hal").unwrap();
    fs::write(root.path().join("HALL/main.py"), "22").unwrap();
    assert_eq!(lengths(&clear(&mut lookout).await), [2, 1]);
    file.write_all(b"f").unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * LOOK {
        if let (sight @ Sight::Clear(_), _) = looked(&mut lookout).await {
            assert_eq!(lengths(&sight), [2, 1]);
        }
    }
    drop(file);
    while lengths(&clear(&mut lookout).await) != [2, 4] {}
}

/// Returns the lengths of the devices' files, in the order of the devices' names.
fn lengths(sight: &Sight) -> Vec<u64> {
    let Sight::Clear(folders) = sight else { panic!("{sight:?}") };
    let total = |kept: &Kept| match kept {
        Kept::Folder(folder) => folder.set().total(),
        Kept::Unusable { error, .. } => panic!("{error}"),
    };
    folders.devices.values().map(total).collect()
}

/// Creates folders of one device each, whose only file is as long as the number of the folder, and a link to the first.
fn releases() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    for number in 1..4 {
        let lamp = home.path().join(format!("{number}/devices/LAMP"));
        fs::create_dir_all(&lamp).unwrap();
        fs::write(lamp.join("main.py"), "x".repeat(number)).unwrap();
    }
    let link = home.path().join("current");
    symlink("1", &link).unwrap();
    (home, link)
}

/// Makes the link lead there from now on.
fn relink(link: &Path, target: &str) {
    symlink(target, link.with_extension("new")).unwrap();
    fs::rename(link.with_extension("new"), link).unwrap();
}

/// Returns the next result that is not blurred.
async fn clear(lookout: &mut Lookout) -> Sight {
    loop {
        let (sight, _) = looked(lookout).await;
        if !matches!(sight, Sight::Blurred) {
            return sight;
        }
    }
}

async fn started_at(path: &Path) -> Lookout {
    let mut lookout = Lookout::start(path, QUIET).unwrap();
    lookout.look(&BTreeSet::from([Algorithm::Sha256]));
    while length(&clear(&mut lookout).await) != 1 {}
    lookout
}

#[tokio::test(start_paused = true)]
async fn a_link_that_leads_elsewhere_is_followed_wherever_it_is_in_the_path() {
    let (home, link) = releases();
    let mut lookout = started_at(&link.join("devices")).await;
    relink(&link, "2");
    assert_eq!(length(&clear(&mut lookout).await), 2);
    fs::remove_file(home.path().join("1/devices/LAMP/main.py")).unwrap();
    fs::write(home.path().join("2/devices/LAMP/main.py"), "12345").unwrap();
    assert_eq!(length(&clear(&mut lookout).await), 5);
    relink(&link, "3");
    assert_eq!(length(&clear(&mut lookout).await), 3);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_put_in_the_place_of_another_is_followed() {
    let (home, _) = releases();
    let devices = home.path().join("1/devices");
    let mut lookout = started_at(&devices).await;
    fs::rename(&devices, home.path().join("old")).unwrap();
    assert!(matches!(clear(&mut lookout).await, Sight::Unreadable(_)));
    fs::rename(home.path().join("2/devices"), &devices).unwrap();
    assert_eq!(length(&clear(&mut lookout).await), 2);
    fs::remove_dir_all(&devices).unwrap();
    fs::rename(home.path().join("3/devices"), &devices).unwrap();
    assert_eq!(length(&clear(&mut lookout).await), 3);
}

#[tokio::test(start_paused = true)]
async fn the_folder_that_is_followed_is_this_keeper_s_alone_and_the_one_before_is_free() {
    let (home, link) = releases();
    let mut lookout = started_at(&link.join("devices")).await;
    let taken = |number: u8| Lookout::start(&home.path().join(format!("{number}/devices")), QUIET);
    assert!(matches!(taken(1), Err(KeeperError::Taken { .. })));
    relink(&link, "2");
    assert_eq!(length(&clear(&mut lookout).await), 2);
    assert!(matches!(taken(2), Err(KeeperError::Taken { .. })));
    let (_first, third) = (taken(1).unwrap(), taken(3).unwrap());
    relink(&link, "3");
    assert!(matches!(clear(&mut lookout).await, Sight::Unreadable(KeeperError::Taken { .. })));
    drop(third);
    assert_eq!(length(&clear(&mut lookout).await), 3);
}
