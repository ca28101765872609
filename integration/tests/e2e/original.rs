//! The sender and the firmware of 2018 with ours, both ways.

use mqtt_ota_integration::{Board, Client, FileSystem, OriginalSender, Scene};

const NAME: &str = "HEATER";

fn board(scene: &Scene, application: &str) -> (Board, String) {
    let mut board = Board::flash(FileSystem::Lfs2, application, &scene.broker, NAME, "");
    board.boot();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(folder.join(application)).unwrap();
    (board, source.replace("VERSION = \"1\"", "VERSION = \"2\""))
}

#[test]
fn our_sender_updates_the_original_device_with_four_fields() {
    let scene = Scene::new();
    let (mut board, next) = board(&scene, "micropython/apps/original.py");
    let file = scene.file("main.py", &next);
    let (sending, _home) = scene.send(file, NAME).args(["--advertise", "127.0.0.1"]).start();
    let before = board.reboots();
    assert!(before.contains("installed main.py"), "{before}");
    sending.wait().assert_status(0).assert_mentions("unconfirmed");
    board.process().stdout().wait_for("version 2 is ready");
    board.power_off();
    assert_eq!(board.read("main.py"), next.as_bytes());
}

#[test]
fn our_sender_updates_the_original_device_with_five_fields() {
    let scene = Scene::new();
    let (mut board, _) = board(&scene, "micropython/apps/original.py");
    let (a, b) = (scene.file("a.py", "a = 1\n"), scene.file("b.py", "b = 1\n"));
    let sent = scene.send(a, NAME).arg(b).args(["--no-reboot", "--advertise", "127.0.0.1"]).finish();
    sent.assert_status(0).assert_mentions("unconfirmed");
    board.process().stdout().wait_for("installed b.py");
    assert!(!board.process().stdout().text().contains("reset"));
    board.power_off();
    assert_eq!(board.read("a.py"), b"a = 1\n");
    assert_eq!(board.read("b.py"), b"b = 1\n");
}

#[test]
fn the_original_sender_updates_our_device_with_four_fields_and_with_five() {
    for fifth in [None, Some("1")] {
        let scene = Scene::new();
        let (mut board, next) = board(&scene, "micropython/apps/simple.py");
        OriginalSender::new().send(&scene.broker, NAME, "main.py", &next, fifth);
        board.reboots();
        board.process().stdout().wait_for("version 2 is ready");
        board.power_off();
        assert_eq!(board.read("main.py"), next.as_bytes());
    }
}

#[test]
fn the_original_sender_can_leave_our_device_running() {
    let scene = Scene::new();
    let (mut board, _) = board(&scene, "micropython/apps/simple.py");
    let client = Client::connect(&scene.broker, "listener");
    client.subscribe("HEATER/OTA/status");
    let sender = OriginalSender::new();
    for (file, text) in [("a.py", "a = 1\n"), ("b.py", "b = 1\n")] {
        sender.send(&scene.broker, NAME, file, text, Some("0"));
        assert!(client.next().text().starts_with("receiving|"));
        assert!(client.next().text().starts_with("installed|"));
    }
    assert!(!board.process().stdout().text().contains("reset"));
    board.power_off();
    assert_eq!(board.read("a.py"), b"a = 1\n");
}
