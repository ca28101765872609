//! Only whole versions arrive: the real command, and programs that write as programs do.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_ota_integration::{Client, House, Keeper, MqttOta, Receiver, files, noise, sized, thorough};
use tempfile::TempDir;

const LAMP: &str = "NIGHTLAMP";
const HALL: &str = "HALL";
const FIRST: &str = "VERSION = 1\n";
/// Longer than a folder has to be quiet, however that is counted.
const PAUSES: [Duration; 2] = [Duration::from_millis(600), Duration::from_millis(2500)];

/// Devices that are kept and have a first version, and how many more they got.
struct Kept {
    house: House,
    keeper: Keeper,
    devices: Vec<(&'static str, TempDir, Receiver)>,
}

impl Kept {
    fn new(names: &[&'static str]) -> Self {
        let house = House::new();
        let device = |name: &&'static str| {
            house.has(&format!("{name}/main.py"), FIRST);
            let root = tempfile::tempdir().unwrap();
            let receiver = Receiver::start(&house.scene.broker, name, root.path());
            (*name, root, receiver)
        };
        let devices: Vec<_> = names.iter().map(device).collect();
        let keeper = house.keeper(&[]);
        let kept = Self { house, keeper, devices };
        kept.got(names.len());
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.house.folder().join(name)
    }

    /// Waits until they got so many versions together, and panics if they got more.
    #[track_caller]
    fn got(&self, versions: usize) {
        self.keeper
            .process
            .stderr()
            .wait_until("the versions", |text| (count(text) >= versions).then_some(()));
        assert_eq!(self.count(), versions, "{}", self.keeper.process.stderr().text());
        for (name, root, _) in &self.devices {
            assert_eq!(files(root.path()), files(&self.path(name)), "{name}");
        }
    }

    fn count(&self) -> usize {
        count(&self.keeper.process.stderr().text())
    }

    /// Panics if any of them gets anything within this time.
    #[track_caller]
    fn gets_nothing_for(&self, time: Duration) {
        let (before, until) = (self.count(), Instant::now() + time);
        while Instant::now() < until {
            assert_eq!(self.count(), before, "{}", self.keeper.process.stderr().text());
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// How often a keeper has given a device its files, as it says.
fn count(said: &str) -> usize {
    said.matches(" installed (").count()
}

/// Runs a program to its end.
#[track_caller]
fn run(program: &str, args: &[&str], folder: &Path) {
    let status = Command::new(program).args(args).current_dir(folder).status();
    assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {args:?}");
}

/// Whether there is such a program here; where it is not, its case is said to be left out.
fn has(program: &str) -> bool {
    let is_there =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        println!("without {program}, which is not installed here");
    }
    is_there
}

#[test]
fn a_file_that_is_written_in_two_parts_arrives_whole_however_long_the_pause() {
    let kept = Kept::new(&[LAMP, HALL]);
    thread::scope(|scope| {
        for (name, pause) in [LAMP, HALL].into_iter().zip(PAUSES) {
            let path = kept.path(&format!("{name}/main.py"));
            scope.spawn(move || {
                let mut file = File::create(path).unwrap();
                file.write_all(b"VERSION = 2\n").unwrap();
                thread::park_timeout(pause);
                file.write_all(b"print(VERSION)\n").unwrap();
            });
        }
    });
    kept.got(4);
}

#[test]
fn a_large_file_that_is_copied_arrives_once() {
    let kept = Kept::new(&[LAMP]);
    let size = sized(1_000_000_000, 60_000_000);
    fs::write(kept.house.scene.folder().join("large"), noise(3, size)).unwrap();
    run("cp", &["large", "devices/NIGHTLAMP/large.bin"], kept.house.scene.folder());
    kept.got(2);
}

#[test]
fn what_rsync_writes_slowly_arrives_once_in_place_or_not() {
    if !has("rsync") {
        return;
    }
    let kept = Kept::new(&[LAMP, HALL]);
    let folder = kept.house.scene.folder();
    fs::write(folder.join("main.py"), noise(5, 300_000)).unwrap();
    thread::scope(|scope| {
        for (name, mode) in [(LAMP, "--inplace"), (HALL, "--no-inplace")] {
            let target = format!("devices/{name}/main.py");
            scope.spawn(move || run("rsync", &["-t", "--bwlimit=150", mode, "main.py", &target], folder));
        }
    });
    kept.got(4);
}

/// What `scp` does on the other side: it cuts the file to its length only at the end.
#[test]
fn what_scp_writes_arrives_whole() {
    let kept = Kept::new(&[LAMP]);
    kept.house.has("NIGHTLAMP/main.py", "#".repeat(100));
    kept.got(2);
    let file = File::options().write(true).open(kept.path("NIGHTLAMP/main.py")).unwrap();
    for (place, part) in [b"VERSION = ", b"2\nprint()\n"].into_iter().enumerate() {
        file.write_all_at(part, 10 * place as u64).unwrap();
        thread::park_timeout(PAUSES[0]);
    }
    file.set_len(20).unwrap();
    thread::park_timeout(PAUSES[0]);
    assert_eq!(kept.count(), 2);
    drop(file);
    kept.got(3);
}

#[test]
fn what_an_editor_saves_arrives_once_each_time() {
    let kept = Kept::new(&[LAMP]);
    let (main, folder) = (kept.path("NIGHTLAMP/main.py"), kept.path(LAMP));
    let (backup, new) = (folder.join("main.py~"), folder.join(".main.py.new"));
    // It puts the old one aside, and writes another one.
    fs::rename(&main, &backup).unwrap();
    let mut file = File::create(&main).unwrap();
    file.write_all(b"VERSION = ").unwrap();
    thread::park_timeout(PAUSES[0]);
    file.write_all(b"2\n").unwrap();
    drop(file);
    fs::remove_file(&backup).unwrap();
    kept.got(2);
    // It writes another one first.
    let mut file = File::create(&new).unwrap();
    file.write_all(b"VERSION = ").unwrap();
    thread::park_timeout(PAUSES[0]);
    file.write_all(b"3\n").unwrap();
    drop(file);
    fs::rename(&new, &main).unwrap();
    kept.got(3);
    // It writes into the file.
    fs::write(&main, "VERSION = 4\n").unwrap();
    kept.got(4);
    if has("vim") {
        let save = ["-es", "-u", "NONE", "-i", "NONE", "-c", "%s/4/5/", "-c", "wq", "main.py"];
        run("vim", &save, &folder);
        kept.got(5);
    }
}

/// Runs git in the folder that the devices' folders are in.
#[track_caller]
fn git(kept: &Kept, args: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "core.editor=true"]).args(args);
    git.current_dir(kept.house.scene.folder()).stdout(Stdio::null()).stderr(Stdio::null());
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.status().unwrap().success()
}

/// The devices' folders are a checkout with two branches, `main`, which it is on, and `other`, which do not go together.
/// Yields how many versions there are when the device has that of the branch.
fn checkout(kept: &Kept) -> usize {
    let commit = |text: &str| {
        for name in ["NIGHTLAMP/main.py", "NIGHTLAMP/lib.py"] {
            kept.house.has(name, text);
        }
        assert!(git(kept, &["add", "devices"]) && git(kept, &["commit", "-q", "-m", text]));
    };
    assert!(git(kept, &["init", "-q", "-b", "main"]));
    commit(FIRST);
    assert!(git(kept, &["checkout", "-q", "-b", "other"]));
    commit("VERSION = 'other'\n");
    assert!(git(kept, &["checkout", "-q", "main"]));
    commit("VERSION = 'main'\n");
    kept.keeper.process.stderr().wait_until("the branch", |text| {
        let has = fs::read_to_string(kept.devices[0].1.path().join("lib.py"));
        let is_over = text.matches("sending set").count() == count(text);
        (is_over && has.is_ok_and(|has| has.contains("main"))).then_some(count(text))
    })
}

#[test]
fn a_git_checkout_with_a_slow_filter_arrives_once() {
    let kept = Kept::new(&[LAMP]);
    let before = checkout(&kept);
    fs::write(kept.house.scene.folder().join(".git/info/attributes"), "*.py filter=slow\n").unwrap();
    assert!(git(&kept, &["config", "filter.slow.smudge", "sleep 0.7; cat"]));
    assert!(git(&kept, &["checkout", "-q", "other"]));
    kept.got(before + 1);
}

#[test]
fn a_merge_that_waits_for_somebody_holds_the_delivery_and_status_says_so() {
    let kept = Kept::new(&[LAMP]);
    let before = checkout(&kept);
    assert!(!git(&kept, &["merge", "-q", "other"]));
    kept.keeper.says("is unmerged").says("nothing new is sent");
    let status = kept.house.status();
    status.assert_status(1).assert_mentions("waiting").assert_mentions("lib.py is unmerged");
    // Also where the checkout cannot be seen.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(LAMP)).unwrap();
    fs::write(copy.path().join("NIGHTLAMP/main.py"), "VERSION = 'here'\n").unwrap();
    let elsewhere = kept.house.scene.command("status").arg(copy.path()).args(["--name", "devices"]).finish();
    elsewhere.assert_status(1).assert_mentions("waiting").assert_mentions("lib.py is unmerged");
    for name in ["NIGHTLAMP/main.py", "NIGHTLAMP/lib.py"] {
        kept.house.has(name, "VERSION = 'both'\n");
    }
    assert!(git(&kept, &["add", "devices"]));
    kept.house.status().assert_status(1).assert_mentions("a merge is under way");
    let memories = Client::connect(&kept.house.scene.broker, "memories");
    memories.subscribe("NIGHTLAMP/OTA/keeper");
    while !memories.next().text().contains("a merge is under way") {}
    assert_eq!(kept.count(), before);
    assert!(git(&kept, &["commit", "-q", "-m", "both"]));
    kept.got(before + 1);
    while !memories.next().text().contains("state=kept") {}
    kept.house.status().assert_status(0);
}

/// A program that writes half of a file, stops itself, and writes the rest when it is let go on.
fn stopped(path: &Path) -> Child {
    let script = "exec 3>\"$0\"; echo 'VERSION = 2' >&3; kill -STOP $$; echo 'print(VERSION)' >&3";
    let mut writer = Command::new("sh").args(["-c", script]).arg(path).spawn().unwrap();
    let is_half = || fs::read(path).is_ok_and(|bytes| bytes.len() == 12);
    while !is_half() {
        assert!(writer.try_wait().unwrap().is_none());
        thread::yield_now();
    }
    writer
}

fn go_on(mut writer: Child) {
    // The shell's own `kill`: not every system has the program.
    run("sh", &["-c", &format!("kill -CONT {}", writer.id())], Path::new("/"));
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_writer_that_is_stopped_holds_its_folder_alone_and_is_named() {
    let kept = Kept::new(&[LAMP, HALL]);
    let writer = stopped(&kept.path("NIGHTLAMP/main.py"));
    kept.house.has("HALL/main.py", "VERSION = 2\n");
    kept.keeper.process.stderr().wait_until("the other one", |text| (count(text) == 3).then_some(()));
    let status = kept.house.status();
    let named = format!("main.py is being written by sh (process {})", writer.id());
    status.assert_status(1).assert_mentions("waiting").assert_mentions(&named);
    assert_eq!(status.stdout.matches("in step").count(), 1, "{status:?}");
    kept.gets_nothing_for(sized(Duration::from_secs(65), Duration::from_secs(2)));
    if thorough() {
        kept.keeper.says(&named).says("nothing new is sent");
    }
    go_on(writer);
    kept.got(4);
}

#[test]
fn a_file_that_was_open_before_the_keeper_started_is_waited_for() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", FIRST);
    let _device = Receiver::start(&house.scene.broker, LAMP, root.path());
    let writer = stopped(&house.folder().join("NIGHTLAMP/main.py"));
    let keeper = house.keeper(&[]);
    keeper.says("at work");
    let until = Instant::now() + PAUSES[1];
    while Instant::now() < until {
        assert!(!root.path().join("main.py").exists());
        thread::park_timeout(Duration::from_millis(20));
    }
    go_on(writer);
    keeper.says(" installed (");
    house.assert_has(LAMP, root.path());
}

#[test]
fn a_file_that_grows_without_end_makes_its_own_device_wait_alone() {
    let kept = Kept::new(&[LAMP, HALL]);
    let mut times = Vec::new();
    thread::scope(|scope| {
        let (path, (stop, is_stopped)) = (kept.path("NIGHTLAMP/data.bin"), std::sync::mpsc::channel::<()>());
        scope.spawn(move || {
            let mut file = File::create(path).unwrap();
            while is_stopped
                .recv_timeout(Duration::from_millis(10))
                .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                file.write_all(&[7; 1000]).unwrap();
            }
        });
        for version in 2..5 {
            let begun = Instant::now();
            kept.house.has("HALL/main.py", format!("VERSION = {version}\n"));
            kept.keeper
                .process
                .stderr()
                .wait_until("the other one", |text| (count(text) > version).then_some(()));
            times.push(begun.elapsed());
        }
        drop(stop);
    });
    println!("beside a file that grows, another device had its file after {times:?}");
    assert!(times.iter().all(|time| *time < Duration::from_secs(10)), "{times:?}");
    kept.got(6);
}

#[test]
fn a_log_that_is_not_sent_holds_nothing() {
    let kept = Kept::new(&[LAMP]);
    kept.house.has("NIGHTLAMP/.mqttotaignore", "*.log\n");
    let mut log = File::create(kept.path("NIGHTLAMP/x.log")).unwrap();
    for version in 2..5 {
        log.write_all(b"a line\n").unwrap();
        kept.house.has("NIGHTLAMP/main.py", format!("VERSION = {version}\n"));
        kept.keeper.process.stderr().wait_until("a version", |text| (count(text) == version).then_some(()));
    }
    kept.house.status().assert_status(0);
}

#[test]
fn an_include_folder_without_files_is_held_back() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", FIRST);
    house.has("NIGHTLAMP/device.toml", "include = [\"../common\"]");
    house.has("common/wifi.py", "x = 1\n");
    let _device = Receiver::start(&house.scene.broker, LAMP, root.path());
    let keeper = house.keeper(&[]);
    keeper.says(" installed (");
    fs::remove_file(house.folder().join("common/wifi.py")).unwrap();
    keeper.says("there is no file to send").says("which is included");
    let status = house.status();
    status.assert_status(1).assert_mentions("unusable").assert_mentions("common, which is included");
    fs::remove_dir(house.folder().join("common")).unwrap();
    keeper.says("cannot include");
    house.status().assert_status(1).assert_mentions("cannot include");
    assert!(root.path().join("wifi.py").exists(), "what it has brought stays");
    house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
    house.has("common/wifi.py", "x = 2\n");
    keeper.process.stderr().wait_until("the second set", |text| (count(text) == 2).then_some(()));
    assert_eq!(fs::read(root.path().join("wifi.py")).unwrap(), b"x = 2\n");
}

/// Lets everybody into a folder.
fn open_up(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_wrong_in_one_folder_stops_no_other_one_nor_the_start() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = house.folder();
    house.has("NIGHTLAMP/main.py", FIRST);
    // A link to a folder with one that may not be read.
    fs::create_dir_all(elsewhere.path().join("secret")).unwrap();
    fs::write(elsewhere.path().join("main.py"), "").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.join("LINKED")).unwrap();
    // One that may not be read itself, and one in which one may not be.
    house.has("LOCKED/main.py", "");
    house.has("PARTLY/lib/x.py", "");
    // A link that leads to itself, a pipe, a name that is no text, a pipe in the place of settings, a line that is none.
    house.has("LOOP/main.py", "");
    std::os::unix::fs::symlink("loop", folder.join("LOOP/loop")).unwrap();
    house.has("PIPE/main.py", "");
    run("mkfifo", &["x"], &folder.join("PIPE"));
    house.has("LATIN/main.py", "");
    let latin = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9.py");
    fs::write(folder.join("LATIN").join(latin), "").unwrap();
    house.has("SETTINGS/main.py", "");
    run("mkfifo", &["device.toml"], &folder.join("SETTINGS"));
    for path in [house.scene.folder(), elsewhere.path()] {
        open_up(path, 0o755);
    }
    for path in [elsewhere.path().join("secret"), folder.join("LOCKED"), folder.join("PARTLY/lib")] {
        open_up(&path, 0o700);
    }
    let _device = Receiver::start(&house.scene.broker, LAMP, root.path());
    for version in 1..3 {
        house.has("NIGHTLAMP/main.py", format!("VERSION = {version}\n"));
        let command = MqttOta::run("keep").broker(&house.scene.broker).arg(&folder).unprivileged();
        let (keeper, _home) = command.start();
        keeper.stderr().wait_for(" installed (");
        house.assert_has(LAMP, root.path());
        let bad = ["LINKED", "LOCKED", "PARTLY", "LOOP", "PIPE", "LATIN", "SETTINGS"];
        keeper.stderr().wait_until("all that are wrong", |text| {
            let is_named = |name: &&str| text.contains(&format!("{name}: nothing can be sent"));
            bad.iter().all(is_named).then_some(())
        });
        // What changes is still heard of.
        house.has("NIGHTLAMP/main.py", format!("VERSION = {version}.5\n"));
        keeper.stderr().wait_until("the next one", |text| (count(text) == 2).then_some(()));
    }
}

#[test]
fn the_window_is_in_the_zone_that_tz_names_and_an_unknown_one_is_an_error() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", FIRST);
    let _device = Receiver::start(&house.scene.broker, LAMP, root.path());
    let keep = |zone: &str, window: &str| {
        let command = MqttOta::run("keep").broker(&house.scene.broker).arg(house.folder());
        command.args(["--window", window]).env("TZ", zone)
    };
    for (zone, named) in [("Nowhere/Atlantis", "Nowhere/Atlantis"), ("Asia/Kolkatta", "Asia/Kolkatta")] {
        let finished = keep(zone, "02:00-05:00").finish();
        finished.assert_status(1).assert_error("cannot tell when the window is open").assert_error(named);
        finished.assert_hint("TZ=");
    }
    // An hour from now in Kolkata, which is five and a half hours ahead of UTC, and is not now in UTC.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60 + 330;
    let time = |minutes: u64| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
    let (keeper, _home) = keep("Asia/Kolkata", &format!("{}-{}", time(now + 60), time(now + 70))).start();
    keeper.stderr().wait_for("Asia/Kolkata");
    keeper.stderr().wait_for("at work");
    keeper.kill();
    assert!(!root.path().join("main.py").exists());
    for zone in ["Asia/Kolkata", ":Asia/Kolkata", "IST-5:30"] {
        house.has("NIGHTLAMP/main.py", zone);
        let window = format!("{}-{}", time(now + 1430), time(now + 15));
        let (keeper, _home) = keep(zone, &window).start();
        keeper.stderr().wait_for(" installed (");
    }
}

#[test]
fn a_file_is_in_place_soon_after_it_was_closed() {
    let kept = Kept::new(&[LAMP]);
    let (file, there) = (kept.path("NIGHTLAMP/main.py"), kept.devices[0].1.path().join("main.py"));
    let mut times = Vec::new();
    for version in 0..sized(50, 7) {
        let text = format!("VERSION = {version}\n").repeat(100);
        fs::write(&file, &text).unwrap();
        let closed = Instant::now();
        while fs::read(&there).ok().as_deref() != Some(text.as_bytes()) {
            assert!(closed.elapsed() < Duration::from_secs(60));
            thread::park_timeout(Duration::from_millis(1));
        }
        times.push(closed.elapsed());
        kept.keeper.process.stderr().wait_until("its end", |text| (count(text) == version + 2).then_some(()));
    }
    times.sort();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!(
        "from close to in place, {} times: median {median:?}, {least:?} to {most:?} (goal: 150 ms)",
        times.len()
    );
}
