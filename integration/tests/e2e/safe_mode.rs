//! What a device announces of itself beyond its files: safe mode, extended offers without sets, its hardware address.

use std::fs;

use mqtt_ota_integration::{House, RawDevice, Scene, sha1_hex};

const LAMP: &str = "NIGHTLAMP";
/// A device of single files that is in safe mode.
const SAFE: &str =
    "v=1|client=new 1|addr=127.0.0.1|hash=sha1|extended=1|answers=1|safe=1|hw=a4:cf:12:0b:ff:01";

#[test]
fn a_device_in_safe_mode_is_shown_as_one() {
    let house = House::new();
    let device = RawDevice::join(&house.scene.broker, LAMP);
    device.announce_as(SAFE);
    let devices = |more: &[&str]| house.scene.command("devices").arg("--no-ask").args(more).finish();
    devices(&[]).assert_status(0).assert_mentions("safe mode: its application failed three times");
    let object = &devices(&["--json"]).assert_status(0).json_lines()[0];
    assert_eq!(
        (&object["safe"], &object["extended"], &object["answers"]),
        (&true.into(), &true.into(), &true.into())
    );
    assert_eq!((&object["hardware"], &object["log"]), (&"a4:cf:12:0b:ff:01".into(), &false.into()));

    house.has("NIGHTLAMP/main.py", "VERSION = 1\n");
    let keeper = house.keeper(&[]);
    keeper.says("NIGHTLAMP: in safe mode");
    let offer = device.offer();
    assert_eq!(offer.file, "main.py");
    device.report("installed", &offer, &format!("id={}", offer.id()));
    keeper.says("installed");
    // It has its files, and does not work all the same.
    let status = house.status();
    status.assert_status(1).assert_mentions("safe mode");
    device.announce_as(&SAFE.replace("|safe=1", ""));
    while house.status().status() != Some(0) {}
    assert!(!house.status().stdout.contains("safe mode"));
}

#[test]
fn a_device_that_comes_back_in_safe_mode_is_not_said_to_be_well() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, LAMP);
    device.announce_as(&SAFE.replace("|safe=1", ""));
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), LAMP).arg("--wait-boot").start();
    let offer = device.offer();
    device.report("installed", &offer, &format!("id={}", offer.id()));
    device.announce_as(SAFE);
    sending.wait().assert_status(0).assert_mentions("later, in safe mode: its application failed");
}

#[test]
fn a_device_that_takes_extended_offers_and_no_sets_resumes_a_file_and_is_sent_no_set() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, LAMP);
    device.announce_as("v=1|client=new 1|addr=127.0.0.1|hash=sha1|extended=1|answers=1");
    let bytes = vec![7; 100_000];
    let (sending, _home) = scene.send(scene.file("big.bin", &bytes), LAMP).start();
    let offer = device.offer();
    assert!(offer.text.contains("|size=100000|answers=1"), "{offer:?}");
    let id = offer.id();
    device.report("receiving", &offer, &format!("id={id}"));
    let mut read = Vec::new();
    for (offset, count) in [(0, 40_000), (40_000, 60_000)] {
        let mut link = offer.connect();
        link.write(format!("{id} 0-0 {offset}\n").as_bytes());
        read.extend(link.read(count));
    }
    assert_eq!(sha1_hex(&read), offer.hash);
    device.report("installed", &offer, &format!("id={id}"));
    sending.wait().assert_status(0).assert_mentions("installed");

    fs::create_dir(scene.folder().join("src")).unwrap();
    fs::write(scene.folder().join("src/main.py"), "x = 1\n").unwrap();
    let sync = scene.command("sync").args(["src", "--to", LAMP]).finish();
    sync.assert_status(1).assert_error("single files only");
    device.assert_no_offer();
}
