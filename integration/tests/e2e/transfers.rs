//! How a transfer goes: slowly, at once, or not at all for want of room.

use std::time::{Duration, Instant};

use mqtt_ota_integration::{OriginalDevice, RawDevice, Scene, thorough};

const NAME: &str = "NIGHTLAMP";

/// A device that takes ten kilobytes a second, or many more where less time is to be spent: how much, and at what rate.
fn slow() -> (usize, usize, Duration, &'static str) {
    if thorough() {
        (600_000, 1_000, Duration::from_millis(100), "20s")
    } else {
        (60_000, 1_000, Duration::from_millis(20), "500ms")
    }
}

#[test]
fn a_slow_device_is_not_dropped_and_its_progress_is_what_it_has() {
    let (bytes, piece, pause, idle) = slow();
    for keys in ["", "|set=-"] {
        let scene = Scene::new();
        let device = RawDevice::join(&scene.broker, NAME);
        device.announce_as(&format!("v=1|addr=127.0.0.1|hash=sha1{keys}"));
        let file = scene.file("slow.bin", vec![7; bytes]);
        let (sending, _home) = scene.send(&file, NAME).args(["--idle-timeout", idle, "--json"]).start();
        let offer = device.offer();
        let mut link = offer.connect_narrowly();
        if !keys.is_empty() {
            link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
        }
        let half = bytes / 2;
        let taken = link.read_slowly(half, piece, pause).len();
        let told = sending.stdout().wait_until("progress", |text| {
            let progress = text.lines().rfind(|line| line.contains("\"progress\""))?;
            serde_json::from_str::<serde_json::Value>(progress).ok()?["sent"].as_u64()
        });
        // What its system has taken and it has not read yet is a few kilobytes.
        assert!((told as usize) < taken + 20_000, "{told} of {taken}");
        link.read_slowly(bytes - half, piece, pause);
        if keys.is_empty() {
            assert!(link.read_to_end().is_empty());
        }
        drop(link);
        device.report("installed", &offer, "");
        let sent = sending.wait();
        let result = sent.assert_status(0).result();
        assert_eq!(result["sent"], bytes, "{sent:?}");
        assert!(sent.json_lines().iter().all(|line| line["event"] != "dropped"), "{sent:?}");
    }
}

#[test]
fn a_device_that_stops_is_dropped_though_the_system_has_taken_everything_for_it() {
    for keys in ["", "|set=-"] {
        let scene = Scene::new();
        let device = RawDevice::join(&scene.broker, NAME);
        device.announce_as(&format!("v=1|addr=127.0.0.1|hash=sha1{keys}"));
        let times = ["--idle-timeout", "300ms", "--connect-timeout", "300ms", "--confirm-timeout", "300ms"];
        let (sending, _home) = scene.send(scene.file("f.bin", vec![7; 60_000]), NAME).args(times).start();
        let offer = device.offer();
        let mut link = offer.connect_narrowly();
        if !keys.is_empty() {
            link.write(format!("{} 0-0 0\n", offer.id()).as_bytes());
        }
        link.read(1000);
        let ended = sending.wait();
        ended.assert_status(1).assert_error("of 60000 bytes: it took nothing for 300ms");
        let bytes = ended.stderr.split("ended after ").nth(1).and_then(|rest| rest.split(' ').next());
        let bytes: usize = bytes.unwrap().parse().unwrap();
        assert!((1000..30_000).contains(&bytes), "{ended:?}");
    }
}

/// Two waits of 50 ms each stood in the path of each send.
#[test]
fn a_small_file_to_a_device_that_announces_nothing_waits_for_nothing() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let device = OriginalDevice::boot(&scene.broker, "HEATER", root.path());
    // However busy the machine is: what waits is never faster than its wait.
    let is_fast = (0..50).any(|turn| {
        let file = scene.file("main.py", format!("x = {turn}\n{}", "#".repeat(3888)));
        let sent = scene.send(file, "HEATER").args(["--advertise", "127.0.0.1", "--no-reboot"]).finish();
        sent.assert_status(0).assert_mentions("HEATER/OTA/status");
        device.next_step();
        sent.elapsed < Duration::from_millis(50)
    });
    assert!(is_fast, "each took 50 ms or more");
}

#[test]
fn a_file_that_does_not_fit_is_refused_before_its_first_byte_with_free_and_needed() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as("v=1|addr=127.0.0.1|free=3000|hash=sha1");
    let (sending, _home) =
        scene.send(scene.file("main.py", [b'#'; 3891]), NAME).args(["--retries", "2"]).start();
    let offer = device.offer();
    let mut link = offer.connect();
    device.report("receiving", &offer, "");
    assert!(link.wait_for_close().is_empty());
    let ended = sending.wait();
    ended.assert_status(1).assert_error("3891 bytes needed, 3000 bytes free").assert_hint("delete something");
    device.assert_no_offer();
}

#[test]
fn a_full_device_that_has_the_file_already_says_so() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as("v=1|addr=127.0.0.1|free=3000|hash=sha1");
    let (sending, _home) = scene.send(scene.file("main.py", [b'#'; 3891]), NAME).start();
    device.report("installed", &device.offer(), "unchanged");
    sending.wait().assert_status(0).assert_mentions("unchanged");
}

#[test]
fn a_device_that_answers_is_asked_for_its_room_before_a_file_is_refused() {
    let scene = Scene::new();
    let device = RawDevice::join(&scene.broker, NAME);
    device.announce_as("v=1|addr=127.0.0.1|free=3000|hash=sha1|ask=1");
    let file = scene.file("main.py", [b'#'; 3891]);
    let (sending, _home) = scene.send(&file, NAME).start();
    assert_eq!(device.request(), "announce");
    device.announce_as("v=1|addr=127.0.0.1|free=30000|hash=sha1|ask=1");
    device.install(&device.offer());
    sending.wait().assert_status(0);
    // Where there is room, it is not asked.
    let (sending, _home) = scene.send(&file, NAME).start();
    device.install(&device.offer());
    sending.wait().assert_status(0);
}

#[test]
fn what_keeps_a_device_from_writing_is_named() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, NAME);
    let file = scene.file("main.py", "x");
    for (detail, hint) in [
        ("write [Errno 30] EROFS", "read-only"),
        ("write the file system is read-only", "read-only"),
        ("no-space over 1000 bytes", "limit"),
        ("no-space 9000 bytes needed, 100 free", "delete something"),
    ] {
        let (sending, _home) = scene.send(&file, NAME).start();
        device.report("failed", &device.offer(), detail);
        sending.wait().assert_status(1).assert_hint(hint);
    }
}

#[test]
fn a_user_who_may_not_read_what_devices_say_is_told_of_the_access_list() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, NAME);
    let command = scene.send(scene.file("main.py", "x"), NAME).args(["--confirm-timeout", "100ms"]);
    let (sending, _home) = command.start();
    let started = Instant::now();
    device.offer().connect().read_to_end();
    sending.wait().assert_status(1).assert_hint("access list");
    assert!(started.elapsed() < Duration::from_secs(20));
}
