//! The script that `mqtt-ota demo` runs as its device, on the real MicroPython and on CPython.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use mqtt_ota_integration::{
    Client, DemoDevice, Feeder, Interpreter, Mosquitto, SilentPort, free_port, sha1_hex,
};
use tempfile::TempDir;

const NAME: &str = "NIGHTLAMP";

/// A broker, the device on `interpreter`, and a sender done by hand, which hears all that the device says.
struct Bench {
    root: TempDir,
    sender: Client,
    feeder: Feeder,
    device: DemoDevice,
    _broker: Mosquitto,
}

impl Bench {
    fn with(interpreter: Interpreter) -> Self {
        let broker = Mosquitto::start();
        let sender = Client::connect(&broker, "sender");
        sender.subscribe("+/OTA/+");
        let root = tempfile::tempdir().unwrap();
        let device = DemoDevice::boot(interpreter, &broker, NAME, root.path());
        let bench = Self { root, sender, feeder: Feeder::listen(), device, _broker: broker };
        assert!(bench.hears().starts_with("v=1|client=mqtt_ota 0.1.0|sys="));
        bench
    }

    fn offers(&self, offer: impl Into<Vec<u8>>) {
        self.sender.publish("NIGHTLAMP/OTA", offer);
    }

    fn hears(&self) -> String {
        self.sender.next().text()
    }

    fn disk(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    /// Sends `bytes` as `file` without a reboot.
    fn installs(&self, file: &str, bytes: &[u8]) {
        let hash = sha1_hex(bytes);
        self.offers(self.feeder.offer(file, bytes) + "|0");
        assert_eq!(self.hears(), format!("receiving|{file}|{hash}|"));
        self.feeder.serve(bytes);
        assert_eq!(self.hears(), format!("installed|{file}|{hash}|"));
        assert_eq!(fs::read(self.disk(file)).unwrap(), bytes);
    }

    /// Everything that a failed offer must leave as it was.
    fn fails(&self, reason: &str) {
        let status = self.hears();
        let detail = status.splitn(4, '|').nth(3).unwrap();
        assert!(status.starts_with("failed|"), "{status}");
        assert_eq!(detail.split(' ').next(), Some(reason), "{status}");
    }
}

/// Runs the same test on both interpreters.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod micropython { $(#[test] fn $name() { super::$name(&super::Bench::with(super::Interpreter::MicroPython)); })* }
        mod python3 { $(#[test] fn $name() { super::$name(&super::Bench::with(super::Interpreter::Python3)); })* }
    };
}

on_both! {
    a_file_is_installed_and_runs_after_the_boot
    an_offered_sha256_is_checked
    files_in_folders_empty_files_and_binary_files_are_files
    a_file_that_is_there_is_neither_fetched_nor_booted_for
    the_last_file_of_several_boots_for_all
    a_transfer_that_fails_leaves_the_old_file
    a_sender_that_stalls_is_given_up
    nobody_at_the_address_is_told_with_the_address
    silence_at_the_address_is_told_with_the_address
    hostile_names_are_refused_without_a_connection
    messages_that_are_no_offers_are_answered
    an_offer_that_comes_during_another_waits_its_turn
}

fn a_file_is_installed_and_runs_after_the_boot(bench: &Bench) {
    let file = vec![b'#'; 3891];
    let hash = sha1_hex(&file);
    bench.offers(bench.feeder.offer("main.py", &file));
    assert_eq!(bench.hears(), format!("receiving|main.py|{hash}|"));
    bench.feeder.serve(&file);
    assert_eq!(bench.hears(), format!("installed|main.py|{hash}|"));
    let announcement = bench.hears();
    assert!(announcement.starts_with("v=1|client=mqtt_ota 0.1.0|sys=linux "), "{announcement}");
    assert!(
        announcement.contains("|ask=1|answers=1|extended=1|free=")
            && announcement.ends_with("|hash=sha1,sha256"),
        "{announcement}"
    );
    assert_eq!(fs::read(bench.disk("main.py")).unwrap(), file);
    let booted_again = |steps: &str| (steps.matches("booted").count() == 2).then_some(());
    bench.device.process().stdout().wait_until("a second boot", booted_again);
}

fn an_offered_sha256_is_checked(bench: &Bench) {
    // Of the three bytes "abc", from FIPS 180-2, B.1.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let offer = bench.feeder.offer("a", b"").replace(&sha1_hex(b""), hash);
    bench.offers(offer.clone() + "|0");
    bench.hears();
    bench.feeder.serve(b"abd");
    bench.fails("hash-mismatch");
    bench.offers(offer + "|0");
    bench.hears();
    bench.feeder.serve(b"abc");
    assert_eq!(bench.hears(), format!("installed|a|{hash}|"));
}

fn files_in_folders_empty_files_and_binary_files_are_files(bench: &Bench) {
    bench.installs("lib/deep/er.py", b"pass\n");
    bench.installs("empty", b"");
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    bench.installs("größe x.bin", &every_byte);
}

fn a_file_that_is_there_is_neither_fetched_nor_booted_for(bench: &Bench) {
    fs::write(bench.disk("main.py"), "same").unwrap();
    let hash = sha1_hex(b"same");
    bench.offers(bench.feeder.offer("main.py", b"same"));
    assert_eq!(bench.hears(), format!("installed|main.py|{hash}|unchanged"));
    // What comes next is the answer to the next offer, not a boot.
    bench.installs("other.py", b"other");
    assert!(!bench.feeder.has_more());
}

fn the_last_file_of_several_boots_for_all(bench: &Bench) {
    fs::write(bench.disk("b.py"), "same").unwrap();
    bench.installs("a.py", b"new");
    bench.offers(bench.feeder.offer("b.py", b"same") + "|1");
    assert!(bench.hears().ends_with("|unchanged"));
    assert!(bench.hears().starts_with("v=1|"));
}

fn a_transfer_that_fails_leaves_the_old_file(bench: &Bench) {
    fs::write(bench.disk("main.py"), "old").unwrap();
    bench.offers(bench.feeder.offer("main.py", b"new"));
    bench.hears();
    bench.feeder.serve(b"ne");
    bench.fails("hash-mismatch");

    bench.offers(bench.feeder.offer("main.py", b"new"));
    bench.hears();
    bench.feeder.serve(b"");
    bench.fails("hash-mismatch");

    fs::create_dir(bench.disk("folder")).unwrap();
    bench.offers(bench.feeder.offer("folder", b"new"));
    bench.hears();
    bench.fails("bad-name");
    assert_eq!(fs::read_to_string(bench.disk("main.py")).unwrap(), "old");
    bench.installs("main.py", b"newer");
}

fn a_sender_that_stalls_is_given_up(bench: &Bench) {
    bench.offers(bench.feeder.offer("main.py", b"new"));
    bench.hears();
    let mut stream = bench.feeder.accept();
    stream.write_all(b"n").unwrap();
    bench.fails("timeout");
    assert!(!bench.disk("main.py").exists());
    assert_eq!(fs::read_dir(bench.disk(".mqtt-ota")).unwrap().count(), 0);
    bench.installs("main.py", b"new");
}

fn nobody_at_the_address_is_told_with_the_address(bench: &Bench) {
    let port = free_port();
    let hash = sha1_hex(b"");
    bench.offers(format!("127.0.0.1|{port}|main.py|{hash}"));
    assert_eq!(bench.hears(), format!("receiving|main.py|{hash}|"));
    let status = bench.hears();
    assert!(status.starts_with(&format!("failed|main.py|{hash}|connect 127.0.0.1:{port} ")), "{status}");
}

fn silence_at_the_address_is_told_with_the_address(bench: &Bench) {
    let silent = SilentPort::take();
    let port = silent.port();
    bench.offers(format!("127.0.0.1|{port}|main.py|{}", sha1_hex(b"")));
    assert!(bench.hears().starts_with("receiving|"));
    let status = bench.hears();
    assert!(status.contains(&format!("|connect 127.0.0.1:{port} ")), "{status}");
    assert!(status.contains("110"), "ETIMEDOUT: {status}");

    // Somebody takes the connection, and sends nothing: that is another thing.
    bench.offers(bench.feeder.offer("main.py", b"new"));
    assert!(bench.hears().starts_with("receiving|"));
    let _stream = bench.feeder.accept();
    bench.fails("timeout");
}

fn hostile_names_are_refused_without_a_connection(bench: &Bench) {
    let long = "x".repeat(129);
    let names = [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a\\b",
        "a\nb",
        "a\u{85}b",
        ".MQTT-OTA/new",
        &long,
    ];
    for name in names {
        bench.offers(bench.feeder.offer(name, b"x"));
        bench.fails("bad-name");
    }
    assert!(!bench.feeder.has_more());
    bench.installs(&"x".repeat(128), b"x");
}

fn messages_that_are_no_offers_are_answered(bench: &Bench) {
    let hash = sha1_hex(b"");
    let messages: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\xff\xfe|1|a|b".to_vec(),
        b"|".to_vec(),
        b"a|b|c".to_vec(),
        format!("127.0.0.1|0|f|{hash}").into(),
        format!("127.0.0.1|65536|f|{hash}").into(),
        format!("127.0.0.1|+5|f|{hash}").into(),
        format!("127.0.0.1||f|{hash}").into(),
        format!("|1|f|{hash}").into(),
        format!("a b|1|f|{hash}").into(),
        format!("\u{1b}[31m|1|f|{hash}").into(),
        format!("127.0.0.1|1|f|{}", hash.to_uppercase()).into(),
        format!("127.0.0.1|1|f|{}", &hash[1..]).into(),
        format!("127.0.0.1|1|f|{hash}|2").into(),
        format!("127.0.0.1|1|f|{hash}|1|id=00").into(),
        vec![b'|'; 2000],
        vec![0; 1 << 20],
    ];
    for message in messages {
        bench.offers(message);
        bench.fails("bad-offer");
    }
    bench.installs("main.py", b"still alive");
}

fn an_offer_that_comes_during_another_waits_its_turn(bench: &Bench) {
    bench.offers(bench.feeder.offer("a", b"1") + "|0");
    assert!(bench.hears().starts_with("receiving|a|"));
    let mut stream = bench.feeder.accept();
    bench.offers(bench.feeder.offer("b", b"2") + "|0");
    stream.write_all(b"1").unwrap();
    drop(stream);
    assert!(bench.hears().starts_with("installed|a|"));
    assert!(bench.hears().starts_with("receiving|b|"));
    bench.feeder.serve(b"2");
    assert!(bench.hears().starts_with("installed|b|"));
}

#[test]
fn a_device_that_lost_its_broker_announces_again() {
    for interpreter in [Interpreter::MicroPython, Interpreter::Python3] {
        let mut broker = Mosquitto::start();
        let root = tempfile::tempdir().unwrap();
        let device = DemoDevice::boot(interpreter, &broker, NAME, root.path());
        broker.stop();
        device.process().stdout().wait_for("no broker");
        broker.start_again();
        let client = Client::connect(&broker, "client");
        client.subscribe("NIGHTLAMP/OTA/device");
        assert!(client.next().text().starts_with("v=1|"));
    }
}
