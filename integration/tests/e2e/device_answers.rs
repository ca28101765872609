//! What devices answer, whatever runs on them: the companion client behind umqtt, in asyncio and by itself, and
//! `mqtt-ota receive`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_ota_integration::{
    Board, Client, DemoDevice, Endpoint, Feeder, FileSystem, Interpreter, Mosquitto, MqttOta, Receiver,
    SetDevice, SilentPort, free_port, sha1_hex,
};
use tempfile::TempDir;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const OLDER: &str = "aaaaaaaaaaaaaaaa";
const NEWER: &str = "0123456789abcdef";

/// What runs on a device.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Umqtt,
    Asyncio,
    Plain(Interpreter),
    Receiver,
}

const KINDS: [Kind; 5] = [
    Kind::Umqtt,
    Kind::Asyncio,
    Kind::Plain(Interpreter::MicroPython),
    Kind::Plain(Interpreter::Python3),
    Kind::Receiver,
];

/// A device that has a file `here`, and someone who hears what it says.
struct Device {
    name: String,
    client: Client,
    _device: Box<dyn std::any::Any>,
    _root: TempDir,
}

impl Device {
    fn boot(kind: Kind, broker: &Mosquitto) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("here"), "here").unwrap();
        let name = format!("{kind:?}").to_uppercase().replace(['(', ')'], "");
        let client = Client::connect(broker, &format!("listener of {name}"));
        client.subscribe(&format!("{name}/OTA/+"));
        let folder = root.path();
        let device: Box<dyn std::any::Any> = match kind {
            Kind::Umqtt => {
                let port = broker.address().port().to_string();
                let arguments = [folder.to_str().unwrap(), &name, "127.0.0.1", &port, "simple", "60"];
                let arguments = arguments.into_iter().chain(["check_msg", "sets"]);
                Box::new(DemoDevice::boot_application("idle.py", &modules(), arguments))
            }
            Kind::Asyncio => {
                Box::new(DemoDevice::boot_asyncio(Interpreter::MicroPython, broker, &name, folder))
            }
            Kind::Plain(interpreter) => Box::new(SetDevice::boot(interpreter, broker, &name, folder)),
            Kind::Receiver => Box::new(Receiver::start(broker, &name, folder)),
        };
        let device = Self { name, client, _device: device, _root: root };
        let announced = device.says();
        assert!(announced.starts_with("v=1|") && announced.contains("|ask=1"), "{announced}");
        assert!(!announced.contains("|fold="), "{announced}");
        device
    }

    fn offers(&self, offer: impl Into<Vec<u8>>) {
        self.client.publish(&format!("{}/OTA", self.name), offer);
    }

    fn says(&self) -> String {
        self.client.next().text()
    }
}

fn modules() -> PathBuf {
    Path::new(HERE).join("../micropython-client")
}

/// Does the same with each kind of device, all at once.
fn with_each(work: impl Fn(&Device) + Sync) {
    let broker = Mosquitto::start();
    thread::scope(|scope| {
        let running = KINDS.map(|kind| {
            scope.spawn({
                let (broker, work) = (&broker, &work);
                move || work(&Device::boot(kind, broker))
            })
        });
        for (kind, running) in KINDS.iter().zip(running) {
            assert!(running.join().is_ok(), "{kind:?}");
        }
    });
}

fn extended(port: u16, file: &str, bytes: &str, id: &str, more: &str) -> String {
    format!("127.0.0.1|{port}|{file}|{}|0|id={id}|size=4{more}", sha1_hex(bytes.as_bytes()))
}

#[test]
fn every_answer_to_an_extended_offer_that_asks_for_it_ends_in_its_id() {
    with_each(|device| {
        let dead = free_port();
        let hash = sha1_hex(b"x");
        let answers =
            |file, bytes, more: &str| extended(dead, file, bytes, NEWER, &format!("|answers=1{more}"));
        for (offer, expected) in [
            (answers("here", "here", ""), "installed|here|"),
            (format!("127.0.0.1|0|f|{hash}|0|id={NEWER}|size=1|answers=1"), "failed|f|"),
            (answers("../f", "x", ""), "failed|../f|"),
            (answers("f", "x", "|set=1"), "failed|f|"),
            (answers("set", "x", "|rollback=1"), "failed|set|"),
            (answers("f", "x", "|size=999999999999"), "failed|f|"),
            (answers("f", "x", ""), "failed|f|"),
        ] {
            device.offers(offer.clone());
            let said = std::iter::from_fn(|| Some(device.says()));
            let mut said = said.inspect(|said| {
                let detail = said.splitn(4, '|').nth(3).unwrap_or_default();
                let detail = detail.strip_suffix(&format!("id={NEWER}"));
                let detail = detail.unwrap_or_else(|| panic!("{}: {offer}: {said}", device.name));
                assert!(detail.is_empty() || detail.ends_with(' '), "{said}");
            });
            let last = said.find(|said| !said.starts_with("receiving|")).unwrap();
            assert!(last.starts_with(expected), "{}: {offer}: {last}", device.name);
        }
        // A sender of 0.1 reads what it always read.
        device.offers(extended(dead, "here", "here", NEWER, ""));
        assert!(device.says().ends_with("|unchanged"));
        device.offers(extended(dead, "set", "x", NEWER, "|rollback=1"));
        assert!(!device.says().contains("id="));
    });
}

#[test]
fn a_newer_offer_of_the_same_file_is_taken_soon_though_the_older_ones_sender_cannot_be_reached() {
    with_each(|device| {
        let silent = SilentPort::take();
        let older = extended(silent.port(), "here", "new!", OLDER, "|answers=1");
        device.offers(older.clone());
        assert!(device.says().starts_with("receiving|here|"));
        // What waits is replaced as well; and the same offer once more is not a newer one.
        device.offers(extended(silent.port(), "other", "1111", OLDER, "|answers=1"));
        device.offers(extended(free_port(), "other", "2222", NEWER, "|answers=1|size=999999999999"));
        let since = Instant::now();
        device.offers(extended(free_port(), "here", "here", NEWER, "|answers=1"));
        let mut answers = [device.says(), device.says()];
        answers.sort();
        assert!(answers[0].starts_with("failed|other|") && answers[0].ends_with(NEWER), "{answers:?}");
        let unchanged = format!("|unchanged id={NEWER}");
        assert!(answers[1].starts_with("installed|here|") && answers[1].ends_with(&unchanged), "{answers:?}");
        // It would wait for 10 s, four times.
        assert!(since.elapsed() < Duration::from_secs(5), "{}: {:?}", device.name, since.elapsed());

        // A plain one too, which has no id.
        device.offers(format!("127.0.0.1|{}|here|{}|0", silent.port(), sha1_hex(b"new!")));
        assert!(device.says().starts_with("receiving|here|"));
        device.offers(format!("127.0.0.1|{}|here|{}|0", free_port(), sha1_hex(b"here")));
        let answer = device.says();
        assert!(answer.ends_with("|unchanged"), "{}: {answer}", device.name);
        assert!(since.elapsed() < Duration::from_secs(10), "{}: {:?}", device.name, since.elapsed());
    });
}

#[test]
fn a_device_announces_itself_when_it_is_asked_at_most_once_in_5_s_and_while_it_is_busy() {
    with_each(|device| {
        device.offers("announce");
        let answer = device.says();
        assert!(answer.contains("|ask=1"), "{}: {answer}", device.name);
        let since = Instant::now();
        let silent = SilentPort::take();
        device.offers(extended(silent.port(), "f", "new!", NEWER, "|answers=1"));
        assert!(device.says().starts_with("receiving|f|"));
        device.offers("announce|0123456789abcdef");
        device.offers("announce");
        let answer = device.says();
        let took = since.elapsed();
        assert!(answer.contains("|ask=1"), "{}: {answer}", device.name);
        assert!(
            took > Duration::from_millis(4_800) && took < Duration::from_secs(8),
            "{}: {took:?}",
            device.name
        );
        assert!(device.client.pending().is_empty());
    });
}

#[cfg(unix)]
#[test]
fn a_receiver_that_reboots_does_not_answer_until_it_is_back() {
    let (broker, root) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let (client, feeder) = (Client::connect(&broker, "listener"), Feeder::listen());
    client.subscribe("GATEWAY/OTA/device").subscribe("GATEWAY/OTA/status");
    let receive = MqttOta::run("receive").broker(&broker).args(["--as", "GATEWAY", "--root"]);
    let (_process, _home) = receive.arg(root.path()).args(["--exec", "sleep 8"]).start();
    assert!(client.next().text().contains("|ask=1"));
    client.publish("GATEWAY/OTA", feeder.offer("main.py", b"x = 1"));
    feeder.serve(b"x = 1");
    while !client.next().text().starts_with("installed|") {}
    client.publish("GATEWAY/OTA", "announce");
    // An answer would come 5 s after the first announcement.
    assert_eq!(client.hears_nothing_for(Duration::from_secs(6)).map(|message| message.text()), None);
    assert!(client.next().text().contains("|ask=1"), "it is back");
}

#[test]
fn a_file_system_that_folds_case_is_announced() {
    let broker = Mosquitto::start();
    for (file_system, folds) in [(FileSystem::Fat, true), (FileSystem::Lfs2, false)] {
        let client = Client::connect(&broker, "listener");
        client.subscribe("NIGHTLAMP/OTA/device");
        let mut board = Board::flash(file_system, "micropython/apps/simple.py", &broker, "NIGHTLAMP", "");
        for _ in 0..2 {
            board.boot();
            let announced = std::iter::repeat_with(|| client.next()).find(|heard| !heard.retained).unwrap();
            assert_eq!(announced.text().contains("|fold=1"), folds, "{file_system:?}: {announced:?}");
            board.power_off();
        }
    }
}

fn script(interpreter: Interpreter, script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(interpreter.program());
    command.arg(Path::new(HERE).join("micropython").join(script)).args(arguments);
    run(&mut command)
}

fn run(command: &mut Command) -> Output {
    command.env("MICROPYPATH", format!("{}:.frozen", modules().display())).env("PYTHONPATH", modules());
    command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
}

#[test]
fn a_set_is_confirmed_only_once_the_broker_has_the_announcement() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let root = tempfile::tempdir().unwrap();
        let run = script(interpreter, "confirms.py", &[root.path().to_str().unwrap()]);
        assert!(String::from_utf8_lossy(&run.stdout).ends_with("all right\n"), "{run:?}");
    }
}

#[test]
fn a_log_is_published_while_somebody_asks_for_it() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let root = tempfile::tempdir().unwrap();
        let run = script(interpreter, "logs.py", &[root.path().to_str().unwrap()]);
        assert!(String::from_utf8_lossy(&run.stdout).ends_with("all right\n"), "{run:?}");
    }
}

#[test]
fn a_read_only_file_system_is_named_as_the_cause() {
    for file_system in ["lfs2", "fat"] {
        let feeder = Feeder::listen();
        let offer = feeder.offer("f", b"hello") + "|0";
        let serving = thread::spawn(move || drop(feeder.accept()));
        let run = script(Interpreter::MicroPython, "read_only.py", &[file_system, &offer]);
        serving.join().unwrap();
        let printed = String::from_utf8_lossy(&run.stdout);
        assert!(printed.ends_with("|write the file system is read-only\n"), "{run:?}");
    }
}

#[test]
fn a_computer_is_no_board_whose_root_is_written_to() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        for arguments in ["'X'", "'X', root='/tmp'", "'X', reset=print"] {
            let source = format!("import mqtt_ota; mqtt_ota.Ota({arguments})");
            let run = run(Command::new(interpreter.program()).args(["-c", &source]));
            let printed = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
            assert!(printed.contains("this is no board: give root= and reset="), "{run:?}");
        }
        let root = tempfile::tempdir().unwrap();
        let source = format!("import mqtt_ota; mqtt_ota.Ota('X', root={:?}, reset=print)", root.path());
        let run = run(Command::new(interpreter.program()).args(["-c", &source]));
        assert!(run.status.success(), "{run:?}");
    }
}
