//! Devices, strangers and networks that misbehave.

use std::time::{Duration, Instant};

use mqtt_ota_integration::{Client, RawDevice, RawOffer, Scene, TakenPort, free_port};

/// More than the system holds for a connection.
const BIG: usize = 32 << 20;

/// A scene with a device that has announced itself.
fn scene() -> (Scene, RawDevice) {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    (scene, device)
}

#[test]
fn nobody_who_connects_is_told_with_the_address_the_reason_and_a_way_out() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--connect-timeout", "300ms"]);
    let (sending, _home) = command.start();
    let offer = device.offer();
    let failed = sending.wait();
    failed.assert_status(1).assert_error(&format!("127.0.0.1:{}", offer.port));
    failed.assert_error("the route to the device").assert_hint("--advertise").assert_no_output();
    assert!(offer.is_withdrawn());
}

#[test]
fn an_address_that_the_user_gave_is_offered_and_named() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP");
    let (sending, _home) =
        command.args(["--advertise", "ota.example:4711", "--connect-timeout", "300ms"]).start();
    let offer = device.offer();
    assert_eq!((offer.host.as_str(), offer.port), ("ota.example", 4711));
    sending.wait().assert_status(1).assert_error("ota.example:4711").assert_hint("--advertise");
}

#[test]
fn what_the_device_says_of_the_address_is_passed_on() {
    let (scene, device) = scene();
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    device.report("receiving", &offer, "");
    device.report("failed", &offer, &format!("connect {}:{} EHOSTUNREACH", offer.host, offer.port));
    let failed = sending.wait();
    failed.assert_status(1).assert_error("EHOSTUNREACH").assert_hint("--advertise");
}

#[test]
fn a_device_that_connects_and_stalls_is_dropped() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("big.bin", vec![0; BIG]), "NIGHTLAMP");
    let (sending, _home) = command.args(["--idle-timeout", "300ms", "--connect-timeout", "300ms"]).start();
    let offer = device.offer();
    let mut link = offer.connect();
    link.read(1);
    let failed = sending.wait();
    failed.assert_status(1).assert_error(&format!("of {BIG} bytes")).assert_hint("").assert_no_output();
    assert!(link.wait_for_close().len() < BIG - 1);
    assert!(offer.is_withdrawn());
}

#[test]
fn a_device_that_takes_everything_and_does_not_close_is_dropped() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP");
    let (sending, _home) = command.args(["--idle-timeout", "300ms", "--connect-timeout", "300ms"]).start();
    let offer = device.offer();
    let mut link = offer.connect();
    assert_eq!(link.read_to_end(), b"x");
    // It has the file, and reports so; that counts, however long it holds the connection.
    device.report("installed", &offer, "");
    sending.wait().assert_status(0);
}

#[test]
fn a_slow_device_that_moves_is_not_dropped() {
    const IDLE: Duration = Duration::from_secs(1);
    let (scene, device) = scene();
    let command = scene.send(scene.file("big.bin", vec![0; BIG]), "NIGHTLAMP");
    let (sending, _home) = command.args(["--idle-timeout", "1s"]).start();
    let offer = device.offer();
    let (mut link, started) = (offer.connect(), Instant::now());
    let mut taken = 0;
    while started.elapsed() < IDLE * 2 {
        let paused = Instant::now();
        taken += link.read(BIG / 64).len();
        // Takes a fifth of a second, as it listens for devices that long.
        scene.command("devices").finish().assert_status(0);
        if paused.elapsed() > IDLE {
            eprintln!("this machine is too slow for this test");
            return;
        }
    }
    taken += link.read_to_end().len();
    drop(link);
    assert_eq!(taken, BIG);
    device.report("installed", &offer, "");
    sending.wait().assert_status(0);
}

#[test]
fn a_device_that_drops_half_way_may_come_back_to_the_same_offer() {
    let (scene, device) = scene();
    let bytes = vec![7; BIG];
    let (sending, _home) = scene.send(scene.file("big.bin", &bytes), "NIGHTLAMP").start();
    let offer = device.offer();
    let mut link = offer.connect();
    link.read(BIG / 2);
    drop(link);
    assert_eq!(device.install(&offer), bytes);
    sending.wait().assert_status(0);
}

#[test]
fn a_device_that_drops_half_way_and_stays_away_is_told() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("big.bin", vec![7; BIG]), "NIGHTLAMP");
    let (sending, _home) = command.args(["--connect-timeout", "500ms"]).start();
    let offer = device.offer();
    offer.connect().read(BIG / 2);
    sending.wait().assert_status(1).assert_error(&format!("of {BIG} bytes")).assert_hint("again");
}

#[test]
fn a_hash_mismatch_is_the_devices_word_and_is_offered_again() {
    let (scene, device) = scene();
    let file = scene.file("main.py", "x");
    let mismatches = |offer: &RawOffer| {
        assert_eq!(offer.connect().read_to_end(), b"x");
        device.report("failed", offer, "hash-mismatch 1 bytes have 0000");
    };
    let (sending, _home) = scene.send(&file, "NIGHTLAMP").start();
    mismatches(&device.offer());
    sending.wait().assert_status(1).assert_error("hash-mismatch").assert_hint("old file");
    device.assert_no_offer();

    let (sending, _home) = scene.send(&file, "NIGHTLAMP").args(["--retries", "2"]).start();
    mismatches(&device.offer());
    mismatches(&device.offer());
    device.install(&device.offer());
    sending.wait().assert_status(0).assert_mentions("hash-mismatch");
    device.assert_no_offer();
}

#[test]
fn what_cannot_pass_by_itself_is_not_offered_again() {
    let (scene, device) = scene();
    let file = scene.file("main.py", "x");
    for reason in ["no-space", "bad-offer", "bad-name", "write", "unauthorised", "low-battery"] {
        let (sending, _home) = scene.send(&file, "NIGHTLAMP").args(["--retries", "5"]).start();
        device.report("failed", &device.offer(), &format!("{reason} in its own words"));
        sending.wait().assert_status(1).assert_error(reason).assert_error("in its own words");
        device.assert_no_offer();
    }
}

#[test]
fn a_device_that_takes_it_all_and_says_nothing_is_not_believed() {
    let (scene, device) = scene();
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--confirm-timeout", "300ms"]);
    let (sending, _home) = command.start();
    device.offer().connect().read_to_end();
    sending.wait().assert_status(1).assert_error("did not say").assert_hint("").assert_no_output();
}

#[test]
fn a_device_that_took_the_file_and_never_says_so_is_not_said_to_have_stayed_away() {
    let (scene, device) = scene();
    let waits =
        ["--retries", "2", "--retry-pause", "10ms", "--confirm-timeout", "300ms", "--connect-timeout", "1s"];
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(waits).start();
    device.offer().connect().read_to_end();
    // It has the file, and no reason to come again.
    device.offer();
    sending.wait().assert_status(1).assert_error("did not say").assert_hint("write DEVICE/OTA/status");
    device.assert_no_offer();
}

#[test]
fn a_port_that_is_taken_is_an_error_and_a_range_goes_on() {
    let (scene, device) = scene();
    let file = scene.file("main.py", "x");
    let taken = TakenPort::take();
    let port = taken.address().port();
    let failed = scene.send(&file, "NIGHTLAMP").args(["--listen", &format!("127.0.0.1:{port}")]).finish();
    failed.assert_status(1).assert_error(&port.to_string()).assert_hint("port").assert_no_output();
    device.assert_no_offer();

    let range = format!("127.0.0.1:{port}-{}", port.saturating_add(50));
    let (sending, _home) = scene.send(&file, "NIGHTLAMP").args(["--listen", &range]).start();
    let offer = device.offer();
    assert!(offer.port > port && offer.port <= port.saturating_add(50), "{offer:?}");
    device.install(&offer);
    sending.wait().assert_status(0);
}

#[test]
fn a_fixed_port_is_used_again_at_once() {
    let (scene, device) = scene();
    let file = scene.file("main.py", "x");
    let listen = format!("127.0.0.1:{}", free_port());
    for _ in 0..3 {
        let (sending, _home) = scene.send(&file, "NIGHTLAMP").args(["--listen", &listen]).start();
        device.install(&device.offer());
        sending.wait().assert_status(0);
    }
}

#[test]
fn a_port_scan_does_not_use_the_offer_up() {
    let (scene, device) = scene();
    // Small enough to have left this machine before the scanner is gone.
    for bytes in [vec![b'x'; 3891], vec![0; BIG], Vec::new()] {
        let (sending, _home) = scene.send(scene.file("main.py", &bytes), "NIGHTLAMP").start();
        let offer = device.offer();
        drop(offer.connect());
        offer.connect().write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        offer.connect().write(&[0xff; 20_000]);
        if !bytes.is_empty() {
            offer.connect().read(1);
            let mut scanner = offer.connect();
            scanner.read(1);
            scanner.half_close();
            drop(scanner);
        }
        assert_eq!(device.install(&offer), bytes, "{} bytes", bytes.len());
        sending.wait().assert_status(0);
    }
}

#[test]
fn strangers_who_stay_do_not_keep_the_device_out() {
    let (scene, device) = scene();
    let bytes = vec![7; BIG];
    let (sending, _home) = scene.send(scene.file("big.bin", &bytes), "NIGHTLAMP").start();
    let offer = device.offer();
    let strangers: Vec<_> = (0..3).map(|_| offer.connect()).collect();
    assert_eq!(device.install(&offer), bytes);
    sending.wait().assert_status(0);
    drop(strangers);
}

#[test]
fn hostile_statuses_are_ignored() {
    let (scene, device) = scene();
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    device
        .say([0xff, 0xfe, b'|', b'|', b'|'])
        .say("")
        .say("installed")
        .say("|")
        .say("installed|main.py")
        .say(format!("done|main.py|{}|", offer.hash))
        .say(format!("installed|other.py|{}|", offer.hash))
        .say(format!("installed|main.py|{}|", "0".repeat(40)))
        .say(format!("failed|main.py|{}|{}", offer.hash, "x".repeat(1 << 20)))
        .say(vec![b'|'; 1 << 20])
        .say(vec![0; 1 << 20]);
    device.install(&offer);
    sending.wait().assert_status(0).assert_mentions("installed");
}

#[test]
fn hostile_announcements_are_ignored() {
    for announcement in ["", "v=0", "v=99999999999999999999", "nonsense", "v=1|addr=not an address|hash=md5"]
    {
        let scene = Scene::new();
        let device = RawDevice::join(&scene.broker, "NIGHTLAMP");
        device.announce_as(announcement);
        let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--advertise", "127.0.0.1"]);
        let (sending, _home) = command.start();
        device.install(&device.offer());
        sending.wait().assert_status(0);
    }
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, "NIGHTLAMP");
    let client = Client::connect(&scene.broker, "hostile");
    client.publish_retained("NIGHTLAMP/OTA/device", vec![b'x'; 1 << 20]);
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--advertise", "127.0.0.1"]);
    let (sending, _home) = command.start();
    device.install(&device.offer());
    sending.wait().assert_status(0);
}

#[test]
fn what_a_device_says_cannot_steer_the_terminal() {
    let (scene, device) = scene();
    for args in [&["--color", "never"][..], &["-vvv", "--color", "never"]] {
        let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(args).start();
        let offer = device.offer();
        device.report("failed", &offer, "write \u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}evil");
        let failed = sending.wait();
        failed.assert_status(1).assert_error("evil");
        let bad = failed.stderr.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(bad, None, "{failed:?}");
    }
}
