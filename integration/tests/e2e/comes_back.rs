//! A board that nobody goes to with a cable: its heap is too small for an update, or its application dies.

use std::fs;
use std::path::Path;

use mqtt_ota_integration::{Board, Client, FileSystem, Process, Scene};
use tempfile::TempDir;

const NAME: &str = "NIGHTLAMP";
const APPLICATION: &str = "micropython/apps/simple.py";

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

struct Home {
    scene: Scene,
    board: Board,
    client: Client,
    source: String,
}

impl Home {
    fn with(options: &str) -> Self {
        let scene = Scene::new();
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("NIGHTLAMP/OTA/+");
        let mut board = Board::flash(FileSystem::Lfs2, APPLICATION, &scene.broker, NAME, "");
        board.put("boot.py", BOOT.replace("OPTIONS", options));
        board.boot();
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(APPLICATION)).unwrap();
        let home = Self { scene, board, client, source };
        assert!(home.heard("/device").contains("|set=-"));
        home
    }

    /// The next message on a topic that ends so.
    fn heard(&self, topic: &str) -> String {
        std::iter::repeat_with(|| self.client.next())
            .find(|message| message.topic.ends_with(topic))
            .unwrap()
            .text()
    }

    fn version(&self, version: &str) -> String {
        self.source.replace("VERSION = \"1\"", &format!("VERSION = {version:?}"))
    }

    fn sends(&self, main: &str) -> (Process, TempDir) {
        let file = self.scene.file("main.py", main);
        self.scene.send(file, NAME).args(["--wait-boot", "--no-check"]).start()
    }

    /// Boots as often as the board resets itself, until the application is ready; returns how often that was.
    fn boots(&mut self) -> usize {
        let mut resets = 0;
        while !self.board.tries_to_boot() {
            self.board.resets();
            resets += 1;
            assert!(resets < 8, "it resets itself again and again");
        }
        resets
    }
}

#[test]
fn what_is_offered_is_fetched_at_boot_before_the_application_is_imported() {
    let mut home = Home::with(", at_boot=True");
    let sending = home.sends(&home.version("2"));
    home.board.resets();
    // One boot fetches it, the next runs it.
    assert_eq!(home.boots(), 1);
    home.board.process().stdout().wait_for("version 2 is ready");
    sending
        .0
        .wait()
        .assert_status(0)
        .assert_mentions("fetches it at its boot")
        .assert_mentions("back online");

    let folder = home.scene.folder().join("lamp");
    fs::create_dir_all(folder.join("lib")).unwrap();
    fs::write(folder.join("main.py"), home.version("3")).unwrap();
    fs::write(folder.join("lib/lamp.py"), "lamp = 3\n").unwrap();
    let syncing = home.scene.command("sync").arg(&folder).args(["--to", NAME, "--wait-boot"]).start();
    home.board.resets();
    assert_eq!(home.boots(), 1);
    home.board.process().stdout().wait_for("version 3 is ready");
    syncing.0.wait().assert_status(0).assert_mentions("back online");
    let is_confirmed = |text: &String| !text.contains("|boots=") && !text.contains("|set=-");
    std::iter::repeat_with(|| home.heard("/device")).find(is_confirmed).unwrap();
    // It is there already: the board says so after its boot.
    let syncing = home.scene.command("sync").arg(&folder).args(["--to", NAME]).start();
    syncing.0.wait().assert_status(0).assert_mentions("unchanged");
}

#[test]
fn a_sender_that_is_gone_by_the_time_of_the_boot_is_told_of() {
    let mut home = Home::with(", at_boot=True");
    let gone = mqtt_ota_integration::free_port();
    home.client.publish("NIGHTLAMP/OTA", format!("127.0.0.1|{gone}|main.py|{}", "0".repeat(40)));
    home.board.resets();
    assert_eq!(home.boots(), 1);
    let status =
        std::iter::repeat_with(|| home.heard("/status")).find(|text| text.starts_with("failed|")).unwrap();
    assert!(status.contains(&format!("|connect 127.0.0.1:{gone} ")), "{status}");
    home.board.process().stdout().wait_for("version 1 is ready");
}

#[test]
fn an_application_that_dies_is_told_and_the_next_file_repairs_the_board_without_a_cable() {
    for (broken, cause) in [
        ("import nothing_of_that_name\n", "no module named 'nothing_of_that_name'"),
        ("this is no Python\n", "SyntaxError"),
        ("import time\ntime.sleep(1)\n1 / 0\n", "ZeroDivisionError"),
    ] {
        let mut home = Home::with("");
        let sending = home.sends(broken);
        home.board.resets();
        for _ in 0..3 {
            assert!(!home.board.tries_to_boot());
            home.board.resets();
        }
        // The fourth boot runs the client alone.
        let _ = home.board.tries_to_come_up("is not run until an update comes");
        let crash = home.heard("/crash");
        assert!(crash.starts_with("Traceback") && crash.contains(cause), "{crash}");
        assert!(home.heard("/device").contains("|safe=1"));
        sending.0.wait().assert_mentions(cause);
        home.scene.command("devices").finish().assert_status(0).assert_mentions("safe mode");

        let repaired = home.sends(&home.version("2"));
        home.board.resets();
        assert_eq!(home.boots(), 0);
        home.board.process().stdout().wait_for("version 2 is ready");
        repaired.0.wait().assert_status(0).assert_mentions("back online");
        assert_eq!(home.heard("/crash"), "", "it is told no longer");
    }
}
