//! Sets that must not stay: a board on whose flash a folder arrives that does not work, and nobody near it.

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_ota_integration::{Board, Client, FileSystem, Process, Scene, sha1_hex};
use tempfile::TempDir;

const NAME: &str = "NIGHTLAMP";
const APPLICATION: &str = "micropython/apps/simple.py";

/// What is announced of a set that has said nothing itself.
const UNCONFIRMED: &str = "not confirmed in 3 boots";

/// A board gives a set two seconds to reach the broker, as these boards are fast. It has the network.
const BOOT: &str = "\
import mqtt_ota_boot, network
network.WLAN.joined = True
mqtt_ota_boot.boot(patience=2)
";

/// A board that takes sets, and has one that works.
struct Home {
    scene: Scene,
    board: Board,
    client: Client,
    source: String,
}

impl Home {
    fn new() -> Self {
        let scene = Scene::new();
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("NIGHTLAMP/OTA/device");
        let mut board = Board::flash(FileSystem::Lfs2, APPLICATION, &scene.broker, NAME, "");
        board.put("boot.py", BOOT);
        board.boot();
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(APPLICATION)).unwrap();
        let mut home = Self { scene, board, client, source };
        assert!(home.announced().contains("|set=-|"));
        let works = home.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
        let (sending, _kept) = home.syncs(&works, "lamp = 2\n");
        home.board.reboots();
        // The files are in place after a second boot: the first one has only put them there.
        sending.wait().assert_status(0).assert_mentions("back online");
        // It is confirmed once the broker has its announcement, and announced again then.
        assert!(home.announced().contains("|boots=1|"));
        let confirmed = home.announced();
        assert!(confirmed.contains("|set=") && !confirmed.contains("|boots="), "{confirmed}");
        home
    }

    fn announced(&self) -> String {
        self.client.next().text()
    }

    /// Starts to send a folder with this application, and a module beside it.
    fn syncs(&self, application: &str, module: &str) -> (Process, TempDir) {
        let folder: PathBuf = self.scene.folder().join("lamp");
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("main.py"), application).unwrap();
        fs::write(folder.join("lib/lamp.py"), module).unwrap();
        let command = self.scene.command("sync").arg(folder).args(["--to", NAME, "--wait-boot"]);
        command.env("MQTT_OTA_RETRIES", "0").start()
    }

    /// The set is sent, does not work, and is taken back by itself: then there is what was there before.
    fn takes_back(&mut self, application: &str, why: &str) {
        let (sending, _kept) = self.syncs(application, "lamp = 3\n");
        self.board.resets();
        // The third boot takes it back, and the one after that runs what was there before.
        for _ in 0..3 {
            assert!(!self.board.tries_to_boot(), "{:?}", self.board.process());
            self.board.resets();
        }
        self.board.boot();
        self.board.process().stdout().wait_for("version 2 is ready");
        let announced = self.announced();
        assert!(announced.contains("|rolled-back="), "{announced}");
        assert!(announced.contains(&format!("|error={why}|")), "{announced}");
        sending.wait().assert_status(1).assert_error("rolled back");
        let listed = self.scene.command("devices").finish();
        listed.assert_status(0).assert_mentions("rolled back");
        self.board.power_off();
        let works = self.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
        assert_eq!(sha1_hex(&self.board.read("main.py")), sha1_hex(works.as_bytes()));
        assert_eq!(self.board.read("lib/lamp.py"), b"lamp = 2\n");
        self.board.boot();
    }
}

#[test]
fn a_set_that_crashes_at_import_is_taken_back_by_the_third_boot() {
    let mut home = Home::new();
    home.takes_back("import nothing_of_that_name\n", UNCONFIRMED);
}

#[test]
fn a_set_that_hangs_before_it_is_connected_is_taken_back_by_the_third_boot() {
    let mut home = Home::new();
    home.takes_back("while True:\n    pass\n", UNCONFIRMED);
}

#[test]
fn a_set_that_finds_no_broker_is_taken_back_by_the_third_boot() {
    let mut home = Home::new();
    let lost =
        home.source.replace("client = MQTTClient(NAME, HOST, PORT", "client = MQTTClient(NAME, HOST, 1");
    assert_ne!(lost, home.source);
    home.takes_back(&lost, UNCONFIRMED);
}

#[test]
fn what_the_application_did_not_catch_is_announced_with_the_set_that_was_taken_back() {
    let mut home = Home::new();
    let crashes = "import mqtt_ota_boot\nmqtt_ota_boot.run(\"lost_module\")\n";
    home.takes_back(crashes, "ImportError: no module named 'lost_module'");
}
