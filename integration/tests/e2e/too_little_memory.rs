//! Devices that have too little memory for what they are offered.

use std::fs;

use mqtt_ota_integration::{House, RawDevice, Scene};

const LAMP: &str = "NIGHTLAMP";
const SETS: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|set=-|extended=1|answers=1";

#[test]
fn a_file_that_a_device_cannot_take_with_its_memory_is_offered_plainly_at_once() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, LAMP);
    device.announce_as(SETS);
    let file = scene.file("main.py", "x = 1\n");
    // No try is left, and a pause would be longer than the test may take.
    let send = || scene.send(&file, LAMP).args(["--retries", "0", "--retry-pause", "10m", "--json"]).start();
    let (sending, _home) = send();
    let extended = device.offer();
    let too_little = format!("no-memory 2048 bytes free id={}", extended.id());
    device.report("failed", &extended, &too_little);
    let plain = device.offer();
    assert_eq!(plain.text.split('|').count(), 4, "{plain:?}");
    // What comes twice is no answer to the plain one.
    device.report("failed", &extended, &too_little);
    device.install(&plain);
    let sent = sending.wait();
    let result = sent.assert_status(0).result();
    assert_eq!((&result["outcome"], &result["attempts"]), (&"installed".into(), &2.into()), "{sent:?}");
    assert!(sent.stdout.contains(r#""event":"too-little-memory","text":"2048 bytes free""#), "{sent:?}");

    // It has the file already.
    let (sending, _home) = send();
    let extended = device.offer();
    device.report("failed", &extended, &format!("no-memory id={}", extended.id()));
    device.report("installed", &device.offer(), "unchanged");
    assert_eq!(sending.wait().assert_status(0).result()["outcome"], "unchanged");

    // The report is about the plain one, which is not offered for ever.
    let (sending, _home) = send();
    let extended = device.offer();
    device.report("failed", &extended, &format!("no-memory id={}", extended.id()));
    let plain = device.offer();
    device.report("failed", &plain, "no-memory 512 bytes free");
    sending.wait().assert_status(1).assert_error("no-memory (512 bytes free)").assert_hint("mqtt_ota_boot");
    device.assert_no_offer();
}

#[test]
fn a_set_that_a_device_cannot_take_with_its_memory_is_not_offered_again() {
    let house = House::new();
    let device = house.device(LAMP, SETS);
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let sync = || house.scene.command("sync").arg(house.folder().join(LAMP)).args(["--to", LAMP]);
    let (syncing, _home) = sync().args(["--retries", "5"]).start();
    let offer = device.offer();
    device.report("failed", &offer, &format!("no-memory for 40 files id={}", offer.id()));
    syncing.wait().assert_status(1).assert_error("no-memory (for 40 files)").assert_hint("mqtt_ota_boot");
    device.assert_no_offer();

    let keeper = house.keeper(&[]);
    let offer = device.offer();
    device.report("failed", &offer, &format!("no-memory for 40 files id={}", offer.id()));
    keeper.says("left alone until its folder changes");
    house.status().assert_status(1).assert_mentions("no-memory (for 40 files)");
    fs::write(house.folder().join("NIGHTLAMP/main.py"), "x = 2\n").unwrap();
    device.offer();
}
