//! Whose a device is, where keepers of different names have a folder for it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use mqtt_ota_integration::{Client, Fleet, GUARD, House, Mosquitto, MqttOta, Process};
use tempfile::TempDir;

const NOTHING: &str = "v=1|hash=sha256|addr=127.0.0.1|set=-";

/// A folder for one device that no house has.
fn folder(device: &str, main: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(device)).unwrap();
    fs::write(folder.path().join(device).join("main.py"), main).unwrap();
    folder
}

fn keeper(house: &House, folder: &Path, name: &str) -> (Process, TempDir) {
    house.scene.command("keep").arg(folder).args(["--name", name]).start()
}

fn status(house: &House, folder: &Path, name: &str) -> MqttOta {
    house.scene.command("status").arg(folder).args(["--name", name])
}

#[test]
fn a_device_stays_with_the_keeper_that_has_it_until_that_one_is_gone() {
    let house = House::new();
    let fleet = Fleet::start(&house.scene.broker, 1);
    let device = fleet.names()[0].as_str();
    let [one, two] = ["1", "2"].map(|main| folder(device, main));
    let (first, _home) = keeper(&house, one.path(), "one");
    first.stderr().wait_for("back online with its set");
    let (second, _home) = keeper(&house, two.path(), "two");
    second
        .stderr()
        .wait_for(&format!("{device}: kept by the keeper one: nothing is sent while that one is at work"));
    assert_eq!(fleet.device(0).all_reboots(), 1);
    let elsewhere = status(&house, two.path(), "two").finish();
    elsewhere.assert_status(1).assert_mentions("kept elsewhere").assert_mentions("the keeper one keeps it");
    status(&house, one.path(), "one").finish().assert_status(0).assert_mentions("in step");
    // Stopped on purpose: the other one takes it, and keeps it when the first is back.
    first.interrupt();
    second.stderr().wait_for("the keeper one is not at work, and this one keeps its devices");
    second.stderr().wait_for("back online with its set");
    let (first, _home) = keeper(&house, one.path(), "one");
    first.stderr().wait_for(&format!("{device}: kept by the keeper two"));
    // Taken out of the folder: it is the other one's again.
    fs::remove_dir_all(two.path().join(device)).unwrap();
    first.stderr().wait_for("the other keeper has given it up");
    first.stderr().wait_for("back online with its set");
    assert_eq!(fleet.device(0).all_reboots(), 3);
}

#[test]
fn two_keepers_that_start_at_once_do_not_take_a_device_from_each_other_for_ever() {
    let house = House::new();
    let fleet = Fleet::start(&house.scene.broker, 1);
    let device = fleet.names()[0].as_str();
    let [one, two] = ["1", "2"].map(|main| folder(device, main));
    let both = [("one", &one), ("two", &two)];
    let _keepers = both.map(|(name, folder)| keeper(&house, folder.path(), name));
    let started = Instant::now();
    loop {
        // The one that wrote first may take a moment to hear of the other.
        let states = both.map(|(name, folder)| status(&house, folder.path(), name).finish().stdout);
        let count = |state: &str| states.iter().filter(|text| text.contains(state)).count();
        if (count("kept elsewhere"), count("in step")) == (1, 1) {
            break;
        }
        assert!(started.elapsed() < GUARD, "{states:?}");
    }
    let reboots = fleet.device(0).all_reboots();
    assert!(reboots <= 2, "{reboots} reboots");
}

#[test]
fn a_claim_of_a_keeper_that_is_not_at_work_is_void() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1")]);
    let ghost = Client::connect(&house.scene.broker, "ghost");
    let set = "0".repeat(64);
    ghost.publish_retained("LAMP/OTA/keeper", format!("v=1|state=kept|set={set}|since=1|why=|keeper=ghost"));
    ghost.publish_retained("mqtt-ota/keeper/ghost", "a.b");
    let lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&[]);
    keeper.says("LAMP: kept by the keeper ghost");
    lamp.assert_no_offer();
    ghost.publish_retained("mqtt-ota/keeper/ghost", "");
    lamp.offer();
    keeper.says("the keeper ghost is not at work");
}

#[test]
fn a_keeper_gives_up_a_device_whose_folder_has_gone_while_it_was_away() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1"), ("HALL/main.py", "1")]);
    let notes = Client::connect(&house.scene.broker, "notes");
    notes.subscribe("LAMP/OTA/keeper");
    let _lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&[]);
    assert!(notes.next().text().ends_with("|keeper=devices"));
    keeper.process.interrupt();
    while keeper.process.stderr().text().is_empty() {}
    fs::remove_dir_all(house.folder().join("LAMP")).unwrap();
    keeper.process.kill();
    let _keeper = house.keeper(&[]);
    while !notes.next().text().is_empty() {}
}

#[test]
fn why_a_set_was_taken_back_is_always_said() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1"), ("HALL/main.py", "1")]);
    let (lamp, hall) = (house.device("LAMP", NOTHING), house.device("HALL", NOTHING));
    let keeper = house.keeper(&[]);
    // One of 0.1, and one that says why.
    for (device, why) in [(&lamp, ""), (&hall, "|error=not confirmed in 3 boots")] {
        let offer = device.offer();
        device.report("installed", &offer, "");
        device.announce_as(&format!("{NOTHING}|rolled-back={}{why}", offer.hash));
    }
    keeper.says("runs what it ran before: taken back by the device, which did not say why");
    keeper.says("runs what it ran before: not confirmed in 3 boots");
    let status = house.status();
    status.assert_status(1).assert_mentions("taken back by the device, which did not say why");
    status.assert_mentions("not confirmed in 3 boots");
}

#[test]
fn what_a_user_syncs_beside_a_keeper_is_put_right_at_once() {
    let house = House::new();
    let fleet = Fleet::start(&house.scene.broker, 1);
    let device = fleet.names()[0].as_str();
    house.has(&format!("{device}/main.py"), "1");
    let keeper = house.keeper(&[]);
    keeper.says("back online with its set");
    let kept = fleet.device(0).set;
    let other = folder("src", "2");
    let sync = house.scene.command("sync").arg(other.path().join("src")).args(["--to", device]).finish();
    sync.assert_status(0);
    fleet.wait_until_all("back at the keeper's set", |lamp| lamp.set == kept && lamp.all_reboots() == 3);
}
