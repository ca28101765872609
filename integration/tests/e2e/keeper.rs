//! Folders that devices follow: the real command, the real broker, and real devices.

use std::fs;

use mqtt_ota_integration::{
    Chaos, Client, DemoDevice, House, Interpreter, Receiver, SetDevice, files, free_port, noise,
};

const LAMP: &str = "NIGHTLAMP";
const HALL: &str = "HALL";

/// How often a device has rebooted.
fn reboots(device: &SetDevice) -> usize {
    device.process().stdout().text().matches("rebooting").count()
}

#[test]
fn a_device_that_is_awake_gets_what_changes_and_loses_what_goes() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let house = House::new();
        let root = tempfile::tempdir().unwrap();
        let device = SetDevice::boot(interpreter, &house.scene.broker, LAMP, root.path());
        let _keeper = house.keeper(&[]);
        house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
        house.has("NIGHTLAMP/lib/lamp.py", "x = 1\n");
        let first = house.next_set(LAMP, "-");
        house.assert_has(LAMP, root.path());
        fs::remove_file(house.folder().join("NIGHTLAMP/lib/lamp.py")).unwrap();
        house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
        house.next_set(LAMP, &first);
        house.assert_has(LAMP, root.path());
        house.status().assert_status(0).assert_mentions("in step");
        assert_eq!(reboots(&device), 2);
    }
}

#[test]
fn a_sleeping_device_gets_it_when_it_wakes() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let device = house.boots(LAMP, root.path());
    house.next_set(LAMP, "");
    drop(device);
    let keeper = house.keeper(&[]);
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    keeper.says("when it announces itself");
    house.status().assert_status(1).assert_mentions("asleep");
    let _device = house.boots(LAMP, root.path());
    house.next_set(LAMP, "-");
    house.assert_has(LAMP, root.path());
    house.status().assert_status(0).assert_mentions("in step");
}

#[test]
fn what_is_shared_comes_along_and_what_is_held_or_wrong_stays() {
    let house = House::new();
    house.has("common/wifi.py", "common");
    house.has("common/main.py", "VERSION = 0\n");
    house.has("NIGHTLAMP/device.toml", "include = [\"../common\"]\naliases = [\"HALL\"]");
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    house.has("ATTIC/device.toml", "hold = true");
    house.has("ATTIC/main.py", "");
    house.has("CELLAR/device.toml", "holt = true");
    let roots = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let _devices: Vec<_> = [LAMP, HALL, "ATTIC"]
        .into_iter()
        .zip(&roots)
        .map(|(name, root)| house.boots(name, root.path()))
        .collect();
    let keeper = house.keeper(&[]);
    keeper.says("device.toml is wrong");
    let mut waiting = vec![LAMP, HALL];
    while !waiting.is_empty() {
        let message = house.client.next();
        let is_old = message.text().contains("set=-");
        waiting.retain(|device| is_old || message.topic != format!("{device}/OTA/device"));
    }
    for root in &roots[..2] {
        assert_eq!(fs::read(root.path().join("main.py")).unwrap(), b"VERSION = 1\n");
        assert_eq!(fs::read(root.path().join("wifi.py")).unwrap(), b"common");
    }
    assert!(!roots[2].path().join("main.py").exists());
    let status = house.status();
    status.assert_status(1).assert_mentions("held").assert_mentions("unusable").assert_mentions("holt");
    assert_eq!(status.stdout.matches("in step").count(), 2);
}

#[test]
fn a_set_that_was_taken_back_is_not_sent_again_by_itself() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let device = house.boots(LAMP, root.path());
    let keeper = house.keeper(&[]);
    let good = house.next_set(LAMP, "-");
    house.has("NIGHTLAMP/main.py", "raise ValueError('no such lamp')\n");
    let message = house.announced(LAMP, "rolled-back=");
    assert!(message.contains(&good) && message.contains("no such lamp"), "{message}");
    house.status().assert_status(1).assert_mentions("rolled back").assert_mentions("no such lamp");
    keeper.says(" rolled back, the device runs what it ran before: ").says("no such lamp");
    drop(keeper);
    let _keeper = house.keeper(&[]);
    house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
    house.next_set(LAMP, &good);
    house.assert_has(LAMP, root.path());
    let text = device.process().stdout().text();
    assert_eq!(text.matches("crashed").count(), 2, "the set had its boots once: {text}");
    assert_eq!(text.matches("rebooting").count(), 3, "{text}");
}

#[test]
fn a_device_that_takes_single_files_only_gets_them_one_by_one_and_reboots_once() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    house.has("NIGHTLAMP/a.py", "a");
    house.has("NIGHTLAMP/lib/z.py", "z");
    let device = DemoDevice::boot(Interpreter::MicroPython, &house.scene.broker, LAMP, root.path());
    let keeper = house.keeper(&[]);
    keeper.says(" installed (");
    device.process().stdout().wait_for("rebooting");
    house.assert_has(LAMP, root.path());
    let text = device.process().stdout().text();
    assert_eq!(text.matches("rebooting").count(), 1, "{text}");
    let last = text.lines().rfind(|line| line.starts_with("installed")).unwrap();
    assert!(last.contains("main.py"), "{text}");
    house.client.subscribe("NIGHTLAMP/OTA/keeper");
    while !house.client.next().text().contains("state=in-step") {}
    house.status().assert_status(0).assert_mentions("in step");
    // Also for a keeper that was not there.
    drop(keeper);
    house.status().assert_status(0).assert_mentions("in step");
}

#[test]
fn what_another_sender_gives_a_device_that_takes_single_files_only_is_put_right() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let _device = DemoDevice::boot(Interpreter::MicroPython, &house.scene.broker, LAMP, root.path());
    house.client.subscribe("NIGHTLAMP/OTA/status");
    let keeper = house.keeper(&[]);
    let next_installed = || while !house.client.next().text().starts_with("installed|main.py|") {};
    next_installed();
    keeper.says(" installed (");
    let other = house.scene.file("main.py", "VERSION = 'another'\n");
    // It may be at its reboot.
    house.scene.send(&other, LAMP).finish().assert_status(0);
    next_installed();
    next_installed();
    house.assert_has(LAMP, root.path());
    // The same file again is nothing to put right.
    house.scene.send(house.folder().join("NIGHTLAMP/main.py"), LAMP).finish().assert_mentions("unchanged");
    house.status().assert_status(0).assert_mentions("in step");
    let text = keeper.process.stderr().text();
    assert_eq!(text.matches("sending set").count(), 2, "{text}");
}

#[test]
fn what_is_no_device_s_folder_is_not_shown_and_one_that_is_misnamed_is_asked_about() {
    let house = House::new();
    house.has("NIGHTLMAP/main.py", "VERSION = 1\n");
    house.has("__pycache__/main.cpython-311.pyc", "");
    house.has(".git/HEAD", "");
    let _device = house.device(LAMP, "v=1|hash=sha256|set=-");
    let keeper = house.keeper(&[]);
    keeper.says("never announced themselves: NIGHTLMAP; these have, and have no folder: NIGHTLAMP.");
    let status = house.status();
    status.assert_mentions("did you mean NIGHTLAMP?");
    assert_eq!(status.stdout.lines().count(), 2, "a title, and one device: {status:?}");
    assert!(!status.stderr.contains("no keeper named"), "{status:?}");
    keeper.process.interrupt();
    keeper.says("stopped; unfinished deliveries");
    house.status().assert_mentions("no keeper named devices is at work");
}

#[test]
fn a_device_that_has_all_files_already_and_no_set_announces_the_set_that_it_has_now() {
    for is_board in [true, false] {
        let (house, root) = (House::new(), tempfile::tempdir().unwrap());
        fs::write(root.path().join("main.py"), "VERSION = 1\n").unwrap();
        house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
        let board = is_board.then(|| house.boots(LAMP, root.path()));
        let receiver = (!is_board).then(|| Receiver::start(&house.scene.broker, LAMP, root.path()));
        let keeper = house.keeper(&[]);
        house.next_set(LAMP, "-");
        keeper.says("unchanged: the device already has it");
        house.status().assert_status(0).assert_mentions("in step");
        drop((board, receiver));
    }
}

#[test]
fn the_others_wait_for_the_canary_and_get_nothing_if_it_fails() {
    let house = House::new();
    let roots = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let lamp = house.boots(LAMP, roots[0].path());
    let _hall = house.boots(HALL, roots[1].path());
    house.has("common/main.py", "VERSION = 1\n");
    house.has("NIGHTLAMP/device.toml", "include = [\"../common\"]\ngroups = [\"first\"]");
    house.has("HALL/device.toml", "include = [\"../common\"]");
    let keeper = house.keeper(&["--canary", "@first"]);
    keeper.says("the others wait");
    house.next_set(LAMP, "-");
    let good = house.next_set(HALL, "-");
    house.has("common/main.py", "raise ValueError('boom')\n");
    keeper.says("a device that goes first has failed");
    lamp.process().stdout().wait_for("crashed");
    assert_eq!(fs::read(roots[1].path().join("main.py")).unwrap(), b"VERSION = 1\n");
    house.has("common/main.py", "VERSION = 2\n");
    house.next_set(HALL, &good);
    assert_eq!(fs::read(roots[1].path().join("main.py")).unwrap(), b"VERSION = 2\n");
}

#[test]
fn a_keeper_that_is_killed_and_a_broker_that_restarts_change_nothing_in_the_end() {
    let mut house = House::new();
    let root = tempfile::tempdir().unwrap();
    let _device = Receiver::start(&house.scene.broker, LAMP, root.path());
    house.has("NIGHTLAMP/large.bin", vec![7; 20_000_000]);
    let keeper = house.keeper(&[]);
    keeper.says("sending set");
    keeper.process.kill();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let keeper = house.keeper(&[]);
    keeper.says(" installed (");
    house.assert_has(LAMP, root.path());
    house.scene.broker.stop();
    house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
    house.scene.broker.start_again();
    keeper
        .process
        .stderr()
        .wait_until("the second set", |text| (text.matches(" installed (").count() == 2).then_some(()));
    house.assert_has(LAMP, root.path());
}

#[cfg(unix)]
#[test]
fn a_link_to_a_release_is_followed_to_the_next_one() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let _device = house.boots(LAMP, root.path());
    house.next_set(LAMP, "");
    let home = house.scene.folder();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    fs::rename(house.folder(), home.join("1")).unwrap();
    fs::create_dir_all(home.join("2/NIGHTLAMP")).unwrap();
    fs::write(home.join("2/NIGHTLAMP/main.py"), "VERSION = 2\n").unwrap();
    std::os::unix::fs::symlink("1", house.folder()).unwrap();
    let lease = Client::connect(&house.scene.broker, "lease");
    lease.subscribe("mqtt-ota/keeper/#");
    let _keeper = house.keeper(&[]);
    let one = house.next_set(LAMP, "-");
    std::os::unix::fs::symlink("2", home.join("next")).unwrap();
    fs::rename(home.join("next"), house.folder()).unwrap();
    let two = house.next_set(LAMP, &one);
    house.assert_has(LAMP, root.path());
    // What is in the next release is watched as well.
    house.has("NIGHTLAMP/main.py", "VERSION = 3\n");
    house.next_set(LAMP, &two);
    house.assert_has(LAMP, root.path());
    assert_eq!(lease.next().topic, "mqtt-ota/keeper/devices");
}

#[test]
fn what_cannot_be_kept_is_said_with_a_hint() {
    let house = House::new();
    let gone = house.scene.command("keep").arg(house.folder().join("nowhere")).finish();
    gone.assert_status(1).assert_error("nowhere").assert_hint("one folder for each device");
    let wrong = house.scene.command("keep").arg(house.folder()).args(["--window", "noon"]).finish();
    wrong.assert_status(2).assert_error("02:00-05:00");
    let canary = house.scene.command("keep").arg(house.folder()).args(["--canary", "a/b"]).finish();
    canary.assert_status(2).assert_error("\"a/b\" in --canary");
    house.status().assert_status(0).assert_mentions("no device's folder");
}

#[test]
fn of_two_keepers_one_is_at_work_and_the_other_takes_over() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let device = house.boots(LAMP, root.path());
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(LAMP)).unwrap();
    fs::write(copy.path().join("NIGHTLAMP/main.py"), "VERSION = 1\n").unwrap();
    let first = house.keeper(&["--name", "home"]);
    first.says("at work").says(" installed (");
    let one = house.next_set(LAMP, "-");
    // As on another machine, whose copy of the folder is the same; it takes a while to look at.
    fs::create_dir(copy.path().join("OTHER")).unwrap();
    fs::write(copy.path().join("OTHER/large.bin"), noise(1, 8_000_000)).unwrap();
    let command = house.scene.command("keep").arg(copy.path()).args(["--name", "home"]);
    let (second, _home) = command.start();
    second.stderr().wait_for("keeping the devices");
    house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
    fs::write(copy.path().join("NIGHTLAMP/main.py"), "VERSION = 2\n").unwrap();
    let two = house.next_set(LAMP, &one);
    assert!(!second.stderr().text().contains("at work"), "{}", second.stderr().text());
    // A clean end is followed at once, and a kill after a while.
    first.process.interrupt();
    second.stderr().wait_for("at work");
    fs::write(copy.path().join("NIGHTLAMP/main.py"), "VERSION = 3\n").unwrap();
    house.next_set(LAMP, &two);
    assert_eq!(reboots(&device), 3);
    let twice = house.scene.command("keep").arg(copy.path()).finish();
    twice.assert_status(1).assert_error("has a keeper already");
}

#[test]
fn what_is_changed_while_it_is_delivered_is_not_delivered_to_its_end() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let device = house.boots(LAMP, root.path());
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    house.has("NIGHTLAMP/large.bin", noise(1, 400_000));
    let port = free_port();
    let link = Chaos::that_stalls(port, 200_000);
    let listen = port.to_string();
    let keeper = house.keeper(&["--listen", &listen, "--advertise", &link.advertised()]);
    device.process().stdout().wait_for("receiving 'set'");
    fs::write(house.folder().join("NIGHTLAMP/device.toml"), "hold = true").unwrap();
    house.has("NIGHTLAMP/large.bin", noise(2, 400_000));
    device.process().stdout().wait_for("failed 'set'");
    assert_eq!(files(root.path()).len(), 0, "it is held back");
    fs::remove_file(house.folder().join("NIGHTLAMP/device.toml")).unwrap();
    keeper.says(" installed (");
    house.assert_has(LAMP, root.path());
    device.process().stdout().wait_for("rebooting");
    assert_eq!(reboots(&device), 1, "it has never had what was there first");
}
