//! Devices that want what they are offered later.

use std::time::{Duration, Instant};

use mqtt_ota_integration::{House, RawDevice, RawOffer, Scene};

const LAMP: &str = "NIGHTLAMP";
const SETS: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1|set=-|extended=1|answers=1";
const PLAIN: &str = "v=1|client=new 1|addr=127.0.0.1|hash=sha1";

fn scene(announcement: &str) -> (Scene, RawDevice) {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, LAMP);
    device.announce_as(announcement);
    (scene, device)
}

/// Says something of an offer, and names it.
fn says(device: &RawDevice, state: &str, offer: &RawOffer, detail: &str) {
    device.report(state, offer, &format!("{detail} id={}", offer.id()));
}

#[test]
fn what_a_device_postpones_is_offered_again_then_and_is_no_failure() {
    let (scene, device) = scene(SETS);
    let file = scene.file("main.py", "x = 1\n");
    let (sending, _home) = scene.send(&file, LAMP).args(["--connect-timeout", "30s"]).start();
    let first = device.offer();
    let since = Instant::now();
    says(&device, "failed", &first, "postponed after=2 the lamp is on");
    sending.stderr().wait_for("NIGHTLAMP asks to wait 2 s: the lamp is on");
    let second = device.offer();
    assert!(since.elapsed() > Duration::from_secs(2));
    assert_ne!(first.id(), second.id());
    says(&device, "failed", &second, "postponed after=1");
    let third = device.offer();
    says(&device, "installed", &third, "unchanged");
    // It had the file all along.
    sending.wait().assert_status(0).assert_mentions("unchanged");

    let (sending, _home) = scene.send(&file, LAMP).args(["--connect-timeout", "30s", "--json"]).start();
    says(&device, "failed", &device.offer(), "postponed after=1 the lamp is on");
    says(&device, "installed", &device.offer(), "");
    let sent = sending.wait();
    assert_eq!(sent.assert_status(0).result()["attempts"], 2);
    assert!(sent.stdout.contains(r#""event":"postponed","after":1.0,"why":"the lamp is on""#), "{sent:?}");
}

#[test]
fn a_plain_offer_is_postponed_as_well() {
    let (scene, device) = scene(PLAIN);
    let (sending, _home) =
        scene.send(scene.file("main.py", "x = 1\n"), LAMP).args(["--connect-timeout", "30s"]).start();
    device.report("failed", &device.offer(), "postponed after=1 the lamp is on");
    device.install(&device.offer());
    sending.wait().assert_status(0).assert_mentions("asks to wait 1 s: the lamp is on");
}

#[test]
fn a_command_that_does_not_wait_for_so_long_says_when() {
    let (scene, device) = scene(SETS);
    let file = scene.file("main.py", "x = 1\n");
    let (sending, _home) = scene.send(&file, LAMP).args(["--retries", "5"]).start();
    let since = Instant::now();
    says(&device, "failed", &device.offer(), "postponed after=60 the lamp is on");
    let sent = sending.wait();
    sent.assert_status(1).assert_error("again in 60s (the lamp is on)").assert_hint("--connect-timeout");
    assert!(since.elapsed() < Duration::from_secs(10), "{sent:?}");
    device.assert_no_offer();

    // All its times together are no longer than the time-out.
    let (sending, _home) = scene.send(&file, LAMP).args(["--connect-timeout", "3s", "--json"]).start();
    for _ in 0..2 {
        says(&device, "failed", &device.offer(), "postponed after=2 the lamp is on");
    }
    let result = sending.wait().assert_status(1).result();
    assert_eq!((&result["outcome"], &result["after"]), (&"postponed".into(), &2.0.into()));
    device.assert_no_offer();
}

#[test]
fn a_rollback_that_is_postponed_is_asked_for_again() {
    let hash = "0".repeat(64);
    let (scene, device) = scene(&SETS.replace("set=-", &format!("set={hash}")));
    let (asking, _home) = scene.command("rollback").args(["--to", LAMP]).start();
    let first = device.offer();
    says(&device, "failed", &first, "postponed after=1 the lamp is on");
    let second = device.offer();
    assert!(second.text.ends_with("|rollback=1") && first.id() != second.id(), "{second:?}");
    device.announce_as(&format!("{SETS}|rolled-back={hash}|error=on request"));
    asking.wait().assert_status(0).assert_mentions("asks to wait 1 s: the lamp is on");
}

#[test]
fn a_keeper_offers_it_again_then_and_goes_on_with_the_others() {
    let house = House::new();
    let (lamp, hall) = (house.device(LAMP, SETS), house.device("HALL", SETS));
    house.has("NIGHTLAMP/main.py", "x = 1\n");
    house.has("HALL/main.py", "x = 1\n");
    let keeper = house.keeper(&["--stop-after", "1", "--canary", LAMP]);
    let offer = lamp.offer();
    let since = Instant::now();
    says(&lamp, "failed", &offer, "postponed after=11 the lamp is on");
    keeper.says("postponed: it asks to wait 11 s: the lamp is on");
    // What is noted is on its way.
    let status = std::iter::repeat_with(|| house.status()).find(|status| status.stdout.contains("postponed"));
    let status = status.unwrap();
    status.assert_status(1).assert_mentions("asks to wait 11 s: the lamp is on");
    hall.assert_no_offer();
    let again = lamp.offer();
    assert!(since.elapsed() > Duration::from_secs(11) && again.id() != offer.id());
    says(&lamp, "installed", &again, "");
    lamp.announce_as(&SETS.replace("set=-", &format!("set={}", again.hash)));
    says(&hall, "installed", &hall.offer(), "");
}
