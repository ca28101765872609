use super::*;
use crate::keeper::rest::Verdict;
use crate::keeper::touched::Touched;
use notify::Event;
use notify::event::{EventKind, Flag};
use std::fs;
use tokio::time::timeout;

impl Watch {
    /// Makes the system lose events.
    pub(in crate::keeper) fn lose(&self) {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        self.heard.hear(|_| false, &Ok(overflow));
    }

    /// Returns the paths that were touched by the time of rest.
    async fn rested(&mut self) -> Touched {
        let mut touched = Touched::NOTHING;
        let resting = async {
            loop {
                self.settled().await;
                let now = Instant::now();
                match self.rest.looking(now) {
                    Touched::Paths(paths) => touched.add(&paths.into_iter().collect::<Vec<_>>()),
                    Touched::All => touched = Touched::All,
                }
                if !self.rest.is_moving(now, now) {
                    self.rest.seen(now, now);
                    return touched;
                }
            }
        };
        timeout(GUARD, resting).await.unwrap()
    }
}

const SETTLE: Duration = Duration::from_millis(50);
const QUIET: Quiet = Quiet { one: SETTLE, more: SETTLE };
/// Time far longer than anything takes.
const GUARD: Duration = Duration::from_secs(30);

fn started(root: &Path) -> Watch {
    let mut watch = Watch::start(root, root, QUIET).unwrap();
    assert_eq!(watch.rest.looking(Instant::now()), Touched::All);
    watch
}

#[tokio::test]
async fn what_is_written_renamed_or_removed_is_seen_also_in_new_folders_and_elsewhere() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut watch = started(root.path());
    assert!(watch.follow([root.path(), elsewhere.path()].into_iter()));
    assert!(!watch.follow([root.path(), elsewhere.path()].into_iter()));
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
        watch.rested().await;
    }
    assert!(
        watch.is_watched(&lamp) && watch.is_watched(elsewhere.path()) && !watch.is_watched(Path::new("/"))
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn all_that_was_told_before_it_caught_up_is_heard() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = started(root.path());
    for round in 0..200 {
        let file = root.path().join(format!("{round}.py"));
        fs::write(&file, "1").unwrap();
        assert!(watch.catch_up()());
        watch.hear();
        let now = Instant::now();
        assert_eq!(watch.rest.verdict(&file, &file, now, now), Verdict::Moving, "{round}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_is_open_from_its_first_byte_until_it_is_closed_under_whatever_name() {
    use std::io::Write as _;
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("old.py"), root.path().join("new.py"));
    let mut watch = started(root.path());
    let mut open = |is_open: bool, name: &Path| {
        assert!(watch.catch_up()());
        watch.hear();
        let open: Vec<_> = watch.rest.unclosed(Instant::now()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(open, if is_open { vec![name.to_owned()] } else { vec![] });
    };
    let mut file = fs::File::create(&old).unwrap();
    open(true, &old);
    file.write_all(b"half").unwrap();
    fs::rename(&old, &new).unwrap();
    open(true, &new);
    drop(file);
    open(false, &new);
    // Opening a file means nothing until it is truncated or written to.
    let mut file = fs::File::options().append(true).open(&new).unwrap();
    open(false, &new);
    file.write_all(b"more").unwrap();
    open(true, &new);
    fs::remove_file(&new).unwrap();
    open(false, &new);
}

#[tokio::test]
async fn a_hidden_file_beside_the_folders_is_no_change_and_one_in_them_is() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("LAMP")).unwrap();
    let mut watch = started(root.path());
    fs::write(root.path().join(".announcements.new"), "1").unwrap();
    fs::rename(root.path().join(".announcements.new"), root.path().join(".announcements")).unwrap();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    fs::write(root.path().join("LAMP/.mqttotaignore"), "1").unwrap();
    watch.rested().await;
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_put_in_the_place_of_the_root_is_seen_and_what_is_beside_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (link, other) = (home.path().join("devices"), home.path().join("other"));
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(one.path(), &link).unwrap();
    let mut watch = Watch::start(&link, one.path(), QUIET).unwrap();
    std::os::unix::fs::symlink(two.path(), &other).unwrap();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
    fs::rename(&other, &link).unwrap();
    watch.rested().await;
    fs::remove_file(&link).unwrap();
    watch.rested().await;
    fs::create_dir(&link).unwrap();
    watch.rested().await;
}

#[tokio::test]
async fn it_is_told_where_something_was_written_and_that_anything_may_have_been() {
    let root = tempfile::tempdir().unwrap();
    let (main, root) = (root.path().join("main.py"), root.path());
    let mut watch = started(root);
    fs::write(&main, "1").unwrap();
    assert_eq!(watch.rested().await, Touched::Paths(BTreeSet::from([main.clone()])));
    watch.lose();
    assert_eq!(watch.rested().await, Touched::All);
}

#[tokio::test]
async fn reading_is_no_change() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("main.py"), "1").unwrap();
    let mut watch = started(root.path());
    fs::read(root.path().join("main.py")).unwrap();
    fs::read_dir(root.path()).unwrap().count();
    assert!(timeout(4 * SETTLE, watch.settled()).await.is_err());
}
