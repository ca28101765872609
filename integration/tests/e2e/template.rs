//! The template that a newcomer copies: as it is but for its settings, on a board. It is updated, by file and as a folder,
//! and comes back from what a newcomer does wrong.

use mqtt_ota_integration::{Finished, Lamp, Process};
use tempfile::TempDir;

/// The set that is being sent is taken back by the board itself.
#[track_caller]
fn is_taken_back(mut lamp: Lamp, syncing: (Process, TempDir)) -> Finished {
    lamp.board.resets();
    lamp.boots_until("NIGHTLAMP is ready");
    let synced = syncing.0.wait();
    synced.assert_status(1).assert_mentions("rolled back");
    synced
}

const READY: &str = "print(NAME, \"is ready\")";

#[test]
fn it_runs_and_is_updated_by_file_and_as_a_folder() {
    let mut lamp = Lamp::of_template(&[]);
    assert!(lamp.heard("/free").parse::<u32>().unwrap() > 0);
    lamp.listener.publish("NIGHTLAMP/say", "good evening");
    lamp.board.process().stdout().wait_for("good evening");

    lamp.changes("app.py", READY, "print(NAME, \"2 is ready\")");
    let (sending, _home) = lamp.sends("app.py");
    lamp.board.resets();
    lamp.boots_until("NIGHTLAMP 2 is ready");
    sending.wait().assert_status(0).assert_mentions("app.py installed").assert_mentions("back online");

    // All files, with the board's boot.py and settings among them, as they are.
    lamp.changes("app.py", "2 is ready", "3 is ready");
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.boots_until("NIGHTLAMP 3 is ready");
    let synced = syncing.wait();
    synced.assert_status(0).assert_mentions("back online");
    assert!(!synced.stderr.contains("warning"), "{synced:?}");
    lamp.confirms();
    let (again, _home) = lamp.syncs();
    again.wait().assert_status(0).assert_mentions("unchanged");
}

#[test]
fn it_survives_a_broker_that_goes_away() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.loses_its_broker();
    lamp.board.process().stdout().wait_for("Errno");
    lamp.has_its_broker_again();
    lamp.announces(|text| text.starts_with("v=1|"));
    lamp.listener.publish("NIGHTLAMP/say", "back again");
    lamp.board.process().stdout().wait_for("back again");
}

#[test]
fn a_mistake_in_it_is_told_and_the_next_file_repairs_the_board() {
    for (right, wrong, cause) in [
        ("import time", "import time, this is no Python", "SyntaxError"),
        ("import time", "import time, no_module", "no module named 'no_module'"),
        ("    ota.start()", "    ota.begin()", "object has no attribute 'begin'"),
        // Where the sender takes it for running.
        (READY, "print(NAME, \"lives\"); 1 / 0", "ZeroDivisionError"),
    ] {
        let mut lamp = Lamp::of_template(&[]);
        lamp.changes("app.py", right, wrong);
        let (sending, _home) = lamp.send("app.py").arg("--no-check").start();
        lamp.board.resets();
        lamp.boots_until("is not run until an update comes");
        assert!(lamp.heard("/OTA/crash").contains(cause), "{cause}");
        lamp.announces(|text| text.contains("|safe=1"));
        sending.wait().assert_mentions(if right == READY { "back online" } else { cause });
        let devices = lamp.scene.command("devices").finish();
        devices.assert_status(0).assert_mentions("safe mode").assert_mentions(cause);

        lamp.restores("app.py");
        let (sending, _home) = lamp.sends("app.py");
        lamp.board.resets();
        lamp.boots_until("NIGHTLAMP is ready");
        sending.wait().assert_status(0).assert_mentions("back online");
        assert_eq!(lamp.heard("/OTA/crash"), "", "it is told no longer");
    }
}

#[test]
fn a_folder_with_a_mistake_is_taken_back_whichever_of_its_files_it_is_in() {
    for file in ["app.py", "wifi.py", "broker.py", "settings.py"] {
        let lamp = Lamp::of_template(&[]);
        lamp.begins(file, "1 / 0\n");
        let syncing = lamp.syncs();
        is_taken_back(lamp, syncing).assert_mentions("ZeroDivisionError");
    }
}

/// Nothing watches over this one but the timer that resets a board on trial.
#[test]
fn a_folder_with_a_mistake_in_its_main_py_is_taken_back_after_its_time() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.changes("boot.py", "boot(connect", "boot(patience=2, connect");
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.boots_until("NIGHTLAMP is ready");
    syncing.wait().assert_status(0);
    lamp.begins("main.py", "1 / 0\n");
    let syncing = lamp.syncs();
    is_taken_back(lamp, syncing).assert_mentions("no-network");
}
