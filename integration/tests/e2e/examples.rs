//! The examples of the companion client, as a user copies them: each does its job on a board, and is
//! updated there by the real command through a real broker.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use mqtt_ota_integration::{
    Board, Client, Feeder, FileSystem, Scene, binary, companion, copy_template, install_companion,
};

const NAME: &str = "NIGHTLAMP";

/// What a button's contacts do when it is pressed, and when it is let go.
const PRESSED: &str = "pin 0 0\npin 0 1\npin 0 0\n";
const RELEASED: &str = "pin 0 1\npin 0 0\npin 0 1\n";

/// A file of the companion client.
fn companion_file(file: &str) -> String {
    let path = companion().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A broker, a board with an example in the template, a hand at its hardware, and someone who hears what
/// it says.
struct Home {
    scene: Scene,
    board: Board,
    client: Client,
    bench: TcpListener,
    hand: TcpStream,
    file: &'static str,
    source: String,
}

impl Home {
    /// The example as it is.
    fn with(example: &str) -> Self {
        Self::with_changes(example, &[])
    }

    /// The example with some of its text replaced.
    fn with_changes(example: &str, changes: &[(&str, &str)]) -> Self {
        let mut source = companion_file(&format!("examples/{example}"));
        for (old, new) in changes {
            assert!(source.contains(old), "{old}");
            source = source.replace(old, new);
        }
        Self::with_source("app.py", source)
    }

    /// A program in the template.
    fn with_source(file: &'static str, source: String) -> Self {
        binary(); // a board that is awake for a moment does not wait until it is built
        let scene = Scene::new();
        let client = listener(&scene);
        let bench = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = tempfile::tempdir().unwrap();
        copy_template(files.path(), &scene.broker, NAME);
        install_companion(&files.path().join("lib"));
        fs::write(files.path().join(file), &source).unwrap();
        let port = format!("BENCH = {}\n", bench.local_addr().unwrap().port());
        let mut settings = File::options().append(true).open(files.path().join("settings.py")).unwrap();
        settings.write_all(port.as_bytes()).unwrap();
        let mut board = Board::flash_folder(FileSystem::Lfs2, files.path());
        board.boot();
        let (hand, _) = bench.accept().unwrap();
        let home = Self { scene, board, client, bench, hand, file, source };
        home.is_announced();
        home
    }

    fn hears(&self) -> String {
        self.client.next().text()
    }

    #[track_caller]
    fn is_announced(&self) {
        let announced = self.hears();
        assert!(announced.starts_with("v=1|") && announced.contains("|addr=127.0.0.1|"), "{announced}");
    }

    /// Does something to the hardware.
    fn does(&mut self, lines: &str) {
        self.hand.write_all(lines.as_bytes()).unwrap();
    }

    /// It has printed `line` so many times.
    fn prints(&self, line: &str, times: usize) {
        let found = |text: &str| (text.lines().filter(|found| *found == line).count() >= times).then_some(());
        self.board.process().stdout().wait_until(line, found);
    }

    /// The power comes back, or it wakes.
    fn boots(&mut self) {
        self.board.boot();
        self.hand = self.bench.accept().unwrap().0;
    }

    /// Another version of the example, in a file to be sent.
    fn next_version(&self) -> PathBuf {
        let next = self.source.replace("\"is ready\"", "\"2 is ready\"");
        assert_ne!(next, self.source);
        self.scene.file(self.file, next)
    }

    /// Sends another version with the command, until the device is back online. Returns what it printed
    /// before that.
    fn updates(&mut self) -> String {
        let (sending, _home) = self.scene.send(self.next_version(), NAME).arg("--wait-boot").start();
        let before = self.board.resets();
        self.boots();
        self.board.process().stdout().wait_for("NIGHTLAMP 2 is ready");
        let sent = sending.wait();
        let file = self.file;
        sent.assert_status(0).assert_mentions(&format!("{file} installed")).assert_mentions("back online");
        // What had to wait for the broker may come between.
        for status in ["receiving", "installed"] {
            while !self.hears().starts_with(&format!("{status}|{file}|")) {}
        }
        self.is_announced();
        before
    }

    /// The broker goes, something happens, and it comes back.
    fn without_a_broker(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        self.scene.broker.stop();
        meanwhile(self);
        self.scene.broker.start_again();
        self.client = listener(&self.scene);
        // What had to wait may come before.
        while !self.hears().starts_with("v=1|") {}
    }
}

fn listener(scene: &Scene) -> Client {
    let client = Client::connect(&scene.broker, "listener");
    client.subscribe("NIGHTLAMP/OTA/+").subscribe("NIGHTLAMP/lamp").subscribe("NIGHTLAMP/dht22");
    client
}

const LAMPS: [&str; 2] = ["lamp.py", "lamp_asyncio.py"];

#[test]
fn the_lamp_is_switched_by_mqtt_and_by_its_button() {
    for example in LAMPS {
        let mut home = Home::with(example);
        assert_eq!(home.hears(), "off");
        home.client.publish("NIGHTLAMP/lamp/set", "on");
        home.prints("pin 5 1", 1);
        assert_eq!(home.hears(), "on");
        home.does(PRESSED);
        home.prints("pin 5 0", 1);
        assert_eq!(home.hears(), "off");
        home.does(RELEASED);
        home.client.publish("NIGHTLAMP/lamp/set", "on");
        assert_eq!(home.hears(), "on");
        home.client.publish("NIGHTLAMP/lamp/set", "off");
        assert_eq!(home.hears(), "off");
    }
}

#[test]
fn the_lamp_is_updated() {
    for example in LAMPS {
        let mut home = Home::with(example);
        assert_eq!(home.hears(), "off");
        home.updates();
        assert_eq!(home.hears(), "off");
        home.client.publish("NIGHTLAMP/lamp/set", "on");
        assert_eq!(home.hears(), "on");
    }
}

#[test]
fn the_lamp_survives_a_broker_that_goes_away() {
    for example in LAMPS {
        let mut home = Home::with(example);
        home.without_a_broker(|home| {
            home.does(PRESSED);
            home.prints("pin 5 1", 1);
        });
        while home.hears() != "on" {} // what it was before may have waited as well
        home.updates();
    }
}

#[test]
fn the_lamp_survives_wifi_that_goes_away() {
    let mut home = Home::with("lamp.py");
    assert_eq!(home.hears(), "off");
    home.does("wifi 0\n");
    home.prints("joining my network", 2);
    home.does(PRESSED);
    home.prints("pin 5 1", 1);
    home.does("wifi 1\n");
    assert_eq!(home.hears(), "on");
    home.updates();
}

#[test]
fn the_button_works_during_an_update() {
    for example in LAMPS {
        let mut home = Home::with(example);
        assert_eq!(home.hears(), "off");
        let feeder = Feeder::listen();
        home.client.publish("NIGHTLAMP/OTA", feeder.offer("data", b"new") + "|0");
        let _stalled = feeder.accept();
        assert!(home.hears().starts_with("receiving|"));
        home.does(PRESSED);
        home.prints("pin 5 1", 1);
    }
}

#[test]
fn a_mistake_in_the_lamp_is_mended_by_an_update() {
    let (right, wrong) = ("switch(message == b\"on\")", "switch(message == ON)");
    let mut home = Home::with_changes("lamp.py", &[(right, wrong)]);
    assert_eq!(home.hears(), "off");
    home.client.publish("NIGHTLAMP/lamp/set", "on");
    home.is_announced();
    home.prints("NameError: name 'ON' isn't defined", 1);
    assert_eq!(home.hears(), "off");
    home.source = home.source.replace(wrong, right);
    home.updates();
    assert_eq!(home.hears(), "off");
    home.client.publish("NIGHTLAMP/lamp/set", "on");
    assert_eq!(home.hears(), "on");
}

const MEASURED: &str = r#"{"temperature": 21.5, "humidity": 40.0}"#;

#[test]
fn the_sensor_publishes_once_in_a_period() {
    let mut home = Home::with_changes("dht22.py", &[("PERIOD = 60 ", "PERIOD = 1 ")]);
    for _ in 0..3 {
        assert_eq!(home.hears(), MEASURED);
    }
    home.does("dht 0\n");
    home.board.process().stdout().wait_for("no answer from the sensor");
    home.client.pending();
    home.does("dht 1\n");
    assert_eq!(home.hears(), MEASURED);
}

#[test]
fn the_sensor_is_updated() {
    let mut home = Home::with("dht22.py");
    assert_eq!(home.hears(), MEASURED);
    home.updates();
    assert_eq!(home.hears(), MEASURED);
}

#[test]
fn the_sensor_survives_a_broker_that_goes_away() {
    let mut home = Home::with("dht22.py");
    assert_eq!(home.hears(), MEASURED);
    home.without_a_broker(|_| ());
    assert_eq!(home.hears(), MEASURED);
    home.updates();
}

const SLEEPER: &str = "deep_sleep.py";
const SLEEPS: &str = "sleeps 600000\n";

#[test]
fn the_sleeper_reports_and_sleeps_each_time_that_it_wakes() {
    let mut home = Home::with(SLEEPER);
    for _ in 0..2 {
        assert_eq!(home.hears(), MEASURED);
        assert!(home.board.resets().contains(SLEEPS));
        home.boots();
        home.is_announced();
    }
}

/// Time for a test to do something.
const LONGER: (&str, &str) = ("LISTEN = 2000 ", "LISTEN = 20000 ");

#[test]
fn an_update_that_is_sent_while_the_sleeper_is_awake_is_installed_before_it_sleeps() {
    let mut home = Home::with_changes(SLEEPER, &[LONGER]);
    assert_eq!(home.hears(), MEASURED);
    let before = home.updates();
    assert!(!before.contains("sleeps"), "{before}");
}

#[test]
fn a_mistake_in_the_sleeper_is_mended_by_an_update() {
    let (right, wrong) = ("sensor.measure()", "sensor.measures()");
    let mut home = Home::with_changes(SLEEPER, &[LONGER, (right, wrong)]);
    home.source = home.source.replace(wrong, right);
    home.updates();
    assert_eq!(home.hears(), MEASURED);
}

#[test]
fn an_update_that_is_sent_while_the_sleeper_sleeps_is_installed_when_it_wakes() {
    let mut home = Home::with(SLEEPER);
    assert_eq!(home.hears(), MEASURED);
    home.board.resets();

    let (sending, _home) = home.scene.send(home.next_version(), NAME).arg("--wait-boot").start();
    home.scene.broker.process().stderr().wait_for("'NIGHTLAMP/OTA'");
    home.boots();
    let before = home.board.resets();
    assert!(!before.contains("sleeps"), "{before}");
    home.boots();
    sending.wait().assert_status(0).assert_mentions("app.py installed").assert_mentions("back online");
    home.board.process().stdout().wait_for("NIGHTLAMP 2 is ready");
}

#[test]
fn the_sleeper_waits_for_one_more_file_after_a_long_transfer() {
    let mut home = Home::with(SLEEPER);
    assert_eq!(home.hears(), MEASURED);
    let feeder = Feeder::listen();
    home.client.publish("NIGHTLAMP/OTA", feeder.offer("first", b"1") + "|0");
    let stream = feeder.accept();
    // Longer than it looks for an offer.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(home.hears().starts_with("receiving|first|"));
    (&stream).write_all(b"1").unwrap();
    drop(stream);
    assert!(home.hears().starts_with("installed|first|"));
    home.client.publish("NIGHTLAMP/OTA", feeder.offer("second", b"2"));
    feeder.serve(b"2");
    let before = home.board.resets();
    assert!(!before.contains("sleeps"), "{before}");
    assert_eq!((home.board.read("first"), home.board.read("second")), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn the_sleeper_sleeps_without_a_broker_too() {
    let mut home = Home::with(SLEEPER);
    home.scene.broker.stop();
    let printed = home.board.resets();
    assert!(printed.contains("OSError") && printed.contains(SLEEPS), "{printed}");
}

#[test]
fn the_sleeper_sleeps_after_a_mistake_too() {
    let mut home = Home::with_changes(SLEEPER, &[("sensor.measure()", "sensor.measures()")]);
    let printed = home.board.resets();
    assert!(printed.contains("AttributeError") && printed.contains(SLEEPS), "{printed}");
}
