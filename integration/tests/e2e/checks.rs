//! Files that are looked at before they are offered: the real command, the real broker, and devices of each kind.

use std::fs;

use mqtt_ota_integration::{
    DemoDevice, Home, House, Interpreter, MqttOta, RawDevice, Receiver, Scene, SetDevice, files,
};

const NAME: &str = "NIGHTLAMP";
const BOARD: &str = "v=1|client=mqtt_ota 0.1.0|sys=esp8266 1.25.0|addr=127.0.0.1|free=1000000|hash=sha1";

/// Files that no board can use, by their names, and what is said of them.
fn useless() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let utf16 = "\u{feff}x = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        (
            "broken.py",
            b"import time\n\nwhile True:\n    print('on'\n    time.sleep(1)\n".to_vec(),
            "broken.py, line",
        ),
        ("tab.py", b"if 1:\n    x = 1\n\ty = 2\n".to_vec(), "tab.py, line 3: unexpected indentation"),
        ("two.py", b"print 'hello'\n".to_vec(), "two.py, line 1: print is a function"),
        ("match.py", b"match x:\n    case 1:\n        pass\n".to_vec(), "MicroPython has no match statement"),
        (
            "merged.py",
            b"<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> b\n".to_vec(),
            "merged.py, line 1: has the markers",
        ),
        ("bom.py", b"\xef\xbb\xbfx = 1\n".to_vec(), "bom.py begins with a byte order mark"),
        ("wide.py", utf16, "wide.py is in UTF-16"),
        ("cut.py", b"x = 1\n\0\0\0\0".to_vec(), "cut.py contains NUL bytes"),
        (
            "font.bin",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n".to_vec(),
            "Git LFS pointer",
        ),
        ("logo.bin", b"/annex/objects/SHA256E-s9--4d7a.bin\n".to_vec(), "git-annex pointer"),
    ]
}

#[test]
fn what_no_board_can_use_is_named_and_not_offered() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as(BOARD);
    let good = scene.file("good.py", "x = 1\n");
    for (name, bytes, says) in useless() {
        let file = scene.file(name, bytes);
        // Not even what is sent before it.
        let refused = scene.send(&good, NAME).arg(&file).finish();
        refused.assert_status(1).assert_error(says).assert_hint("");
    }
    device.assert_no_offer();
}

#[test]
fn without_the_check_a_file_is_sent_as_it_is() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as(BOARD);
    let settings = scene.file("settings.toml", "check = false\n");
    let send = || scene.send(scene.file("main.py", "print 'a dialect'\n"), NAME);
    for command in
        [send().arg("--no-check"), send().env("MQTT_OTA_CHECK", "no"), send().arg("--config").arg(settings)]
    {
        let (sending, _home) = command.start();
        let offer = device.offer();
        assert_eq!(device.install(&offer), b"print 'a dialect'\n");
        sending.wait().assert_status(0);
    }
    let json = send().arg("--json").finish().assert_status(1).json_lines();
    let result = json.iter().find(|line| line["event"] == "result").unwrap();
    assert!(result["message"].as_str().unwrap().contains("main.py, line 1"), "{result}");
}

#[test]
fn a_host_may_have_another_python_but_no_pointer() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let _host = Receiver::start(&scene.broker, "GATEWAY", root.path());
    let file = scene.file("main.py", "match 1:\n    case 1:\n        print('CPython')\n");
    scene.send(&file, "GATEWAY").finish().assert_status(0);
    let pointer =
        scene.file("x.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n");
    scene.send(&pointer, "GATEWAY").finish().assert_status(1).assert_error("Git LFS");
    let cpython = RawDevice::join(&scene.broker, "PI");
    cpython.announce_as("v=1|client=mqtt_ota 0.1.0|sys=linux 3.11.2|addr=127.0.0.1|hash=sha1");
    let (sending, _home) = scene.send(&file, "PI").start();
    cpython.install(&cpython.offer());
    sending.wait().assert_status(0);
}

#[test]
fn a_module_that_another_one_hides_is_warned_about() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as(BOARD);
    let (compiled, source) = (scene.file("app.mpy", "M\x06"), scene.file("app.py", "x = 1\n"));
    let (sending, _home) = scene.send(&compiled, NAME).arg(&source).arg("--no-reboot").start();
    for _ in 0..2 {
        device.install(&device.offer());
    }
    sending.wait().assert_status(0).assert_mentions("app.mpy is never imported: app.py comes before it");
    let (sending, _home) = scene.send(scene.file("main.py", ""), NAME).arg("--json").start();
    device.install(&device.offer());
    let lines = sending.wait().assert_status(0).json_lines();
    let noticed = lines.iter().find(|line| line["event"] == "noticed").unwrap();
    assert_eq!((&noticed["file"], &noticed["message"]), (&"main.py".into(), &"main.py is empty".into()));
}

#[test]
fn a_board_names_the_file_of_its_own_that_hides_what_was_installed() {
    let (scene, roots) = (Scene::new(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    for root in &roots {
        fs::write(root.path().join("helper.py"), "stale = 1\n").unwrap();
        fs::write(root.path().join("app.py"), "stale = 1\n").unwrap();
        // No module.
        fs::write(root.path().join("other"), "data").unwrap();
    }
    let [plain, with_sets] = roots.each_ref().map(tempfile::TempDir::path);
    let _plain = DemoDevice::boot(Interpreter::MicroPython, &scene.broker, "PLAIN", plain);
    let _with_sets = SetDevice::boot(Interpreter::MicroPython, &scene.broker, "SETS", with_sets);
    for (name, bytes, hides) in [("lib/helper.py", "x = 1\n", "helper.py"), ("app.mpy", "M\x06", "app.py")] {
        let file = scene.file("a_file", bytes);
        let sent = scene.send(file, "PLAIN,SETS").args(["--as", name, "--no-reboot"]).finish();
        let says =
            format!("{name}: installed, and never imported: the device has {hides}, which comes before it");
        sent.assert_status(0)
            .assert_mentions(&format!("PLAIN: {says}"))
            .assert_mentions(&format!("SETS: {says}"));
    }
    let fine = scene.send(scene.file("other.py", "x = 1\n"), "PLAIN,SETS").finish();
    assert!(!fine.assert_status(0).stderr.contains("never imported"), "{fine:?}");
}

#[test]
fn a_board_names_the_file_of_its_own_that_hides_one_of_a_set() {
    let home = Home::of(NAME);
    fs::write(home.root().join("lamp.py"), "stale = 1\n").unwrap();
    let _device = home.boots(Interpreter::MicroPython);
    let synced = home.sync().args(["--wait-boot", "--json"]).finish();
    let lines = synced.assert_status(0).json_lines();
    let hidden: Vec<_> = lines.iter().filter(|line| line["event"] == "hidden").collect();
    assert_eq!((hidden.len(), &hidden[0]["by"]), (1, &"lamp.py".into()), "{lines:?}");
    home.sync().finish().assert_status(0).assert_mentions("unchanged");
}

/// What tools leave beside the files.
const LEAVINGS: [&str; 13] = [
    "__pycache__/main.cpython-311.pyc",
    "main.py~",
    "#main.py#",
    "lib/.#x.py",
    "4913",
    "x.swp",
    "Thumbs.db",
    "desktop.ini",
    "venv/pyvenv.cfg",
    "node_modules/x.js",
    "typings/mqtt_ota.pyi",
    "a.egg-info/PKG-INFO",
    "device.toml",
];

#[test]
fn one_folder_is_one_set_for_sync_and_for_keep() {
    let house = House::new();
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in LEAVINGS {
        house.has(&format!("{NAME}/{name}"), "");
    }
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    house.has("NIGHTLAMP/lib/x.py", "x = 1\n");
    house.has("NIGHTLAMP/.mqttotaignore", "!x.swp\n");
    let _device = Receiver::start(&house.scene.broker, NAME, root.path());
    house.announced(NAME, "set=-");
    let _keeper = house.keeper(&[]);
    let kept = house.next_set(NAME, "-");
    let names = ["lib/x.py", "main.py", "x.swp"];
    assert!(files(root.path()).keys().eq(names), "{:?}", files(root.path()).keys());

    let _hall = Receiver::start(&house.scene.broker, "HALL", other.path());
    let sync = || house.scene.command("sync").arg(house.folder().join(NAME)).args(["--to", "HALL"]);
    let dry = sync().args(["--dry-run", "-v"]).finish();
    dry.assert_status(0).assert_mentions("leaving out venv/ (venv/, as by default)");
    dry.assert_mentions("leaving out lib/.#x.py (hidden)")
        .assert_mentions("leaving out main.py~ (*~, as by default)");
    let synced = sync().arg("--json").finish().assert_status(0).result();
    assert_eq!(synced["hash"], kept.as_str());
    assert!(files(other.path()).keys().eq(names));
}

#[test]
fn a_keeper_holds_back_what_no_board_can_use_until_it_is_mended() {
    let house = House::new();
    let root = tempfile::tempdir().unwrap();
    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    house.has("HALL/main.py", "print 'a dialect'\n");
    let _device = house.boots(NAME, root.path());
    let hall = house.device("HALL", BOARD);
    let keeper = house.keeper(&[]);
    let first = house.next_set(NAME, "-");
    house.has("NIGHTLAMP/main.py", "VERSION = (2\n");
    keeper.says("main.py, line 1: invalid syntax");
    house
        .status()
        .assert_status(1)
        .assert_mentions("unusable")
        .assert_mentions("main.py, line 1: invalid syntax");
    house.has("NIGHTLAMP/main.py", "VERSION = 3\n");
    house.next_set(NAME, &first);
    house.assert_has(NAME, root.path());
    // A dialect is what its settings say it is.
    hall.assert_no_offer();
    house.has("HALL/device.toml", "check = false\n");
    hall.install(&hall.offer());
}

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_file() {
    let home = Home::of(NAME);
    home.has("www", "a page");
    home.has("page/index.html", "another one");
    let trade = || {
        fs::remove_file(home.folder().join("www")).unwrap();
        fs::remove_dir_all(home.folder().join("page")).unwrap();
        home.has("www/index.html", "a page");
        home.has("page", "another one");
    };
    let _device = home.receives();
    home.sync().arg("--wait-boot").finish().assert_status(0);
    trade();
    let refused = home.sync().finish();
    refused.assert_status(1).assert_error("bad-name").assert_hint("--delete");
    home.sync().args(["--delete", "--wait-boot"]).finish().assert_status(0);
    home.assert_same();
}

#[test]
fn a_board_trades_a_file_for_a_folder_too() {
    let home = Home::of(NAME);
    home.has("www", "a page");
    let _device = home.boots(Interpreter::MicroPython);
    home.sync().arg("--wait-boot").finish().assert_status(0);
    fs::remove_file(home.folder().join("www")).unwrap();
    home.has("www/index.html", "a page");
    home.sync().finish().assert_status(1).assert_error("bad-name").assert_hint("--delete");
    home.sync().args(["--delete", "--wait-boot"]).finish().assert_status(0);
    home.assert_same();
}

#[test]
fn a_delete_covers_what_all_syncs_before_have_brought() {
    let home = Home::of(NAME);
    home.has("helper.py", "x = 1\n");
    let _device = home.receives();
    home.sync().arg("--wait-boot").finish().assert_status(0);
    fs::remove_file(home.folder().join("helper.py")).unwrap();
    home.has("lib/helper.py", "x = 2\n");
    home.sync().arg("--wait-boot").finish().assert_status(0);
    fs::remove_file(home.folder().join("lib.txt")).unwrap();
    // This one changes nothing on the device.
    home.sync().arg("--wait-boot").finish().assert_status(0);
    assert!(home.root().join("helper.py").exists() && home.root().join("lib.txt").exists());
    fs::write(home.root().join("log.txt"), "the application's own").unwrap();
    home.sync().args(["--delete", "--wait-boot"]).finish().assert_status(0);
    assert!(home.root().join("log.txt").exists());
    fs::remove_file(home.root().join("log.txt")).unwrap();
    home.assert_same();
}

#[test]
fn two_names_that_are_one_on_the_device_are_refused_where_case_does_not_count() {
    let home = Home::of(NAME);
    home.has("Index.htm", "1");
    home.has("index.htm", "2");
    let device = RawDevice::join(&home.scene.broker, NAME);
    device.announce_as(&format!("{BOARD}|set=-|fold=1"));
    let refused = home.sync().finish();
    refused.assert_status(1).assert_error("index.htm and Index.htm are one file").assert_hint("rename");
    device.assert_no_offer();
    drop(device);
    let _device = home.receives();
    home.sync().arg("--wait-boot").finish().assert_status(0);
    home.assert_same();
}

#[test]
fn a_boot_py_without_the_client_is_refused_for_devices_that_take_sets_with_the_lines_that_it_needs() {
    let lines = "`import mqtt_ota_boot` and `mqtt_ota_boot.boot()`";
    let house = House::new();
    let device = house.device(NAME, &format!("{BOARD}|set=-"));
    let (without, with) =
        ("# import mqtt_ota_boot\nx = 'boot()'\n", "from mqtt_ota_boot import boot\nboot()\n");
    house.has("NIGHTLAMP/boot.py", without);
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let folder = house.folder().join(NAME);
    let send = |file: &str| house.scene.send(folder.join(file), NAME);
    let sync = || house.scene.command("sync").arg(&folder).args(["--to", NAME]).env("MQTT_OTA_RETRIES", "0");
    for refused in [send("boot.py"), send("main.py").args(["--as", "boot.py"]), sync()] {
        refused.finish().assert_status(1).assert_error(lines).assert_hint("--no-check");
    }
    let keeper = house.keeper(&[]);
    keeper.says("nothing is sent until its files are mended");
    house.status().assert_status(1).assert_mentions("mqtt_ota_boot.boot()");
    device.assert_no_offer();
    drop(keeper);

    let refuses = |command: MqttOta| {
        let (sending, _home) = command.start();
        device.report("failed", &device.offer(), "no-space 0 bytes free");
        sending.wait().assert_status(1).assert_error("no-space");
    };
    refuses(send("boot.py").arg("--no-check"));
    refuses(sync().arg("--no-check"));
    // Another file of that name is none that the board runs first.
    refuses(send("boot.py").args(["--as", "lib/boot.py"]));
    house.has("NIGHTLAMP/boot.py", with);
    refuses(send("boot.py"));
    refuses(sync());
    // A device of single files has no client there.
    house.has("NIGHTLAMP/boot.py", without);
    device.announce_as(BOARD);
    refuses(send("boot.py"));
}
