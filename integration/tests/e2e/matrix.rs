//! What a board does when an update does not work, case by case: the table of `docs/recovery.md`, on the template.
//!
//! Those of its cells that are not here are named there. No board was tried: this one is MicroPython's unix port on LittleFS
//! with what stands in for the hardware, and a real Mosquitto.

use std::time::Duration;

use mqtt_ota_integration::Lamp;

/// A board of the template gives a set this long to be confirmed.
const PATIENCE: (&str, &str, &str) = ("boot.py", "boot(connect", "boot(patience=3, connect");
const IMPATIENCE: (&str, &str, &str) = ("boot.py", "boot(connect", "boot(patience=1, connect");
const CONNECTED: &str = "    ota.start()";
const IS_READY: &str = "NIGHTLAMP is ready";
const READY: &str = "    print(NAME, \"is ready\")\n";
/// Of the template's application, which runs on for two seconds.
const DIES_LATER: &str = "    print(NAME, \"is ready\")\n    since = time.ticks_ms()\n    while time.ticks_diff(time.ticks_ms(), since) < 2000:\n        client.check_msg()\n        time.sleep_ms(PAUSE)\n";
/// How long a board is listened to that must not say anything.
const SILENCE: Duration = Duration::from_secs(4);

/// The folder is sent, and the board takes it back in a boot after this many; it says why, and so does the sender.
#[track_caller]
fn is_taken_back(mut lamp: Lamp, boots: usize, why: &str) -> Lamp {
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    let printed = lamp.boots_until(IS_READY);
    assert_eq!(printed.len(), boots, "{printed:?}");
    let announced = lamp.announces(|text| text.contains("|rolled-back="));
    assert!(announced.contains(&format!("|error={why}")), "{announced}");
    syncing.wait().assert_status(1).assert_error("rolled back").assert_error(why);
    lamp
}

/// The board is in safe mode, and the folder's own files repair it.
#[track_caller]
fn is_repaired_in_safe_mode(mut lamp: Lamp, cause: &str) {
    assert_eq!(lamp.boots_until("is not run until an update comes").len(), 2, "after the first death");
    assert!(lamp.heard("/OTA/crash").contains(cause));
    lamp.announces(|text| text.contains("|safe=1"));
    lamp.restores("app.py");
    let (sending, _home) = lamp.sends("app.py");
    lamp.board.resets();
    lamp.boots_until(IS_READY);
    sending.wait().assert_status(0).assert_mentions("back online");
}

/// The board is turned on, runs, and announces nothing.
#[track_caller]
fn is_away(lamp: &mut Lamp) {
    lamp.listener.pending();
    lamp.board.power_on();
    while let Some(message) = lamp.listener.hears_nothing_for(SILENCE) {
        assert!(!message.topic.ends_with("/device"), "{message:?}");
    }
    assert!(lamp.board.runs(), "{:?}", lamp.board.process());
}

#[test]
fn a_set_that_dies_once_it_is_confirmed_leads_to_safe_mode() {
    let mut lamp = Lamp::of_template(&[PATIENCE]);
    lamp.changes("app.py", READY, &format!("{DIES_LATER}    1 / 0\n"));
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.board.boot();
    syncing.wait().assert_status(0).assert_mentions("back online");
    lamp.confirms();
    lamp.board.resets();
    is_repaired_in_safe_mode(lamp, "ZeroDivisionError");
}

#[test]
fn a_set_that_dies_before_it_is_confirmed_is_taken_back() {
    let boot = ("boot.py", "boot(connect", "boot(patience=20, confirm_after=15, connect");
    let mut lamp = Lamp::of_template(&[boot]);
    lamp.changes("app.py", READY, &format!("{DIES_LATER}    1 / 0\n"));
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    // It is ready, and dies, in two boots; the third one takes it back.
    for _ in 0..2 {
        lamp.board.boot();
        lamp.board.resets();
    }
    assert_eq!(lamp.boots_until(IS_READY).len(), 1);
    // Who waits was not told that it works, though it has announced itself.
    syncing.wait().assert_status(1).assert_error("rolled back").assert_error("ZeroDivisionError");
    lamp.announces(|text| text.contains("|rolled-back=") && text.contains("|error=ZeroDivisionError"));
}

#[test]
fn a_set_that_hangs_before_it_joins_the_network_is_taken_back_by_the_tenth_boot() {
    let lamp = Lamp::of_template(&[IMPATIENCE]);
    lamp.begins("app.py", "while True:\n    pass\n");
    is_taken_back(lamp, 10, "no-network in 10 boots");
}

#[test]
fn a_set_that_hangs_once_it_has_the_network_is_taken_back_by_the_third_boot() {
    let lamp = Lamp::of_template(&[PATIENCE]);
    lamp.changes("app.py", CONNECTED, "    while True:\n        pass");
    is_taken_back(lamp, 3, "not confirmed in 3 boots");
}

#[test]
fn a_file_that_hangs_stays_as_no_application_has_died() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.begins("app.py", "while True:\n    pass\n");
    let (_sending, _home) = lamp.send("app.py").start();
    lamp.board.resets();
    for _ in 0..2 {
        is_away(&mut lamp);
        lamp.board.power_off();
    }
    // With a cable.
    lamp.restores("app.py");
    lamp.board.put("app.py", std::fs::read(lamp.folder.join("app.py")).unwrap());
    lamp.board.boot();
}

#[test]
fn a_set_that_resets_the_board_before_it_joins_the_network_is_taken_back_by_the_tenth_boot() {
    let lamp = Lamp::of_template(&[PATIENCE]);
    lamp.begins("app.py", "import machine\nmachine.reset()\n");
    is_taken_back(lamp, 10, "no-network in 10 boots");
}

#[test]
fn a_set_that_a_watchdog_resets_is_taken_back_by_the_third_boot() {
    let lamp = Lamp::of_template(&[("boot.py", "boot(connect", "boot(patience=20, connect")]);
    lamp.begins("app.py", "import machine\nmachine.WDT(timeout=1000)\nwhile True:\n    pass\n");
    is_taken_back(lamp, 3, "not confirmed in 3 boots");
}

#[test]
fn a_file_that_resets_the_board_takes_the_next_file_if_it_comes_as_far_as_the_client() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.changes("app.py", READY, &format!("{DIES_LATER}    import machine\n    machine.reset()\n"));
    let (sending, _home) = lamp.sends("app.py");
    lamp.board.resets();
    lamp.board.boot();
    sending.wait().assert_status(0);
    // It does so without end, and is not in safe mode by that.
    for _ in 0..4 {
        lamp.board.resets();
        lamp.board.boot();
    }
    lamp.restores("app.py");
    lamp.changes("app.py", READY, "    print(NAME, \"2 is ready\")\n");
    let (sending, _home) = lamp.send("app.py").env("MQTT_OTA_RETRIES", "5").start();
    lamp.board.resets();
    lamp.boots_until("2 is ready");
    sending.wait().assert_status(0).assert_mentions("installed");
}

#[test]
fn a_set_survives_boots_without_a_network() {
    let mut lamp = Lamp::of_template(&[IMPATIENCE]);
    lamp.changes("app.py", READY, "    print(NAME, \"2 is ready\")\n");
    let (_syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.board.has_wifi(false);
    for _ in 0..5 {
        assert!(!lamp.board.tries_to_come_up("is ready"));
        lamp.board.resets();
    }
    lamp.board.has_wifi(true);
    assert!(lamp.board.tries_to_come_up("2 is ready"));
    lamp.confirms();
}

#[test]
fn a_set_that_has_the_network_and_no_broker_is_taken_back_by_the_third_boot() {
    let mut lamp = Lamp::of_template(&[PATIENCE]);
    lamp.changes("app.py", READY, "    print(NAME, \"2 is ready\")\n");
    let (_syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.loses_its_broker();
    for _ in 0..3 {
        assert!(!lamp.board.tries_to_come_up("is ready"));
        lamp.board.resets();
    }
    lamp.has_its_broker_again();
    assert!(lamp.board.tries_to_come_up(IS_READY));
    lamp.announces(|text| text.contains("|rolled-back=") && text.contains("|error=not confirmed in 3 boots"));
}

#[test]
fn a_set_that_breaks_the_wifi_settings_is_taken_back_by_the_tenth_boot() {
    let lamp = Lamp::of_template(&[IMPATIENCE]);
    lamp.changes("settings.py", "\"its password\"", "\"wrong\"");
    is_taken_back(lamp, 10, "no-network in 10 boots");
}

#[test]
fn a_set_that_breaks_the_broker_settings_is_taken_back_by_the_third_boot() {
    let lamp = Lamp::of_template(&[PATIENCE]);
    lamp.changes("settings.py", "PORT = ", "PORT = 1  # ");
    is_taken_back(lamp, 3, "not confirmed in 3 boots");
}

#[test]
fn a_file_that_breaks_the_settings_stays_and_the_board_is_away() {
    for (right, wrong) in [("\"its password\"", "\"wrong\""), ("PORT = ", "PORT = 1  # ")] {
        let mut lamp = Lamp::of_template(&[]);
        lamp.changes("settings.py", right, wrong);
        let (_sending, _home) = lamp.send("settings.py").start();
        lamp.board.resets();
        is_away(&mut lamp);
        lamp.board.power_off();
        lamp.changes("settings.py", wrong, right);
        lamp.board.put("settings.py", std::fs::read(lamp.folder.join("settings.py")).unwrap());
        lamp.board.boot();
    }
}

/// The template's application, as one that sleeps for most of the time.
const SLEEPS: &str = "    import machine\n    machine.deepsleep(600000)\n";

#[test]
fn a_set_whose_wakes_are_long_enough_is_confirmed_by_the_first() {
    let mut lamp = Lamp::of_template(&[PATIENCE]);
    lamp.changes("app.py", READY, &format!("{DIES_LATER}{SLEEPS}"));
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.board.boot();
    syncing.wait().assert_status(0).assert_mentions("back online");
    lamp.confirms();
    for _ in 0..4 {
        lamp.board.resets();
        lamp.board.boot();
    }
    lamp.announces(|text| !text.contains("|boots=") && !text.contains("|rolled-back="));
}

#[test]
fn a_set_whose_wakes_are_too_short_for_the_network_is_taken_back_by_the_tenth() {
    let lamp = Lamp::of_template(&[PATIENCE]);
    lamp.begins("app.py", &SLEEPS.replace("    ", ""));
    is_taken_back(lamp, 10, "no-network in 10 boots");
}

#[test]
fn a_file_whose_wakes_are_too_short_for_the_network_stays() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.begins("app.py", &SLEEPS.replace("    ", ""));
    let (_sending, _home) = lamp.send("app.py").start();
    lamp.board.resets();
    lamp.listener.pending();
    for _ in 0..12 {
        assert!(lamp.board.tries_to_come_up("sleeps 600000"));
        lamp.board.resets();
    }
    assert!(lamp.listener.pending().iter().all(|message| !message.topic.ends_with("/device")));
}

#[test]
fn a_set_that_never_has_the_network_survives_a_plug_that_is_pulled_again_and_again() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.changes("app.py", READY, "    print(NAME, \"2 is ready\")\n");
    let (_syncing, _home) = lamp.syncs();
    lamp.board.resets();
    lamp.board.has_wifi(false);
    for _ in 0..12 {
        assert!(lamp.board.tries_to_come_up("joining"));
        lamp.board.power_off();
    }
    lamp.board.has_wifi(true);
    assert!(lamp.board.tries_to_come_up("2 is ready"));
    lamp.confirms();
}

#[test]
fn a_file_whose_application_dies_in_a_wake_now_and_then_is_not_in_safe_mode_for_it() {
    let mut lamp = Lamp::of_template(&[]);
    // It dies in every other boot: in each wake, and not in the boot after its death.
    let dies =
        "    import machine\n    if machine.reset_cause() == machine.DEEPSLEEP_RESET:\n        1 / 0\n";
    lamp.changes("app.py", READY, &format!("{READY}{dies}{SLEEPS}"));
    let (sending, _home) = lamp.sends("app.py");
    lamp.board.resets();
    for _ in 0..9 {
        lamp.board.boot();
        lamp.board.resets();
    }
    sending.wait().assert_status(0);
    assert!(lamp.heard("/OTA/crash").contains("ZeroDivisionError"));
}

#[test]
fn a_file_that_never_has_the_network_survives_a_plug_that_is_pulled_again_and_again() {
    let mut lamp = Lamp::of_template(&[]);
    lamp.changes("app.py", READY, "    print(NAME, \"2 is ready\")\n");
    let (_sending, _home) = lamp.send("app.py").start();
    lamp.board.resets();
    lamp.board.has_wifi(false);
    for _ in 0..12 {
        assert!(lamp.board.tries_to_come_up("joining"));
        lamp.board.power_off();
    }
    lamp.listener.pending();
    lamp.board.has_wifi(true);
    assert!(lamp.board.tries_to_come_up("2 is ready"));
    // Neither did it count for a crash.
    assert!(lamp.listener.pending().iter().all(|message| !message.topic.ends_with("/crash")));
}
