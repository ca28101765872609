//! What devices' applications die of: shown where devices are listed, and told to who waits for a boot.

use std::time::Duration;

use mqtt_ota_integration::{Client, House, RawDevice, RawOffer, Scene};

const LAMP: &str = "NIGHTLAMP";
const FILES: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|extended=1|answers=1";
const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"main.py\", line 3, in <module>\nValueError: the lamp\u{1b}[2J\n";

fn crashes(client: &Client, text: &str) {
    client.publish_retained("NIGHTLAMP/OTA/crash", text);
}

fn installs(device: &RawDevice, offer: &RawOffer) {
    device.report("installed", offer, &format!("id={}", offer.id()));
}

#[test]
fn the_last_crash_of_a_device_is_shown_until_it_is_taken_back() {
    let house = House::new();
    let (device, client) = (house.device(LAMP, FILES), Client::connect(&house.scene.broker, "crash"));
    crashes(&client, TRACEBACK);
    let devices = |more: &[&str]| house.scene.command("devices").arg("--no-ask").args(more).finish();
    // What is no text for a terminal is escaped.
    for listed in [devices(&[]), devices(&[LAMP])] {
        listed.assert_status(0).assert_mentions("last crash: ValueError: the lamp");
        assert!(!listed.stdout.contains('\u{1b}'), "{listed:?}");
    }
    assert_eq!(devices(&["--json"]).assert_status(0).json_lines()[0]["crash"], TRACEBACK);

    house.has("NIGHTLAMP/main.py", "x = 1\n");
    let keeper = house.keeper(&[]);
    installs(&device, &device.offer());
    keeper.says("rebooting");
    device.announce_as(FILES);
    // It is in step, whatever its application does.
    let status = std::iter::repeat_with(|| house.status()).find(|status| status.status() == Some(0));
    status.unwrap().assert_mentions("last crash: ValueError: the lamp");
    assert!(!keeper.process.stderr().text().contains("crashed"), "that was before");
    let json = house.scene.command("status").arg(house.folder()).arg("--json").finish();
    assert_eq!(json.json_lines()[0]["crash"], TRACEBACK);
    crashes(&client, "OSError: 5");
    keeper.says("NIGHTLAMP: its application crashed: OSError: 5");

    crashes(&client, "");
    devices(&[LAMP]).assert_status(0);
    assert!(!devices(&[]).stdout.contains("crash") && !house.status().stdout.contains("crash"));
    assert!(devices(&["--json"]).json_lines()[0]["crash"].is_null());
    // One that has never announced itself is no device, and none with a crash alone is listed.
    client.publish_retained("HALL/OTA/crash", TRACEBACK);
    assert!(!devices(&[]).stdout.contains("HALL"));
}

#[test]
fn who_waits_for_a_boot_is_told_what_the_application_dies_of_but_not_what_it_died_of_before() {
    let scene = Scene::new();
    let (device, client) = (RawDevice::join(&scene.broker, LAMP), Client::connect(&scene.broker, "crash"));
    device.announce_as(FILES);
    crashes(&client, "OSError: an old one");
    let send = |text: &str| scene.send(scene.file("main.py", text), LAMP).arg("--wait-boot");
    let (sending, _home) = send("x = 1\n").start();
    installs(&device, &device.offer());
    crashes(&client, TRACEBACK);
    // It is told at once.
    sending.stderr().wait_for("warning: NIGHTLAMP: its application crashed: ValueError: the lamp");
    crashes(&client, "");
    device.announce_as(FILES);
    let sent = sending.wait();
    sent.assert_status(0).assert_mentions("back online").assert_mentions("line 3, in <module>");
    assert!(!sent.stderr.contains("an old one") && !sent.stderr.contains('\u{1b}'), "{sent:?}");

    let (sending, _home) = send("x = 2\n").arg("--json").start();
    let offer = device.offer();
    // While it is fetched, and the same once more.
    crashes(&client, TRACEBACK);
    crashes(&client, TRACEBACK);
    installs(&device, &offer);
    device.announce_as(FILES);
    let sent = sending.wait();
    let told = sent.assert_status(0).json_lines();
    let told: Vec<_> = told.iter().filter(|line| line["event"] == "crashed").collect();
    assert_eq!((told.len(), &told[0]["text"]), (2, &TRACEBACK.into()), "{sent:?}");

    // Who does not wait has ended by then.
    let (sending, _home) = scene.send(scene.file("main.py", "x = 3\n"), LAMP).start();
    let offer = device.offer();
    crashes(&client, TRACEBACK);
    installs(&device, &offer);
    assert!(!sending.wait().stderr.contains("crashed"));
}

#[test]
fn an_application_that_dies_without_end_does_not_fill_the_screen() {
    let scene = Scene::new();
    let (device, client) = (RawDevice::join(&scene.broker, LAMP), Client::connect(&scene.broker, "crash"));
    device.announce_as(FILES);
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), LAMP).arg("--wait-boot").start();
    installs(&device, &device.offer());
    for number in 0..100 {
        crashes(&client, &format!("OSError: {number}"));
    }
    // It has heard them by then.
    assert!(client.hears_nothing_for(Duration::from_millis(200)).is_none());
    device.announce_as(FILES);
    let sent = sending.wait();
    assert_eq!(sent.assert_status(0).stderr.matches("crashed").count(), 10, "{sent:?}");
}
