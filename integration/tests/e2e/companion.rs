//! The companion client, end to end: the real command, a real broker, and a board that is a real
//! MicroPython with a real file system, from which it runs an application that knows nothing of updates.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use mqtt_ota_integration::{
    Board, Client, DemoDevice, EmbeddedBroker, Endpoint, Feeder, FileSystem, Interpreter, Mosquitto, Scene,
    free_port, sha1_hex,
};

const NAME: &str = "NIGHTLAMP";
const APPLICATION: &str = "micropython/apps/simple.py";
const ASYNCIO: &str = "micropython/apps/asynchronous.py";

/// A broker, a board that is ready, and someone who hears all that it says.
struct Home<B> {
    scene: Scene<B>,
    board: Board,
    client: Client,
    /// What the application is now.
    source: String,
}

impl<B: Endpoint> Home<B> {
    fn with(broker: B, file_system: FileSystem, application: &str, settings: &str) -> Self {
        let scene = Scene::with(broker);
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("NIGHTLAMP/OTA/+").subscribe("NIGHTLAMP/lamp/+");
        let mut board = Board::flash(file_system, application, &scene.broker, NAME, settings);
        board.boot();
        let source = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(application)).unwrap();
        let home = Self { scene, board, client, source };
        assert!(home.hears().starts_with("v=1|client=mqtt_ota "));
        home
    }

    fn hears(&self) -> String {
        self.client.next().text()
    }

    fn offers(&self, offer: impl Into<Vec<u8>>) {
        self.client.publish("NIGHTLAMP/OTA", offer);
    }

    /// An offer failed, for `reason`.
    #[track_caller]
    fn fails(&self, reason: &str) {
        let status = std::iter::repeat_with(|| self.hears()).find(|status| !status.starts_with("receiving|"));
        let status = status.unwrap();
        let detail = status.splitn(4, '|').nth(3).unwrap();
        assert!(status.starts_with("failed|") && detail.starts_with(reason), "{status}");
    }

    /// How many sockets and files the board has open.
    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.board.process().id())).unwrap().count()
    }

    /// The application does what it is for.
    fn lamp_answers(&self) {
        self.client.publish("NIGHTLAMP/lamp", "on");
        let answer = self.client.next();
        assert_eq!((answer.topic.as_str(), answer.text().as_str()), ("NIGHTLAMP/lamp/said", "heard on"));
    }

    /// Sends another version of the application with the command, until the device is back online.
    fn updates(&mut self) {
        let next = self.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
        let file = self.scene.file("main.py", &next);
        let (sending, _home) = self.scene.send(file, NAME).arg("--wait-boot").start();
        let before = self.board.reboots();
        self.board.process().stdout().wait_for("version 2 is ready");
        let sent = sending.wait();
        sent.assert_status(0).assert_mentions("main.py installed").assert_mentions("back online");

        assert!(self.hears().starts_with("receiving|main.py|"));
        assert!(self.hears().starts_with("installed|main.py|"));
        assert!(self.hears().starts_with("v=1|"));
        self.lamp_answers();
        assert!(!before.contains("OTA"), "the application saw what is not its own: {before}");
        self.board.power_off();
        assert_eq!(self.board.read("main.py"), next.as_bytes());
        assert_eq!(self.board.files(), ["main.py", "settings.py"]);
    }
}

#[test]
fn an_update_through_mosquitto_runs_after_the_reboot() {
    let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, "");
    home.lamp_answers();
    home.updates();
}

#[test]
fn an_update_through_the_embedded_broker_runs_after_the_reboot() {
    Home::with(EmbeddedBroker::start(), FileSystem::Lfs2, APPLICATION, "").updates();
}

#[test]
fn an_update_of_an_application_with_another_umqtt_runs_after_the_reboot() {
    for client in ["robust", "simple2"] {
        let mut home =
            Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, &format!("CLIENT = {client:?}"));
        home.lamp_answers();
        home.updates();
    }
}

#[test]
fn littlefs_1_and_fat_take_an_update_too() {
    for file_system in [FileSystem::Lfs1, FileSystem::Fat] {
        Home::with(mosquitto(), file_system, APPLICATION, "").updates();
    }
}

#[test]
fn an_update_of_an_asyncio_application_runs_after_the_reboot() {
    let mut home = Home::with(mosquitto(), FileSystem::Lfs2, ASYNCIO, "");
    home.lamp_answers();
    home.updates();
}

#[test]
fn a_transfer_lets_the_other_tasks_run_after_every_chunk() {
    let home = Home::with(mosquitto(), FileSystem::Lfs2, ASYNCIO, "");
    let turns = || {
        home.client.publish("NIGHTLAMP/lamp", "turns");
        home.hears().parse::<u64>().unwrap()
    };
    let file = vec![b'#'; 200_000];
    let feeder = Feeder::listen();
    home.offers(feeder.offer("data", &file) + "|0");
    assert!(home.hears().starts_with("receiving|"));
    let before = turns();
    feeder.serve(&file);
    assert!(home.hears().starts_with("installed|"));
    let chunks = file.len() as u64 / 512;
    let ran = turns() - before;
    assert!(ran > chunks, "{ran} turns of the loop for {chunks} chunks");

    // A sender that stalls stops nothing either.
    home.offers(feeder.offer("data", b"other") + "|0");
    assert!(home.hears().starts_with("receiving|"));
    let _stream = feeder.accept();
    home.lamp_answers();
    home.lamp_answers();
}

#[test]
fn the_asyncio_variant_runs_on_a_computer_too() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let scene = Scene::new();
        let client = Client::connect(&scene.broker, "listener");
        client.subscribe("NIGHTLAMP/OTA/+");
        let _device = DemoDevice::boot_asyncio(interpreter, &scene.broker, NAME, scene.folder());
        assert!(client.next().text().starts_with("v=1|client=mqtt_ota "));
        let file: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
        let sent =
            scene.send(scene.file("sent", &file), NAME).args(["--as", "lib/data", "--no-reboot"]).finish();
        sent.assert_status(0).assert_mentions("installed");
        assert_eq!(fs::read(scene.folder().join("lib/data")).unwrap(), file);

        client.publish("NIGHTLAMP/OTA", format!("127.0.0.1|{}|x|{}|0", free_port(), sha1_hex(b"x")));
        let failed = std::iter::repeat_with(|| client.next().text()).find(|said| said.starts_with("failed|"));
        assert!(failed.unwrap().contains("|connect 127.0.0.1:"));
    }
}

#[test]
fn whatever_is_offered_the_application_goes_on_and_nothing_reboots() {
    let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, "");
    let feeder = Feeder::listen();
    let dead = free_port();
    let hash = sha1_hex(b"x");
    let open = home.open_files();

    for (message, reason) in [
        (format!("127.0.0.1|{dead}|main.py|{hash}"), format!("connect 127.0.0.1:{dead} [Errno 111]")),
        (format!("no.such.host.invalid|1|main.py|{hash}"), "connect no.such.host.invalid:1 ".into()),
        (String::new(), "bad-offer".into()),
        ("|".repeat(1000), "bad-offer".into()),
        (format!("127.0.0.1|{dead}|../boot.py|{hash}"), "bad-name".into()),
        (format!("127.0.0.1|{dead}|.mqtt-ota/new|{hash}"), "bad-name".into()),
    ] {
        home.offers(message);
        home.fails(&reason);
        home.lamp_answers();
    }

    // The sender sends other bytes than it said, less, and nothing at all for too long.
    for bytes in [b"y".as_slice(), b""] {
        home.offers(feeder.offer("main.py", b"x"));
        feeder.serve(bytes);
        home.fails("hash-mismatch");
    }
    home.offers(feeder.offer("main.py", b"x"));
    let stalled = feeder.accept();
    home.fails("timeout");
    drop(stalled);
    home.lamp_answers();

    // More than the flash holds, and without an end.
    home.offers(feeder.offer("main.py", b"x"));
    let mut endless = feeder.accept();
    while endless.write_all(&[0; 4096]).is_ok() {}
    home.fails("no-space");
    home.lamp_answers();

    // An offer that was just answered, again, and twice.
    let same = feeder.offer("main.py", home.source.as_bytes());
    for _ in 0..2 {
        home.offers(same.clone());
        assert!(home.hears().ends_with("|unchanged"));
    }
    home.lamp_answers();
    assert!(!feeder.has_more());
    assert_eq!(home.open_files(), open, "sockets and files that were left open");
    let printed = home.board.process().stdout().text();
    assert!(!printed.contains("reset") && !printed.contains("lost"), "{printed}");
    home.board.power_off();
    assert_eq!(home.board.read("main.py"), home.source.as_bytes());
    assert_eq!(home.board.files(), ["main.py", "settings.py"]);
}

#[test]
fn a_retained_offer_is_taken_once_and_is_no_boot_loop() {
    let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, "");
    let feeder = Feeder::listen();
    let next = home.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
    home.client.publish_retained("NIGHTLAMP/OTA", feeder.offer("main.py", next.as_bytes()));
    feeder.serve(next.as_bytes());
    home.board.reboots();
    assert!(home.hears().starts_with("receiving|"));
    assert!(home.hears().starts_with("installed|"));
    let mut after = [home.hears(), home.hears()];
    after.sort();
    assert!(after[0].ends_with("|unchanged") && after[1].starts_with("v=1|"), "{after:?}");

    // The same, from a sender that is gone.
    home.client
        .publish_retained("NIGHTLAMP/OTA", format!("127.0.0.1|{}|main.py|{}", free_port(), sha1_hex(b"")));
    home.fails("connect");
    home.board.power_off();
    home.board.boot();
    let mut after = [home.hears(), home.hears(), home.hears()];
    after.sort();
    assert!(after[0].starts_with("failed|") && after[1].starts_with("receiving|"), "{after:?}");
    home.lamp_answers();
}

#[test]
fn an_offer_that_comes_with_the_subscription_is_taken_before_the_next_message() {
    let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, "BLOCKS = True");
    home.lamp_answers();
    home.board.power_off();
    home.client
        .publish_retained("NIGHTLAMP/OTA", format!("127.0.0.1|{}|main.py|{}", free_port(), sha1_hex(b"")));
    home.board.boot();
    assert!(home.hears().starts_with("v=1|"));
    home.fails("connect");
    home.lamp_answers();
}

#[test]
fn the_connection_to_the_broker_is_kept_alive_during_a_long_transfer() {
    let home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, "KEEPALIVE = 1");
    let feeder = Feeder::listen();
    let file = [b'#'; 6000];
    home.offers(feeder.offer("data", &file) + "|0");
    let mut stream = feeder.accept();
    // Three times as long as the broker waits for a sign of life.
    for piece in file.chunks(600) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(450));
    }
    drop(stream);
    assert!(home.hears().starts_with("receiving|"));
    assert!(home.hears().starts_with("installed|"));
    let printed = home.board.process().stdout().text();
    assert!(!printed.contains("lost"), "{printed}");
    home.lamp_answers();
}

#[test]
fn a_broker_that_goes_away_does_not_stop_an_update() {
    for client in ["simple", "robust", "simple2"] {
        let settings = format!("CLIENT = {client:?}");
        let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, &settings);
        let feeder = Feeder::listen();
        let next = home.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
        home.offers(feeder.offer("main.py", next.as_bytes()));
        let mut stream = feeder.accept();
        assert!(home.hears().starts_with("receiving|"));
        home.scene.broker.stop();
        stream.write_all(next.as_bytes()).unwrap();
        drop(stream);
        home.board.resets();
        home.scene.broker.start_again();
        home.board.boot().stdout().wait_for("version 2 is ready");
    }
}

#[test]
fn a_connection_that_the_application_renews_is_announced_and_takes_offers_again() {
    // umqtt.robust connects again by itself, and subscribes to nothing then.
    for client in ["simple", "robust", "simple2"] {
        let settings = format!("CLIENT = {client:?}");
        let mut home = Home::with(mosquitto(), FileSystem::Lfs2, APPLICATION, &settings);
        home.scene.broker.stop();
        home.scene.broker.start_again();
        let client = Client::connect(&home.scene.broker, "listener again");
        client.subscribe("NIGHTLAMP/OTA/device");
        assert!(client.next().text().starts_with("v=1|"));
        let next = home.source.replace("VERSION = \"1\"", "VERSION = \"2\"");
        let file = home.scene.file("main.py", &next);
        let (sending, _home) = home.scene.send(file, NAME).arg("--wait-boot").start();
        home.board.reboots();
        sending.wait().assert_status(0).assert_mentions("back online");
    }
}

fn mosquitto() -> Mosquitto {
    Mosquitto::start()
}
