//! Devices and senders of version 0.1 with those of this one: the MicroPython client as it was, taken from git, with the
//! command of today; and the command as it was, where its path is in `MQTT_OTA_0_1_BINARY`, with the client of today.

use std::fs;
use std::path::Path;
use std::process::Command;

use mqtt_ota_integration::{Client, Home, House, Interpreter, MqttOta, SetDevice, files};
use tempfile::TempDir;

/// The last commit of version 0.1.
const VERSION_0_1: &str = "63dd6fe";

const NAME: &str = "NIGHTLAMP";

/// The modules of the MicroPython client of 0.1, in a folder of their own.
fn client_0_1() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for module in ["mqtt_ota.py", "mqtt_ota_boot.py", "mqtt_ota_set.py"] {
        let shown = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["show", &format!("{VERSION_0_1}:micropython-client/{module}")])
            .output()
            .unwrap();
        assert!(shown.status.success(), "{module} of {VERSION_0_1}: is the history there? {shown:?}");
        fs::write(folder.path().join(module), shown.stdout).unwrap();
    }
    folder
}

#[test]
fn a_device_of_0_1_gets_files_and_sets_and_gives_one_back() {
    let client = client_0_1();
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let home = Home::of(NAME);
        let listener = Client::connect(&home.scene.broker, "listener");
        listener.subscribe("NIGHTLAMP/OTA/+");
        let _device = SetDevice::boot_of(client.path(), interpreter, &home.scene.broker, NAME, home.root());
        let announced = listener.next().text();
        assert!(announced.contains("|set=-|") && !announced.contains("|ask="), "{announced}");

        let sent = home.scene.send(home.scene.file("single.txt", "sent"), NAME).arg("--no-reboot").finish();
        sent.assert_status(0).assert_mentions("installed");
        assert_eq!(fs::read(home.root().join("single.txt")).unwrap(), b"sent");
        fs::remove_file(home.root().join("single.txt")).unwrap();

        home.sync().arg("--dry-run").finish().assert_status(0).assert_mentions("main.py");
        home.sync().arg("--wait-boot").finish().assert_status(0).assert_mentions("back online");
        home.assert_same();
        home.sync().finish().assert_status(0).assert_mentions("unchanged");
        home.has("main.py", "VERSION = 2\n");
        home.sync().arg("--wait-boot").finish().assert_status(0).assert_mentions("back online");
        let back = home.scene.command("rollback").args(["--to", NAME]).finish();
        back.assert_status(0);
        assert_eq!(fs::read(home.root().join("main.py")).unwrap(), b"VERSION = 1\n");
        // What it is sent, it understands; what it does not, it is not sent.
        let heard = listener.pending();
        assert!(heard.iter().all(|heard| !heard.text().starts_with("failed|")), "{heard:?}");
    }
}

#[test]
fn a_device_of_0_1_is_kept() {
    let client = client_0_1();
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let device =
        SetDevice::boot_of(client.path(), Interpreter::MicroPython, &house.scene.broker, NAME, root.path());
    let _keeper = house.keeper(&[]);
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let good = house.next_set(NAME, "-");
    house.assert_has(NAME, root.path());
    house.has("NIGHTLAMP/main.py", "raise ValueError('no such lamp')\n");
    let back = house.announced(NAME, "rolled-back=");
    assert!(back.contains(&good) && back.contains("no such lamp"), "{back}");
    house.has("NIGHTLAMP/main.py", "VERSION = 2\n");
    house.next_set(NAME, &good);
    house.assert_has(NAME, root.path());
    house.status().assert_status(0).assert_mentions("in step");
    drop(device);
}

/// The command of version 0.1, if there is one here.
fn command_0_1(subcommand: &str) -> Option<MqttOta> {
    let Some(binary) = std::env::var_os("MQTT_OTA_0_1_BINARY") else {
        println!("SKIPPED: MQTT_OTA_0_1_BINARY names no mqtt-ota of version 0.1");
        return None;
    };
    Some(MqttOta::run_of(Path::new(&binary), subcommand))
}

#[test]
fn a_sender_of_0_1_serves_the_devices_of_today() {
    for device in [Some(Interpreter::MicroPython), Some(Interpreter::Python3), None] {
        let home = Home::of(NAME);
        let Some(send) = command_0_1("send") else { return };
        let command = |subcommand| command_0_1(subcommand).unwrap().broker(&home.scene.broker);
        let _device = match device {
            Some(interpreter) => (Some(home.boots(interpreter)), None),
            None => (None, Some(home.receives())),
        };
        let file = home.scene.file("single.txt", "sent");
        let sent = send.broker(&home.scene.broker).arg(file).args(["--to", NAME, "--no-reboot"]).finish();
        sent.assert_status(0).assert_mentions("installed");
        fs::remove_file(home.root().join("single.txt")).unwrap();

        let sync = || command("sync").arg(home.folder()).args(["--to", NAME]);
        sync().arg("--dry-run").finish().assert_status(0).assert_mentions("main.py");
        sync().arg("--wait-boot").finish().assert_status(0).assert_mentions("back online");
        home.assert_same();
        sync().finish().assert_status(0).assert_mentions("unchanged");
        home.has("main.py", "VERSION = 2\n");
        sync().arg("--wait-boot").finish().assert_status(0).assert_mentions("back online");
        command("devices").finish().assert_status(0).assert_mentions(NAME);
        command("rollback").args(["--to", NAME]).finish().assert_status(0);
        assert_eq!(fs::read(home.root().join("main.py")).unwrap(), b"VERSION = 1\n");
    }
}

#[test]
fn a_keeper_of_0_1_keeps_the_devices_of_today() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    let Some(keep) = command_0_1("keep") else { return };
    let _device = house.boots(NAME, root.path());
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let (keeper, _home) = keep.broker(&house.scene.broker).arg(house.folder()).start();
    keeper.stderr().wait_for("the device has its files");
    assert_eq!(files(root.path()), files(&house.folder().join(NAME)));
    house.has("NIGHTLAMP/main.py", "raise ValueError('no such lamp')\n");
    let back = house.announced(NAME, "rolled-back=");
    assert!(back.contains("no such lamp"), "{back}");
}
