//! Devices that are away for a moment: at their reboot, or without power.

use std::fs;

use mqtt_ota_integration::{Interpreter, MqttOta, RawDevice, Scene, SetDevice};

const NAME: &str = "NIGHTLAMP";
const SET: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Starts it; returns when it says that it waits.
fn waits(command: MqttOta) -> (mqtt_ota_integration::Process, tempfile::TempDir) {
    let (process, home) = command.start();
    process.stderr().wait_for("waiting up to 30.0 s for it");
    (process, home)
}

#[test]
fn a_device_that_is_at_its_reboot_is_waited_for() {
    for keys in ["", "|set=-"] {
        let scene = Scene::new();
        let announcement = format!("v=1|addr=127.0.0.1|hash=sha1{keys}");
        let before = RawDevice::join(&scene.broker, NAME);
        before.announce_as(&announcement);
        drop(before);
        let (sending, _home) = waits(scene.send(scene.file("main.py", "x"), NAME));
        let device = RawDevice::join(&scene.broker, NAME);
        device.announce_as(&announcement);
        let offer = device.offer();
        if keys.is_empty() {
            device.install(&offer);
        } else {
            device.report("installed", &offer, &format!("unchanged id={}", offer.id()));
        }
        sending.wait().assert_status(0);
    }
}

#[test]
fn a_device_that_is_back_and_has_not_announced_itself_yet_is_offered_the_file_soon() {
    let scene = Scene::new();
    drop(RawDevice::announced(&scene.broker, NAME));
    let (sending, _home) = waits(scene.send(scene.file("main.py", "x"), NAME));
    let device = RawDevice::join(&scene.broker, NAME);
    device.install(&device.offer());
    sending.wait().assert_status(0);
}

#[test]
fn a_set_and_a_rollback_wait_as_well() {
    let scene = Scene::new();
    let announcement = format!("v=1|addr=127.0.0.1|hash=sha256|set={SET}");
    let before = RawDevice::join(&scene.broker, NAME);
    before.announce_as(&announcement);
    drop(before);
    fs::create_dir(scene.folder().join("src")).unwrap();
    scene.file("src/main.py", "x");
    let (syncing, _home) = waits(scene.command("sync").args(["src", "--to", NAME]));
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as(&announcement);
    let offer = device.offer();
    device.report("failed", &offer, &format!("bad-name x id={}", offer.id()));
    syncing.wait().assert_status(1).assert_error("bad-name");
    drop(device);

    let (rolling, _home) = waits(scene.command("rollback").args(["--to", NAME]));
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as(&announcement);
    let offer = device.offer();
    assert!(offer.text.ends_with("rollback=1"), "{offer:?}");
    device.announce_as(&format!("v=1|hash=sha256|set=-|rolled-back={SET}"));
    rolling.wait().assert_status(0).assert_mentions("taken back");
}

#[test]
fn the_wait_ends_when_the_user_said_and_names_what_is_missing() {
    let scene = Scene::new();
    drop(RawDevice::announced(&scene.broker, NAME));
    let command = scene.send(scene.file("main.py", "x"), NAME).args(["--connect-timeout", "300ms", "--json"]);
    let ended = command.finish();
    ended
        .assert_status(1)
        .assert_error("no device is subscribed")
        .assert_error("300ms")
        .assert_hint("switched on");
    assert!(ended.json_lines().iter().any(|line| line["event"] == "waiting-for-device"), "{ended:?}");
}

#[test]
fn a_name_that_never_announced_anything_fails_at_once() {
    let scene = Scene::new();
    let command = scene.send(scene.file("main.py", "x"), NAME).args(["--connect-timeout", "15m"]);
    command.finish().assert_status(1).assert_error("no device is subscribed").assert_hint("spelt exactly");
}

#[test]
fn a_device_that_lost_its_power_in_the_middle_and_says_nothing_of_itself_is_offered_the_file_when_it_is_back()
{
    const BIG: usize = 8 << 20;
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    let file = scene.file("big.bin", vec![7; BIG]);
    let command = scene.send(file, NAME).args([
        "--advertise",
        "127.0.0.1",
        "--connect-timeout",
        "2s",
        "--retries",
        "1",
    ]);
    let (sending, _home) = command.start();
    let mut link = device.offer().connect();
    link.read(1000);
    drop((link, device));
    sending.stderr().wait_for("waiting up to 2.0 s for it");
    let device = RawDevice::join(&scene.broker, NAME);
    assert_eq!(device.install(&device.offer()).len(), BIG);
    sending.wait().assert_status(0);
}

#[test]
fn a_second_file_right_after_the_first_waits_for_the_reboot_of_a_real_device() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let _device = SetDevice::boot(Interpreter::MicroPython, &scene.broker, NAME, root.path());
    for text in ["one", "two", "three"] {
        scene.send(scene.file("data.txt", text), NAME).finish().assert_status(0).assert_mentions("installed");
    }
    assert_eq!(fs::read_to_string(root.path().join("data.txt")).unwrap(), "three");
}
