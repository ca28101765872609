//! What devices announced, over restarts of the embedded broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use mqtt_ota_integration::{Client, EmbeddedBroker, GUARD, MqttOta};
use tempfile::TempDir;

/// A folder, and in it the file that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("announcements");
    (folder, file)
}

/// The devices that the broker knows.
fn devices(broker: &EmbeddedBroker) -> Vec<String> {
    let listed = MqttOta::run("devices").arg("--json").broker(broker).finish();
    listed.assert_status(0);
    listed.json_lines().iter().map(|device| device["device"].as_str().unwrap().to_owned()).collect()
}

fn announce(broker: &EmbeddedBroker, device: &str, message: &str) {
    Client::connect(broker, "device").publish_retained(&format!("{device}/OTA/device"), message);
}

#[test]
fn a_device_that_sleeps_is_listed_after_the_broker_was_killed() {
    let (_folder, file) = place();
    let broker = EmbeddedBroker::keeping(&file);
    announce(&broker, "NIGHTLAMP", "v=1");
    broker.process().stderr().wait_for("announcements are kept");
    broker.into_process().kill();
    assert_eq!(devices(&EmbeddedBroker::keeping(&file)), ["NIGHTLAMP"]);
}

/// Ctrl-C is a signal.
#[cfg(unix)]
#[test]
fn the_file_is_named_by_flag_by_variable_and_by_setting_and_written_at_the_end() {
    let (folder, file) = place();
    let by_flag = MqttOta::run("broker").arg("--announcements").arg(&file);
    let by_variable = MqttOta::run("broker").env("MQTT_OTA_ANNOUNCEMENTS", &file);
    // As in every setting, the path is relative to the settings file.
    let config = folder.path().join("config.toml");
    fs::write(&config, "announcements = \"announcements\"\n").unwrap();
    let by_setting = MqttOta::run("broker").arg("--config").arg(&config);
    for (device, command) in [("A", by_flag), ("B", by_variable), ("C", by_setting)] {
        let broker = EmbeddedBroker::of(command);
        announce(&broker, device, "v=1");
        let process = broker.into_process();
        process.interrupt();
        process.wait().assert_status(130);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "A v=1\nB v=1\nC v=1\n");
}

#[test]
fn a_damaged_file_is_a_warning_and_a_folder_is_an_error() {
    let (folder, file) = place();
    fs::write(&file, "HALL v=1\nPLUG\0\nLAMP v=1\nROOF v=").unwrap();
    let broker = EmbeddedBroker::of(MqttOta::run("broker").arg("--announcements").arg(&file));
    assert_eq!(devices(&broker), ["HALL", "LAMP"]);
    broker.process().stderr().wait_for("announcements.damaged");
    let refused = MqttOta::run("broker").args(["--listen", "127.0.0.1:0"]);
    let refused = refused.arg("--announcements").arg(folder.path()).finish();
    refused.assert_status(1).assert_error(&folder.path().display().to_string()).assert_hint("file");
}

#[test]
fn a_broker_that_is_killed_while_it_writes_leaves_the_old_or_the_new_file() {
    const DEVICES: usize = 4_000;
    const ROUNDS: u64 = 5;
    let (folder, file) = place();
    let new = folder.path().join("announcements.new");
    let rest = "x".repeat(1_000);
    let content = |round: u64| -> String {
        let line = |n| format!("D{n:04} {}|{rest}\n", if n == 0 { round } else { 0 });
        (0..DEVICES).map(line).collect()
    };
    fs::write(&file, content(0)).unwrap();
    let mut survived = 0;
    for round in 1..=ROUNDS {
        let before = written(&file);
        let broker = EmbeddedBroker::keeping(&file);
        announce(&broker, "D0000", &format!("{round}|{rest}"));
        // Later in the write with each round.
        let bytes = content(round).len() as u64 * (round - 1) / ROUNDS;
        wait_for_bytes(&new, bytes, &file, before);
        broker.into_process().kill();
        let left = fs::read_to_string(&file).unwrap();
        assert!(left == content(survived) || left == content(round), "round {round}: {} bytes", left.len());
        if left == content(round) {
            survived = round;
        }
        // What was half written is in nobody's way.
        let broker = EmbeddedBroker::keeping(&file);
        let client = Client::connect(&broker, "reader");
        client.subscribe("D0000/OTA/device");
        assert_eq!(client.next().text(), format!("{survived}|{rest}"));
        drop(fs::remove_file(&new));
    }
}

/// Waits until the new file has more than that many bytes, or is in place.
fn wait_for_bytes(new: &Path, bytes: u64, file: &Path, before: SystemTime) {
    let deadline = Instant::now() + GUARD;
    while fs::metadata(new).map_or(0, |found| found.len()) <= bytes && written(file) == before {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::yield_now();
    }
}

fn written(file: &Path) -> SystemTime {
    fs::metadata(file).unwrap().modified().unwrap()
}
