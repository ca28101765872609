//! Sets that must not stay: a board on whose flash a folder arrives that does not work, and nobody near it.

use mqtt_ota_integration::{Lamp, sha1_hex};

/// What is announced of a set that has said nothing itself.
const UNCONFIRMED: &str = "not confirmed in 3 boots";

/// A board gives a set two seconds to reach the broker, as these boards are fast. It has the network.
const BOOT: &str = "\
import mqtt_ota_boot, network
network.WLAN.joined = True
mqtt_ota_boot.boot(patience=2)
";
const VERSION: &str = "VERSION = \"1\"";

/// A board that takes sets, and has one that works.
fn home() -> Lamp {
    let mut lamp = Lamp::with_boot(BOOT);
    lamp.changes("main.py", VERSION, "VERSION = \"2\"");
    lamp.writes("lib/lamp.py", "lamp = 2\n");
    let (sending, _kept) = lamp.syncs();
    lamp.board.reboots();
    // The files are in place after a second boot: the first one has only put them there.
    sending.wait().assert_status(0).assert_mentions("back online");
    // It is confirmed once the broker has its announcement, and announced again then.
    assert!(lamp.heard("/OTA/device").split('|').any(|field| field == "boots=1"));
    let confirmed = lamp.heard("/OTA/device");
    assert!(confirmed.contains("|set=") && !confirmed.contains("|boots="), "{confirmed}");
    lamp
}

/// The set is sent, does not work, and is taken back by itself: then there is what was there before.
fn is_taken_back(application: &str, why: &str) {
    let mut lamp = home();
    let works = std::fs::read(lamp.folder.join("main.py")).unwrap();
    lamp.writes("main.py", application);
    lamp.writes("lib/lamp.py", "lamp = 3\n");
    let (sending, _kept) = lamp.syncs();
    lamp.board.resets();
    // The third boot takes it back, and the one after that runs what was there before.
    assert_eq!(lamp.boots_until("version 2 is ready").len(), 3);
    let announced = lamp.heard("/OTA/device");
    assert!(announced.contains("|rolled-back="), "{announced}");
    assert!(announced.split('|').any(|field| field.strip_prefix("error=") == Some(why)), "{announced}");
    sending.wait().assert_status(1).assert_error("rolled back");
    let listed = lamp.scene.command("devices").finish();
    listed.assert_status(0).assert_mentions("rolled back");
    lamp.board.power_off();
    assert_eq!(sha1_hex(&lamp.board.read("main.py")), sha1_hex(&works));
    assert_eq!(lamp.board.read("lib/lamp.py"), b"lamp = 2\n");
    lamp.board.boot();
}

#[test]
fn a_set_that_crashes_at_import_is_taken_back_by_the_third_boot() {
    is_taken_back("import nothing_of_that_name\n", UNCONFIRMED);
}

#[test]
fn a_set_that_hangs_before_it_is_connected_is_taken_back_by_the_third_boot() {
    is_taken_back("while True:\n    pass\n", UNCONFIRMED);
}

#[test]
fn a_set_that_finds_no_broker_is_taken_back_by_the_third_boot() {
    let source = include_str!("../../micropython/apps/simple.py");
    let (right, lost) = ("client = MQTTClient(NAME, HOST, PORT", "client = MQTTClient(NAME, HOST, 1");
    assert!(source.contains(right));
    is_taken_back(&source.replace(right, lost), UNCONFIRMED);
}

#[test]
fn what_the_application_did_not_catch_is_announced_with_the_set_that_was_taken_back() {
    let crashes = "import mqtt_ota_boot\nmqtt_ota_boot.run(\"lost_module\")\n";
    is_taken_back(crashes, "ImportError: no module named 'lost_module'");
}
