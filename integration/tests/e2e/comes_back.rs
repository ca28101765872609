//! A board that nobody goes to with a cable: its heap is too small for an update, or its application dies.

use mqtt_ota_integration::{Lamp, free_port};

/// The template's boot.py, on a board whose access point is there.
const BOOT: &str = "\
try:
    import mqtt_ota_boot, network
    from settings import HOST, NAME, PORT
    def connect():
        network.WLAN.joined = True
    def client():
        from umqtt.simple import MQTTClient
        return MQTTClient(NAME, HOST, PORT, keepalive=60)
    mqtt_ota_boot.boot(patience=20, connect=connect OPTIONS)
    mqtt_ota_boot.run('main', connect=connect, client=client)
except Exception as problem:
    print(problem)
";

fn board(options: &str) -> Lamp {
    Lamp::with_boot(&BOOT.replace("OPTIONS", options))
}

/// Gives the application another version.
fn version(lamp: &Lamp, version: &str) {
    let source = include_str!("../../micropython/apps/simple.py");
    lamp.writes("main.py", &source.replace("VERSION = \"1\"", &format!("VERSION = {version:?}")));
}

#[test]
fn what_is_offered_is_fetched_at_boot_before_the_application_is_imported() {
    let mut lamp = board(", at_boot=True");
    version(&lamp, "2");
    let (sending, _home) = lamp.sends("main.py");
    lamp.board.resets();
    // One boot fetches it, the next runs it.
    assert_eq!(lamp.boots_until("version 2 is ready").len(), 1);
    let sent = sending.wait();
    sent.assert_status(0).assert_mentions("fetches it at its boot").assert_mentions("back online");

    version(&lamp, "3");
    lamp.writes("lib/lamp.py", "lamp = 3\n");
    let (syncing, _home) = lamp.syncs();
    lamp.board.resets();
    assert_eq!(lamp.boots_until("version 3 is ready").len(), 1);
    syncing.wait().assert_status(0).assert_mentions("back online");
    lamp.confirms();
    // It is there already: the board says so after its boot.
    let (syncing, _home) = lamp.syncs();
    syncing.wait().assert_status(0).assert_mentions("unchanged");
}

#[test]
fn a_sender_that_is_gone_by_the_time_of_the_boot_is_told_of() {
    let mut lamp = board(", at_boot=True");
    let gone = free_port();
    lamp.listener.publish("NIGHTLAMP/OTA", format!("127.0.0.1|{gone}|main.py|{}", "0".repeat(40)));
    lamp.board.resets();
    assert_eq!(lamp.boots_until("version 1 is ready").len(), 1);
    let statuses = std::iter::repeat_with(|| lamp.heard("/status"));
    let status = statuses.into_iter().find(|text| text.starts_with("failed|")).unwrap();
    assert!(status.contains(&format!("|connect 127.0.0.1:{gone} ")), "{status}");
}

#[test]
fn an_application_that_dies_is_told_and_the_next_file_repairs_the_board_without_a_cable() {
    for (broken, cause) in [
        ("import nothing_of_that_name\n", "no module named 'nothing_of_that_name'"),
        ("this is no Python\n", "SyntaxError"),
        ("import time\ntime.sleep(1)\n1 / 0\n", "ZeroDivisionError"),
    ] {
        let mut lamp = board("");
        lamp.writes("main.py", broken);
        let (sending, _home) = lamp.send("main.py").arg("--no-check").start();
        lamp.board.resets();
        // The fourth boot runs the client alone.
        assert_eq!(lamp.boots_until("is not run until an update comes").len(), 3);
        let crash = lamp.heard("/crash");
        assert!(crash.starts_with("Traceback") && crash.contains(cause), "{crash}");
        lamp.announces(|text| text.contains("|safe=1"));
        sending.wait().assert_mentions(cause);
        lamp.scene.command("devices").finish().assert_status(0).assert_mentions("safe mode");

        version(&lamp, "2");
        let (repaired, _home) = lamp.sends("main.py");
        lamp.board.resets();
        assert_eq!(lamp.boots_until("version 2 is ready").len(), 0);
        repaired.wait().assert_status(0).assert_mentions("back online");
        assert_eq!(lamp.heard("/crash"), "", "it is told no longer");
    }
}
