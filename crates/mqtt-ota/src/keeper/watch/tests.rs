use super::*;
use notify::Event;
use notify::event::{EventKind, Flag};
use std::fs;
use tokio::time::timeout;

impl Watch {
    /// The system loses count.
    pub(in crate::keeper) fn lose(&self) {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        self.heard.hear(|_| false, &Ok(overflow));
    }
}

const SETTLE: Duration = Duration::from_millis(50);
/// Far more than anything takes.
const GUARD: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_is_written_renamed_or_removed_is_seen_also_in_new_folders_and_elsewhere() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
    watch.follow([root.path(), elsewhere.path()].into_iter());
    let (lamp, file) = (root.path().join("LAMP"), root.path().join("LAMP/main.py"));
    let changes: [&dyn Fn(); 5] = [
        &|| fs::create_dir(&lamp).unwrap(),
        &|| fs::write(&file, "1").unwrap(),
        &|| fs::rename(&file, lamp.join("x.py")).unwrap(),
        &|| fs::remove_file(lamp.join("x.py")).unwrap(),
        &|| fs::write(elsewhere.path().join("common.py"), "1").unwrap(),
    ];
    for change in changes {
        change();
        timeout(GUARD, watch.settled()).await.unwrap();
    }
}

#[tokio::test]
async fn a_tree_that_was_just_written_to_is_looked_at_again() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
    let now = SystemTime::now();
    assert_eq!(watch.disturbance(None), Disturbance::None);
    assert_eq!(watch.disturbance(Some(now - Duration::from_secs(10))), Disturbance::None);
    let ahead = now + Duration::from_secs(3600);
    assert_eq!(watch.disturbance(Some(ahead)), Disturbance::None, "a clock that is wrong");
    assert_eq!(watch.disturbance(Some(SystemTime::now())), Disturbance::Written);
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.disturbance(Some(now)), Disturbance::None);
}

#[tokio::test]
async fn what_is_written_after_it_was_at_rest_disturbs_a_look() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
    fs::write(root.path().join("main.py"), "1").unwrap();
    // Half-way, and at rest.
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::Written);
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::None);
    fs::write(root.path().join("main.py"), "2").unwrap();
    let disturbed = async {
        while watch.disturbance(None) == Disturbance::None {
            tokio::task::yield_now().await;
        }
    };
    timeout(GUARD, disturbed).await.unwrap();
    while watch.disturbance(None) != Disturbance::None {
        timeout(GUARD, watch.settled()).await.unwrap();
    }
}

#[tokio::test]
async fn a_checkout_is_waited_for_however_long_it_pauses() {
    let home = tempfile::tempdir().unwrap();
    let (lock, root) = (home.path().join(".git/index.lock"), home.path().join("devices"));
    fs::create_dir(home.path().join(".git")).unwrap();
    fs::create_dir(&root).unwrap();
    let mut watch = Watch::start(&root, &root, SETTLE).unwrap();
    fs::write(&lock, "").unwrap();
    fs::write(root.join("main.py"), "1").unwrap();
    // Half-way.
    timeout(GUARD, watch.settled()).await.unwrap();
    assert!(timeout(6 * SETTLE, watch.settled()).await.is_err());
    fs::remove_file(&lock).unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::None);
    // One that has begun before anybody watched.
    fs::write(&lock, "").unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::Written);
    fs::remove_file(&lock).unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::None);
}

#[tokio::test]
async fn a_hidden_file_beside_the_folders_is_no_change_and_one_in_them_is() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("LAMP")).unwrap();
    let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
    fs::write(root.path().join(".announcements.new"), "1").unwrap();
    fs::rename(root.path().join(".announcements.new"), root.path().join(".announcements")).unwrap();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    fs::write(root.path().join("LAMP/.mqttotaignore"), "1").unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_put_in_the_place_of_the_root_is_seen_and_what_is_beside_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (link, other) = (home.path().join("devices"), home.path().join("other"));
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(one.path(), &link).unwrap();
    let mut watch = Watch::start(&link, one.path(), SETTLE).unwrap();
    std::os::unix::fs::symlink(two.path(), &other).unwrap();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    fs::rename(&other, &link).unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
    fs::remove_file(&link).unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
    fs::create_dir(&link).unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
}

#[tokio::test]
async fn it_is_told_where_something_was_written_and_that_anything_may_have_been() {
    let root = tempfile::tempdir().unwrap();
    let (main, root) = (root.path().join("main.py"), root.path());
    let mut watch = Watch::start(root, root, SETTLE).unwrap();
    assert_eq!(watch.touched(), Touched::All);
    fs::write(&main, "1").unwrap();
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.touched(), Touched::Paths(BTreeSet::from([main.clone()])));
    assert_eq!(watch.touched(), Touched::NOTHING);
    watch.lose();
    timeout(GUARD, watch.settled()).await.unwrap();
    assert_eq!(watch.touched(), Touched::All);
    watch.lose();
    assert_eq!(watch.disturbance(None), Disturbance::Lost);
    fs::write(&main, "2").unwrap();
    timeout(GUARD, watch.heard.is_new.notified()).await.unwrap();
    assert_eq!(watch.disturbance(None), Disturbance::Written);
}

#[tokio::test]
async fn reading_is_no_change() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("main.py"), "1").unwrap();
    let mut watch = Watch::start(root.path(), root.path(), SETTLE).unwrap();
    fs::read(root.path().join("main.py")).unwrap();
    fs::read_dir(root.path()).unwrap().count();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
}
