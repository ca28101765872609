//! Folders that become the files of a device in Rust: the real command, the real broker, and
//! `mqtt-ota receive`, or the library's receiver.

use std::fs;
use std::path::Path;

use mqtt_ota::wire::{Announcement, InstalledSet};
use mqtt_ota::{ReceiverConfig, ReceiverEvent};
use mqtt_ota_integration::{Application, Client, Home, MqttOta, files, noise};
use serde_json::Value;

const NAME: &str = "GATEWAY";

fn litter(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".mqtt-ota")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_becomes_the_files_of_a_gateway_and_then_only_what_changed_travels() {
    let home = Home::of(NAME);
    let device = home.receives();
    let synced = home.sync().arg("--wait-boot").finish();
    synced.assert_status(0).assert_mentions("5 of 5 files sent").assert_mentions("back online");
    home.assert_same();
    device.process().stdout().wait_for("\"confirmed\"");
    assert_eq!(litter(home.root()), ["last", "set"]);

    let again = home.sync().arg("--json").finish().assert_status(0).result();
    assert_eq!((&again["outcome"], &again["sent"]), (&"unchanged".into(), &0.into()));

    home.has("main.py", "VERSION = 2\n");
    let one = home.sync().args(["--json", "--wait-boot"]).finish().assert_status(0).result();
    assert_eq!((&one["outcome"], &one["fetched"]), (&"installed".into(), &1.into()));
    assert!(one["sent"].as_u64().unwrap() < 600, "{one}");
    home.assert_same();
    let hash = one["hash"].as_str().unwrap();
    let devices = MqttOta::run("devices").broker(&home.scene.broker).finish();
    devices.assert_status(0).assert_mentions(&hash[..8]);
}

#[cfg(unix)]
#[test]
fn what_a_gateway_writes_as_root_is_its_owners_and_links_stay_links() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    const OWNER: u32 = 4711;
    const GROUP: u32 = 4712;
    let home = Home::of(NAME);
    let root = home.root();
    fs::create_dir_all(root.join("real")).unwrap();
    for file in ["main.py", "real/single.txt"] {
        fs::write(root.join(file), "as it was").unwrap();
        fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink("real/single.txt", root.join("single.txt")).unwrap();
    symlink("real/single.txt", root.join("lib.txt")).unwrap();
    let outside = home.scene.file("outside", "not theirs");
    symlink(&outside, root.join("leaves")).unwrap();
    let is_root = chown(root, Some(OWNER), Some(GROUP)).is_ok();
    if is_root {
        for path in ["real", "main.py", "real/single.txt"] {
            chown(root.join(path), Some(OWNER), Some(GROUP)).unwrap();
        }
    } else {
        println!("SKIPPED: who is not root cannot give files away; links alone are looked at");
    }
    let assert_owned = |path: &str, mode: u32| {
        let there = fs::metadata(root.join(path)).unwrap();
        assert!(!is_root || (there.uid(), there.gid()) == (OWNER, GROUP), "{path}: {}", there.uid());
        assert_eq!(there.permissions().mode() & 0o777, mode, "{path}");
    };
    let _device = home.receives();

    // One file, in place of a link's; a new one, in a new folder; and one that would be written elsewhere.
    let file = home.scene.file("sent", "sent");
    let send = |name: &str| home.scene.send(&file, NAME).args(["--as", name, "--no-reboot"]).finish();
    send("single.txt").assert_status(0);
    send("new/folder/file.txt").assert_status(0);
    send("leaves").assert_status(1).assert_error("it leaves the root");
    assert!(root.join("single.txt").is_symlink());
    assert_eq!(fs::read(root.join("real/single.txt")).unwrap(), b"sent");
    assert_eq!(fs::read(&outside).unwrap(), b"not theirs");
    assert_owned("real/single.txt", 0o755);
    assert_owned("new", 0o755);
    assert_owned("new/folder", 0o755);
    assert_owned("new/folder/file.txt", 0o644);

    // A set, one file of which is a link, and the way back.
    home.sync().arg("--wait-boot").finish().assert_status(0);
    assert!(root.join("lib.txt").is_symlink());
    assert_eq!(fs::read(root.join("real/single.txt")).unwrap(), b"sorted between\n");
    assert_owned("main.py", 0o755);
    assert_owned("real/single.txt", 0o755);
    assert_owned("lib/lamp.py", 0o644);
    home.scene.command("rollback").args(["--to", NAME]).finish().assert_status(0);
    assert!(root.join("lib.txt").is_symlink());
    assert_eq!(fs::read(root.join("real/single.txt")).unwrap(), b"sent");
    assert_eq!(fs::read(root.join("main.py")).unwrap(), b"as it was");
    assert_owned("main.py", 0o755);
    assert!(!root.join("lib/lamp.py").exists());
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be_sent_kept_and_deleted() {
    let home = Home::of(NAME);
    let _device = home.receives();
    home.sync().arg("--wait-boot").finish().assert_status(0);
    fs::write(home.root().join("log.txt"), "the application's own").unwrap();
    fs::remove_file(home.folder().join("lib/lamp.py")).unwrap();
    home.has("new/file.py", "new");
    let before = files(home.root());
    let dry = home.sync().args(["--dry-run", "--delete-all", "--json"]).finish().assert_status(0).result();
    assert_eq!(dry["outcome"], "planned");
    assert_eq!(dry["plan"]["send"], serde_json::json!([{"path": "new/file.py", "bytes": 3}]));
    assert_eq!(dry["plan"]["keep"].as_array().unwrap().len(), 4);
    assert_eq!(dry["plan"]["delete"], serde_json::json!(["lib/lamp.py", "log.txt"]));
    assert_eq!(files(home.root()), before);
    home.sync().args(["--wait-boot", "--delete"]).finish().assert_status(0);
    assert!(home.root().join("log.txt").exists());
    home.sync().args(["--wait-boot", "--delete-all"]).finish().assert_status(0);
    home.assert_same();
}

#[test]
fn a_gateway_that_is_killed_on_the_way_goes_on_where_it_was() {
    let home = Home::of(NAME);
    home.has("large.bin", noise(9, 60_000_000));
    let device = home.receives();
    let (sending, _home) = home.sync().args(["--json", "-v"]).start();
    sending.stdout().wait_until("some of it", |text| {
        let line = text.lines().rfind(|line| line.contains("\"progress\"") && line.ends_with('}'))?;
        let line: Value = serde_json::from_str(line).unwrap();
        (line["sent"].as_u64().unwrap() > 1_000_000).then_some(())
    });
    drop(device);
    let _device = home.receives();
    let synced = sending.wait();
    assert_eq!(synced.assert_status(0).result()["outcome"], "installed");
    let lines = synced.json_lines();
    let resumed = lines.iter().any(|line| line["event"] == "asked" && line["offset"].as_u64() > Some(0));
    assert!(resumed, "{synced:?}");
    home.assert_same();
}

#[test]
fn the_last_set_of_a_gateway_is_taken_back_on_request() {
    let home = Home::of(NAME);
    let _device = home.receives();
    home.sync().arg("--wait-boot").finish().assert_status(0);
    let first = files(home.root());
    home.has("main.py", "VERSION = 2\n");
    home.has("new.py", "new");
    home.sync().arg("--wait-boot").finish().assert_status(0);
    home.assert_same();
    let rollback = || MqttOta::run("rollback").broker(&home.scene.broker).args(["--to", NAME]).finish();
    rollback().assert_status(0).assert_mentions("taken back");
    assert_eq!(files(home.root()), first);
    rollback().assert_status(1).assert_error("gone");
    assert_eq!(files(home.root()), first);
}

#[test]
fn a_set_that_nobody_confirms_is_taken_back_by_the_third_start() {
    let home = Home::of(NAME);
    let application = Application::on(&home.scene.broker);
    let start = || {
        let config = ReceiverConfig { confirms: false, ..ReceiverConfig::default() };
        let broker = Application::url(&home.scene.broker);
        let start = mqtt_ota::Receiver::start(broker, NAME.parse().unwrap(), home.root(), config);
        application.runtime.block_on(Application::guarded(start)).unwrap()
    };
    let until = |device: &mut mqtt_ota::Receiver, wanted: &dyn Fn(&ReceiverEvent) -> bool| {
        application.runtime.block_on(Application::guarded(async {
            loop {
                let event = device.next().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        }))
    };
    let online = |device: &mut mqtt_ota::Receiver| -> Announcement {
        match until(device, &|event| matches!(event, ReceiverEvent::Online(_))) {
            ReceiverEvent::Online(announcement) => announcement,
            other => panic!("{other:?}"),
        }
    };
    let is_confirmed = |event: &ReceiverEvent| matches!(event, ReceiverEvent::Confirmed { .. });
    let stop = |device: mqtt_ota::Receiver| application.runtime.block_on(Application::guarded(device.stop()));

    fs::write(home.root().join("main.py"), "VERSION = 0\n").unwrap();
    let before = files(home.root());
    let mut device = start();
    online(&mut device);
    let (syncing, _home) = home.sync().arg("--json").start();
    until(&mut device, &|event| matches!(event, ReceiverEvent::Reboot));
    syncing.wait().assert_status(0);
    home.assert_same();
    let busy = home.sync().args(["--retries", "0"]);
    home.has("main.py", "VERSION = 2\n");
    busy.finish().assert_status(1).assert_error("busy");
    stop(device);

    for boots in 1..3 {
        let mut device = start();
        let announcement = online(&mut device);
        assert_eq!(announcement.boots, Some(boots));
        if boots == 2 {
            application.runtime.block_on(device.note_error("the lamp stays dark")).unwrap();
        }
        stop(device);
    }
    let listener = Client::connect(&home.scene.broker, "listener");
    listener.subscribe(&format!("{NAME}/OTA/status"));
    let mut device = start();
    let announcement = online(&mut device);
    assert_eq!((announcement.set, announcement.boots), (Some(InstalledSet::Nothing), None));
    assert!(announcement.rolled_back.is_some());
    assert!(matches!(
        until(&mut device, &|event| matches!(event, ReceiverEvent::RolledBack { .. })),
        ReceiverEvent::RolledBack { text, .. } if text == "the lamp stays dark"
    ));
    assert!(listener.next().text().starts_with("rolled-back|set|"));
    assert_eq!(files(home.root()), before);

    // And one that is confirmed stays.
    until(&mut device, &|event| matches!(event, ReceiverEvent::Reboot));
    let (syncing, _home) = home.sync().arg("--json").start();
    until(&mut device, &|event| matches!(event, ReceiverEvent::Reboot));
    syncing.wait().assert_status(0);
    assert!(application.runtime.block_on(device.confirm()).unwrap());
    until(&mut device, &is_confirmed);
    for _ in 0..4 {
        stop(device);
        device = start();
        assert_eq!(online(&mut device).boots, None);
    }
    home.assert_same();
}

#[test]
fn no_extended_offer_ends_a_gateway() {
    let home = Home::of(NAME);
    let _device = home.receives();
    let client = Client::connect(&home.scene.broker, "hostile");
    client.subscribe(&format!("{NAME}/OTA/status"));
    let hash = "a".repeat(64);
    let id = "id=0123456789abcdef";
    for (offer, answer) in [
        (format!("h|1|set|{hash}|1|{id}"), "bad-offer"),
        (format!("h|1|../x|{hash}|1|{id}|size=1"), "bad-name"),
        (format!("h|1|.mqtt-ota/commit|{hash}|1|{id}|size=1"), "bad-name"),
        (format!("h|1|x|{hash}|1|{id}|size=18446744073709551615"), "no-space"),
        (format!("h|1|set|{hash}|1|{id}|size=999999|set=1"), "bad-offer"),
        (format!("h|1|set|{}|1|{id}|size=1|set=1", "a".repeat(40)), "bad-offer"),
        (format!("h|1|set|{hash}|1|{id}|size=1|rollback=1"), "gone"),
        ("|||||||".to_owned(), "bad-offer"),
    ] {
        client.publish(&format!("{NAME}/OTA"), offer.clone());
        let status = loop {
            let text = client.next().text();
            if !text.starts_with("receiving") {
                break text;
            }
        };
        assert!(
            status.starts_with("failed|") && status.contains(&format!("|{answer} ")),
            "{offer}: {status}"
        );
    }
    home.sync().finish().assert_status(0);
    home.assert_same();
}
