//! Others than the device that connect to the sender's port: scans, monitors, and who means it ill.

use std::time::{Duration, Instant};

use mqtt_ota_integration::{Link, RawDevice, Scene};

const NAME: &str = "NIGHTLAMP";
/// The last number of a stranger's address; the device announces 127.0.0.1.
const STRANGER: u8 = 66;

fn scene() -> (Scene, RawDevice) {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, NAME);
    (scene, device)
}

#[test]
fn strangers_in_all_places_do_not_keep_the_announced_address_out() {
    let (scene, device) = scene();
    let file = vec![7; 900_000];
    let (sending, _home) = scene.send(scene.file("big.bin", &file), NAME).start();
    let offer = device.offer();
    let connect = || -> Vec<Link> { (0..20).map(|_| offer.connect_from(STRANGER)).collect() };
    let mut strangers = connect();
    // They are served when they have waited for two seconds.
    strangers[19].read(1);
    let mut link = offer.connect();
    link.read(1000);
    strangers.extend(connect());
    assert_eq!(link.read_to_end().len(), file.len() - 1000);
    drop(link);
    device.report("receiving", &offer, "").report("installed", &offer, "");
    let sent = sending.wait();
    sent.assert_status(0).assert_mentions("connections were not the device's");
}

#[test]
fn a_stranger_who_takes_the_whole_file_each_time_does_not_use_the_offer_up() {
    let (scene, device) = scene();
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), NAME).arg("--json").start();
    let offer = device.offer();
    for _ in 0..2 {
        // As `nmap -sV`, which waits for what a service says by itself.
        assert_eq!(offer.connect_from(STRANGER).read_to_end(), b"x = 1\n");
        sending.stdout().wait_for("\"delivered\"");
    }
    assert_eq!(device.install(&offer), b"x = 1\n");
    sending.wait().assert_status(0);
}

#[test]
fn a_stranger_who_took_the_file_is_named_and_not_the_device_blamed() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("main.py", "x = 1\n"), NAME);
    let (sending, _home) = command.args(["--confirm-timeout", "300ms"]).start();
    offer_is_taken_by(STRANGER, &device);
    let ended = sending.wait();
    ended.assert_status(1).assert_error("127.0.0.66:").assert_error("announced the address 127.0.0.1");
    ended.assert_hint("port scan");
}

fn offer_is_taken_by(last: u8, device: &RawDevice) {
    assert_eq!(device.offer().connect_from(last).read_to_end(), b"x = 1\n");
}

#[test]
fn a_device_behind_a_router_that_changes_its_address_is_served_soon_after_its_word() {
    let (scene, device) = scene();
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), NAME).start();
    let offer = device.offer();
    let mut link = offer.connect_from(STRANGER);
    let started = Instant::now();
    device.report("receiving", &offer, "");
    assert_eq!(link.read_to_end(), b"x = 1\n");
    let waited = started.elapsed();
    drop(link);
    device.report("installed", &offer, "");
    sending.wait().assert_status(0);
    assert!(waited < Duration::from_millis(1500), "{waited:?}: it waited as a stranger does");
}

#[test]
fn who_has_to_wait_and_speaks_or_goes_is_counted_in_one_line() {
    let (scene, device) = scene();
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), NAME).start();
    let offer = device.offer();
    for _ in 0..200 {
        offer.connect_from(STRANGER).write(b"GET / HTTP/1.1\r\n\r\n");
        drop(offer.connect_from(STRANGER));
    }
    device.install(&offer);
    let sent = sending.wait();
    sent.assert_status(0).assert_mentions("connections were not the device's");
    assert!(sent.stderr.lines().count() < 5, "{sent:?}");
}

#[test]
fn a_scan_of_an_extended_offer_s_port_is_one_line() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as("v=1|addr=127.0.0.1|hash=sha1|set=-");
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), NAME).start();
    let offer = device.offer();
    let half_lines: Vec<_> = (0..2000)
        .map(|index| {
            let mut link = offer.connect();
            link.write(b"0123456789ab");
            // Some stay, and some go.
            (index % 2 == 0).then_some(link)
        })
        .collect();
    let mut link = offer.connect();
    link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
    assert_eq!(link.read(6), b"x = 1\n");
    drop((link, half_lines));
    device.report("installed", &offer, &format!("id={}", offer.id()));
    let sent = sending.wait();
    sent.assert_status(0);
    let lines = sent.stderr.lines().filter(|line| line.contains("connections were not the device's")).count();
    assert_eq!((lines, sent.stderr.lines().count() < 5), (1, true), "{sent:?}");
}

#[test]
fn many_connections_to_a_device_that_announces_nothing_do_not_fill_the_screen() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    let file = scene.file("main.py", "x = 1\n");
    let (sending, _home) = scene.send(file, NAME).args(["--advertise", "127.0.0.1"]).start();
    let offer = device.offer();
    for _ in 0..200 {
        offer.connect().write(b"GET / HTTP/1.1\r\n\r\n");
    }
    device.install(&offer);
    let sent = sending.wait();
    // Some have spoken before it was seen that they had come.
    let is_counted = |what: &str| sent.stderr.contains(what);
    assert!(is_counted("more broke") || is_counted("connections were not the device's"), "{sent:?}");
    assert!(sent.assert_status(0).stderr.lines().count() < 20, "{sent:?}");
}
