//! Folders that become a device's files: the real command, the real broker, and the real companion client on
//! MicroPython and on CPython.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use mqtt_ota_integration::{
    Chaos, GUARD, Home, Interpreter, MqttOta, RawDevice, RawOffer, files, free_port, noise,
};
use sha2::{Digest as _, Sha256};

const BOTH: [Interpreter; 2] = [Interpreter::MicroPython, Interpreter::Python3];
const NAME: &str = "NIGHTLAMP";

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_folder_becomes_the_device_s_files_and_then_only_what_changed_travels() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        let device = home.boots(interpreter);
        let synced = home.sync().arg("--wait-boot").finish();
        synced.assert_status(0).assert_mentions("5 of 5 files sent").assert_mentions("back online");
        assert!(!synced.stderr.contains("closed"), "what is as it should be needs no word: {synced:?}");
        home.assert_same();

        let again = home.sync().arg("--json").finish().assert_status(0).result();
        assert_eq!((&again["outcome"], &again["fetched"]), (&"unchanged".into(), &0.into()));
        assert!(again["sent"].as_u64().unwrap() < 600, "only the manifest: {again}");

        home.has("main.py", "VERSION = 2\n");
        let one = home.sync().args(["--json", "--wait-boot"]).finish().assert_status(0).result();
        assert_eq!((&one["outcome"], &one["fetched"]), (&"installed".into(), &1.into()));
        assert!(one["sent"].as_u64().unwrap() < 600, "{one}");
        home.assert_same();
        // The first in the order of the set, which would be next behind the manifest.
        home.has("data.bin", noise(2, 40_000));
        let first = home.sync().args(["--json", "--wait-boot"]).finish();
        let asked = first.json_lines().iter().filter(|line| line["event"] == "asked").count();
        assert_eq!((asked, &first.assert_status(0).result()["attempts"]), (2, &1.into()), "{first:?}");
        home.assert_same();
        let result = first.result();
        let hash = result["hash"].as_str().unwrap();
        home.scene.command("devices").finish().assert_status(0).assert_mentions(&hash[..8]);
        drop(device);
    }
}

#[test]
fn a_device_of_one_file_asks_for_everything_and_need_not_read_it_to_its_end() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        fs::remove_dir_all(home.folder()).unwrap();
        home.has("main.py", "# as it was\n".repeat(500));
        let _device = home.boots(interpreter);
        home.sync().arg("--wait-boot").finish().assert_status(0);
        home.has("lib.py", "x = 1\n");
        let synced = home.sync().args(["--json", "--wait-boot"]).finish();
        synced.assert_status(0);
        let said = |event: &str| synced.json_lines().iter().filter(|line| line["event"] == event).count();
        assert_eq!((said("asked"), said("dropped")), (1, 0), "{synced:?}");
        home.assert_same();
    }
}

#[test]
fn what_is_gone_from_the_folder_is_deleted_only_if_it_is_said_and_a_dry_run_shows_it() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        let _device = home.boots(interpreter);
        home.sync().arg("--wait-boot").finish().assert_status(0);
        fs::write(home.root().join("log.txt"), "the application's own").unwrap();
        fs::write(home.root().join("boot.py"), "import mqtt_ota_boot").unwrap();
        fs::remove_file(home.folder().join("lib/lamp.py")).unwrap();
        home.has("new/file.py", "new");

        let before = files(home.root());
        let dry = home.sync().args(["--dry-run", "--delete", "--json"]).finish().assert_status(0).result();
        assert_eq!(dry["outcome"], "planned");
        assert_eq!(dry["plan"]["send"], serde_json::json!([{"path": "new/file.py", "bytes": 3}]));
        assert_eq!(dry["plan"]["keep"].as_array().unwrap().len(), 4);
        assert_eq!(dry["plan"]["delete"], serde_json::json!(["lib/lamp.py"]));
        let dry = home.sync().args(["--dry-run", "--delete-all"]).finish();
        dry.assert_status(0).assert_mentions("would send new/file.py (3 bytes)");
        dry.assert_mentions("would delete log.txt").assert_mentions("2 to delete");
        assert_eq!(files(home.root()), before, "a dry run changes nothing");

        home.sync().arg("--wait-boot").finish().assert_status(0);
        assert!(home.root().join("lib/lamp.py").exists());
        home.has("lib/lamp.py", "again");
        home.sync().arg("--wait-boot").finish().assert_status(0);
        fs::remove_file(home.folder().join("lib/lamp.py")).unwrap();
        home.sync().args(["--wait-boot", "--delete"]).finish().assert_status(0);
        assert!(!home.root().join("lib/lamp.py").exists());
        assert!(home.root().join("log.txt").exists());
        home.sync().args(["--wait-boot", "--delete-all"]).finish().assert_status(0);
        fs::remove_file(home.root().join("boot.py")).unwrap();
        home.assert_same();
    }
}

#[test]
fn a_device_that_loses_its_power_goes_on_where_it_was() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        home.has("large.bin", noise(9, 400_000));
        let device = home.boots(interpreter);
        let port = free_port();
        let link = Chaos::that_stalls(port, 200_000);
        let listen = format!("127.0.0.1:{port}");
        let (sending, _home) =
            home.sync().args(["--listen", &listen, "--advertise", &link.advertised(), "--json"]).start();
        // data.bin is item 1, and large.bin item 2.
        let staged = home.root().join(".mqtt-ota/s0/2");
        let give_up = Instant::now() + GUARD;
        while fs::metadata(&staged).map_or(0, |staged| staged.len()) < 100_000 {
            assert!(Instant::now() < give_up, "nothing is staged");
            std::thread::yield_now();
        }
        drop(device);
        let _device = home.boots(interpreter);
        let synced = sending.wait();
        assert_eq!(synced.assert_status(0).result()["outcome"], "installed");
        let lines = synced.json_lines();
        let last = lines.iter().rfind(|line| line["event"] == "asked").unwrap();
        assert_eq!(last["path"], "large.bin", "data.bin was whole: {synced:?}");
        assert!(last["offset"].as_u64().unwrap() >= 90_000, "{last}");
        home.assert_same();
    }
}

#[test]
fn a_single_file_resumes_on_a_device_that_understands_it() {
    for (seed, interpreter) in (7..).zip(BOTH) {
        let home = Home::of(NAME);
        let _device = home.boots(interpreter);
        let file = home.scene.file("large.bin", noise(3, 200_000));
        let port = free_port();
        let link = Chaos::to(port, seed, 6, 50_000);
        let sent = home
            .scene
            .send(file, NAME)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--advertise", &link.advertised()])
            .args(["--json", "--no-reboot"])
            .finish();
        let lines = sent.assert_status(0).json_lines();
        assert!(lines.iter().any(|line| line["event"] == "asked" && line["offset"].as_u64() > Some(0)));
        assert_eq!(fs::read(home.root().join("large.bin")).unwrap(), noise(3, 200_000));
        let again = home.scene.send(home.scene.folder().join("large.bin"), NAME).arg("--json").finish();
        assert_eq!(again.assert_status(0).result()["outcome"], "unchanged");
    }
}

#[test]
fn a_set_that_crashes_is_taken_back_and_whoever_waits_hears_why() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        let _device = home.boots(interpreter);
        home.sync().arg("--wait-boot").finish().assert_status(0);
        let good = files(home.root());

        home.has("main.py", "raise ValueError('no such lamp')\n");
        home.has("new.py", "new");
        let synced = home.sync().args(["--wait-boot", "--json"]).finish();
        let rolled_back = synced.assert_status(1).result();
        assert_eq!(rolled_back["outcome"], "rolled-back");
        assert!(rolled_back["message"].as_str().unwrap().contains("no such lamp"), "{rolled_back}");
        assert_eq!(files(home.root()), good);
        let hash = rolled_back["hash"].as_str().unwrap();
        home.scene
            .command("devices")
            .finish()
            .assert_mentions(&format!("rolled back {}", &hash[..8]))
            .assert_mentions("no such lamp");

        home.has("main.py", "VERSION = 3\n");
        home.sync().arg("--wait-boot").finish().assert_status(0);
        home.assert_same();
        assert!(!home.scene.command("devices").finish().stdout.contains("rolled back"));
    }
}

#[test]
fn the_last_set_is_taken_back_on_request() {
    for interpreter in BOTH {
        let home = Home::of(NAME);
        let _device = home.boots(interpreter);
        home.sync().arg("--wait-boot").finish().assert_status(0);
        let first = files(home.root());
        home.has("main.py", "VERSION = 2\n");
        home.has("new.py", "new");
        home.sync().arg("--wait-boot").finish().assert_status(0);
        home.assert_same();

        let rollback = || MqttOta::run("rollback").broker(&home.scene.broker).args(["--to", NAME]).finish();
        rollback().assert_status(0).assert_mentions("taken back");
        assert_eq!(files(home.root()), first);
        let again = rollback();
        again.assert_status(1).assert_error("gone").assert_hint("sync the folder");
        assert_eq!(files(home.root()), first);
    }
}

#[test]
fn a_device_that_takes_single_files_only_is_not_offered_a_set() {
    let home = Home::of(NAME);
    let device = RawDevice::announced(&home.scene.broker, NAME);
    let synced = home.sync().finish();
    synced.assert_status(1).assert_error("single files only").assert_hint("mqtt-ota send");
    device.assert_no_offer();
    let synced = home.sync().args(["--to", "NOBODY", "--json"]).finish();
    synced.assert_status(1).assert_error("has not announced itself").assert_hint("spelt");
    let rolled_back = MqttOta::run("rollback").broker(&home.scene.broker).args(["--to", NAME]).finish();
    rolled_back.assert_status(1).assert_error("single files only");
}

#[test]
fn the_list_of_devices_shows_sets_trials_and_what_was_taken_back() {
    let home = Home::of(NAME);
    let (set, back) = ("819d7bf8".repeat(8), "ba7816bf".repeat(8));
    let device = RawDevice::join(&home.scene.broker, NAME);
    device.announce_as(&format!("v=1|set={set}|boots=2|rolled-back={back}|error=Oops\u{1b}[2J: no lamp"));
    let listed = home.scene.command("devices").finish();
    listed.assert_status(0).assert_mentions("819d7bf8  on trial, boot 2; rolled back ba7816bf: Oops");
    assert!(!listed.stdout.contains('\u{1b}'), "{listed:?}");
    let json = MqttOta::run("devices").broker(&home.scene.broker).arg("--json").finish().json_lines();
    assert_eq!((&json[0]["set"], &json[0]["rolled_back"]), (&set.into(), &back.into()));
    device.announce_as("v=1|set=-");
    assert!(!home.scene.command("devices").finish().stdout.contains("trial"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_closes_the_port_and_leaves_the_device_as_it_is() {
    let home = Home::of(NAME);
    let device = raw_device(&home);
    let (sending, _home) = home.sync().start();
    let offer = device.offer();
    let mut stream = TcpStream::connect((offer.host.as_str(), offer.port)).unwrap();
    ask(&mut stream, &format!("{} 0-0 0", id(&offer)), 100);
    sending.interrupt();
    sending.wait().assert_status(130);
    assert!(offer.is_withdrawn());
}

/// A device that a test drives, and that has announced that it understands sets.
fn raw_device(home: &Home) -> RawDevice {
    let device = RawDevice::join(&home.scene.broker, NAME);
    device.announce_as("v=1|addr=127.0.0.1|hash=sha1,sha256|set=-");
    device
}

fn id(offer: &RawOffer) -> String {
    let id = offer.text.split('|').find_map(|field| field.strip_prefix("id="));
    id.unwrap_or_else(|| panic!("no id in {offer:?}")).to_owned()
}

fn ask(stream: &mut TcpStream, request: &str, count: usize) -> Vec<u8> {
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn strangers_get_nothing_use_nothing_up_and_do_not_keep_the_device_out() {
    let home = Home::of(NAME);
    let device = raw_device(&home);
    let (sending, _home) = home.sync().args(["--delete", "--trial", "7", "--json"]).start();
    let offer = device.offer();
    let fields: Vec<_> = offer.text.split('|').collect();
    assert_eq!(fields[2], "set");
    assert_eq!(&fields[7..], ["answers=1", "set=1", "delete=set", "trial=7"]);
    let size: usize = fields[6].strip_prefix("size=").unwrap().parse().unwrap();
    device.report("receiving", &offer, &id(&offer));

    let connect = || TcpStream::connect((offer.host.as_str(), offer.port)).unwrap();
    let mut stream = connect();
    let manifest = ask(&mut stream, &format!("{} 0-0 0", id(&offer)), size);
    assert_eq!(sha256_hex(&manifest), offer.hash);
    let mut strangers: Vec<_> = (0..100).map(|_| connect()).collect();
    for (index, stranger) in strangers.iter_mut().enumerate() {
        let garbage: &[u8] = match index % 3 {
            0 => b"GET / HTTP/1.1\r\n\r\n",
            1 => b"0000000000000000 0-0 0\n",
            _ => b"",
        };
        let _ = stranger.write_all(garbage);
    }
    for stranger in strangers.iter_mut().take(2) {
        let mut read = Vec::new();
        let _ = stranger.read_to_end(&mut read);
        assert_eq!(read, b"");
    }
    let total: usize = files(&home.folder()).values().map(Vec::len).sum();
    let mut all = ask(&mut stream, &format!("{} 1-5 0", id(&offer)), total);
    let mut another = connect();
    assert_eq!(
        ask(&mut another, &format!("{} 1-5 {}", id(&offer), 39_999), total - 39_999),
        all.split_off(39_999)
    );
    device.report("installed", &offer, "");
    let sent = sending.wait();
    assert_eq!(sent.assert_status(0).result()["outcome"], "installed");
    assert!(offer.is_withdrawn());
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_an_error_that_names_it() {
    let home = Home::of(NAME);
    let device = raw_device(&home);
    let (sending, _home) = home.sync().start();
    let offer = device.offer();
    home.has("data.bin", noise(2, 40_000));
    let mut stream = TcpStream::connect((offer.host.as_str(), offer.port)).unwrap();
    stream.write_all(format!("{} 1-5 0\n", id(&offer)).as_bytes()).unwrap();
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    assert!(read.len() < 40_000, "the end of a file that changed is never sent");
    sending.wait().assert_status(1).assert_error("data.bin changed");
}

#[test]
fn the_device_s_own_reason_is_reported_and_what_passes_by_itself_is_offered_again() {
    let home = Home::of(NAME);
    let device = raw_device(&home);
    let (sending, _home) = home.sync().args(["--retry-pause", "0"]).start();
    let first = device.offer();
    device.report("failed", &first, "busy a set is on trial");
    let second = device.offer();
    assert_ne!(id(&first), id(&second), "each offer has an id of its own");
    device.report("failed", &second, "no-space 40000 bytes needed, 8192 free");
    sending.wait().assert_status(1).assert_error("40000 bytes needed").assert_hint("delete");
}

#[test]
fn a_folder_that_cannot_be_a_set_is_refused_before_anything_is_sent() {
    let home = Home::of(NAME);
    let device = raw_device(&home);
    home.has("lib/a|b.py", "");
    home.sync().finish().assert_status(1).assert_error("a|b.py").assert_hint(".mqttotaignore");
    home.has(".mqttotaignore", "*\n");
    home.sync().finish().assert_status(1).assert_error("no file to send");
    let missing = MqttOta::run("sync").broker(&home.scene.broker).args(["nowhere", "--to", NAME]).finish();
    missing.assert_status(1).assert_error("nowhere");
    device.assert_no_offer();
}
