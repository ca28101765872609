//! Files and names that cannot be sent: nothing is offered, and the error says why.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use mqtt_ota_integration::{Finished, House, RawDevice, Receiver, Scene};

/// Far more than the system holds for a connection, so that the sender has not read it all when the
/// device has read a little.
const BIG: usize = 64 << 20;

/// Sends `file` to a device that is there, which must not hear of it.
fn refused(scene: &Scene, file: impl AsRef<Path>, args: &[&str]) -> Finished {
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let finished = scene.send(file, "NIGHTLAMP").args(args).finish();
    finished.assert_no_output();
    device.assert_no_offer();
    finished
}

#[test]
fn a_file_that_is_missing_is_named() {
    let scene = Scene::new();
    let failed = refused(&scene, "missing.py", &[]);
    failed.assert_status(1).assert_error("missing.py").assert_hint("");
}

#[test]
fn a_folder_is_not_a_file() {
    let scene = Scene::new();
    fs::create_dir(scene.folder().join("lib")).unwrap();
    refused(&scene, "lib", &[]).assert_status(1).assert_error("lib is a folder").assert_hint("files");
    let failed = refused(&scene, ".", &[]);
    assert!(matches!(failed.status(), Some(1 | 2)), "{failed:?}");
    failed.assert_error("").assert_hint("");
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let scene = Scene::new();
    let secret = scene.file("secret.py", "x");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(scene.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let failed = scene.send(secret, "NIGHTLAMP").unprivileged().finish();
    failed
        .assert_status(1)
        .assert_error("secret.py")
        .assert_error("denied")
        .assert_hint("")
        .assert_no_output();
}

#[cfg(unix)]
#[test]
fn a_device_file_or_a_pipe_is_not_a_file_and_nobody_waits_for_it() {
    let scene = Scene::new();
    refused(&scene, "/dev/zero", &[]).assert_status(1).assert_error("/dev/zero").assert_hint("");
    let pipe = scene.folder().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    refused(&scene, pipe, &[]).assert_status(1).assert_error("pipe").assert_hint("");
}

#[test]
fn one_bad_file_of_several_stops_all_before_anything_is_sent() {
    let scene = Scene::new();
    let good = scene.file("good.py", "x");
    refused(&scene, good, &["missing.py"]).assert_status(1).assert_error("missing.py");
}

#[test]
fn a_file_that_is_rewritten_while_it_is_sent_is_never_delivered() {
    changed(|file| {
        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(b"!").unwrap();
    });
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_never_delivered() {
    changed(|file| file.set_len(BIG as u64 - 1).unwrap());
}

fn changed(change: impl FnOnce(&mut fs::File)) {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let path = scene.file("big.bin", vec![b'.'; BIG]);
    let (sending, _home) = scene.send(&path, "NIGHTLAMP").start();
    let offer = device.offer();
    let mut link = offer.connect();
    let first = link.read(1000).len();
    change(&mut OpenOptions::new().write(true).open(&path).unwrap());
    let rest = link.wait_for_close().len();
    assert!(first + rest < BIG, "the device got a file of the right length");
    let failed = sending.wait();
    failed.assert_status(1).assert_error("big.bin").assert_error("changed").assert_hint("again");
    assert!(offer.is_withdrawn());
}

#[test]
fn a_receiver_keeps_its_old_file_when_the_new_one_changes_on_the_way() {
    // The same, with a device whose disk can be looked at: it is stopped while the file changes.
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    fs::write(root.path().join("big.bin"), "old").unwrap();
    let path = scene.file("big.bin", vec![b'.'; BIG]);
    let (sending, _home) = scene.send(&path, "GATEWAY").args(["--json", "--retries", "0"]).start();
    sending.stdout().wait_for("\"connected\"");
    receiver.process().freeze();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(BIG as u64 / 2).unwrap();
    receiver.process().thaw();
    sending.wait().assert_status(1);
    receiver.process().stdout().wait_for("\"failed\"");
    assert_eq!(fs::read_to_string(root.path().join("big.bin")).unwrap(), "old");
}

#[test]
fn names_that_no_device_may_have_are_refused() {
    let scene = Scene::new();
    let file = scene.file("main.py", "x");
    let long = "x".repeat(129);
    let names = [
        "a|b",
        "..",
        "../x",
        "lib/../../x",
        "/main.py",
        "a//b",
        ".",
        "./x",
        "a\\b",
        "tab\there",
        "line\nbreak",
        "\u{7f}",
        "\u{85}",
        "",
        ".mqtt-ota/x",
        ".mqtt-ota./x",
        ".mqtt-ota /x",
        "MQTT-O~1/x",
        "main.py.",
        &long,
    ];
    for name in names {
        let failed = refused(&scene, &file, &["--as", name]);
        failed.assert_status(2).assert_error("--as").assert_hint("");
        let shown = failed.stderr.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(shown, None, "{name:?} reaches the terminal");
    }
    let failed = refused(&scene, &file, &["--as", &"é".repeat(65)]);
    failed.assert_status(2).assert_error("128").assert_hint("");
}

#[cfg(unix)]
#[test]
fn a_file_whose_own_name_no_device_may_have_needs_another() {
    let scene = Scene::new();
    for name in ["a|b.py", "line\nbreak.py", "back\\slash.py", "\u{1b}[31mred.py"] {
        let failed = refused(&scene, scene.file(name, "x"), &[]);
        failed.assert_status(2).assert_error("name").assert_hint("--as");
        let shown = failed.stderr.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(shown, None, "{name:?} reaches the terminal");
    }
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("a|b.py", "x"), "NIGHTLAMP").args(["--as", "ab.py"]).start();
    device.install(&device.offer());
    sending.wait().assert_status(0);
}

#[cfg(unix)]
#[test]
fn a_folder_with_a_name_that_fat_takes_for_another_is_not_sent_and_the_file_is_named() {
    for (name, why) in [("lib/LONGNA~1.PY", "short name"), ("lib./a.py", "end in a dot or a blank")] {
        let house = House::new();
        house.has("NIGHTLAMP/main.py", "x = 1\n");
        house.has(&format!("NIGHTLAMP/{name}"), "x = 1\n");
        let device = house.device("NIGHTLAMP", "v=1|set=-|hash=sha256");
        let sync = house.scene.command("sync").arg(house.folder().join("NIGHTLAMP"));
        let failed = sync.args(["--to", "NIGHTLAMP", "--no-check"]).finish();
        failed.assert_status(1).assert_error(name).assert_error(why).assert_hint("rename it");
        let keeper = house.keeper(&[]);
        keeper.says(why);
        house
            .status()
            .assert_status(1)
            .assert_mentions("unusable")
            .assert_mentions(name)
            .assert_mentions(why);
        device.assert_no_offer();
    }
}

#[test]
fn device_names_that_are_no_topic_level_are_refused() {
    let scene = Scene::new();
    let file = scene.file("main.py", "x");
    let long = "x".repeat(65);
    for name in ["A+", "#", "A/B", "", " ,", "tab\there", &long, "GOOD,B/AD"] {
        let failed = scene.send(&file, name).finish();
        failed.assert_status(2).assert_error("--to").assert_hint("").assert_no_output();
    }
}

#[test]
fn two_files_cannot_have_one_name() {
    let scene = Scene::new();
    let file = scene.file("main.py", "x");
    fs::create_dir(scene.folder().join("lib")).unwrap();
    let other = scene.file("lib/main.py", "y");
    refused(&scene, &file, &[other.to_str().unwrap()])
        .assert_status(2)
        .assert_error("main.py")
        .assert_hint("");
    refused(&scene, &file, &[other.to_str().unwrap(), "--as", "x.py"])
        .assert_status(2)
        .assert_error("--as")
        .assert_hint("");
}
