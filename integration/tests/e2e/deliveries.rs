//! What the command is for: files that arrive, on every kind of device.

use std::fs;
use std::thread;

use mqtt_ota_integration::{
    Client, DemoDevice, Interpreter, OriginalDevice, RawDevice, Receiver, Scene, Step, free_port, sha1_hex,
};

#[test]
fn a_device_that_says_installed_is_success() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), "NIGHTLAMP").start();

    let offer = device.offer();
    assert_eq!(offer.file, "main.py");
    assert_eq!(offer.host, "127.0.0.1", "the local address of the route to what was announced");
    assert_eq!(offer.reboot, None, "the original understands no more than four fields");
    assert_eq!(device.install(&offer), b"x = 1\n");

    let sent = sending.wait();
    sent.assert_status(0).assert_mentions("NIGHTLAMP: main.py installed");
    assert!(offer.is_withdrawn());
}

#[test]
fn the_events_of_a_delivery_are_json_and_nothing_else_is_on_stdout() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let file = scene.file("data.bin", [7; 3891]);
    let (sending, _home) = scene.send(file, "NIGHTLAMP").arg("--json").start();
    let offer = device.offer();
    device.report("receiving", &offer, "");
    offer.connect().read_to_end();
    sending.stdout().wait_for("\"delivered\"");
    device.report("installed", &offer, "");

    let sent = sending.wait();
    let lines = sent.assert_status(0).json_lines();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    for event in ["announced", "listening", "offered", "receiving", "connected", "delivered", "installed"] {
        assert!(events.contains(&event), "no {event} in {events:?}");
    }
    let result = lines.iter().find(|line| line["event"] == "result").unwrap();
    assert_eq!(
        (&result["outcome"], &result["ok"], &result["confirmed"]),
        (&"installed".into(), &true.into(), &true.into())
    );
    assert_eq!((&result["bytes"], &result["hash"]), (&3891.into(), &sha1_hex(&[7; 3891]).into()));
    assert_eq!(lines.last().unwrap()["event"], "summary");
}

#[test]
fn a_device_is_offered_the_best_hash_that_it_has() {
    for (algorithms, hash) in [
        ("sha256,sha1", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("sha1,blake3,sha256", "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("md6", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ] {
        let scene = Scene::new();
        let device = RawDevice::join(&scene.broker, "NIGHTLAMP");
        device.announce_as(&format!("v=1|hash={algorithms}|addr=127.0.0.1|from=the future"));
        let (sending, _home) = scene.send(scene.file("a", "abc"), "NIGHTLAMP").start();
        let offer = device.offer();
        assert_eq!(offer.hash, hash);
        assert_eq!(offer.connect().read_to_end(), b"abc");
        device.report("installed", &offer, "");
        sending.wait().assert_status(0);
    }
}

#[test]
fn empty_files_and_binary_files_are_files() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(1_000_003).collect();
    for bytes in [Vec::new(), vec![0], every_byte] {
        let (sending, _home) = scene.send(scene.file("data.bin", &bytes), "NIGHTLAMP").start();
        assert_eq!(device.install(&device.offer()), bytes);
        sending.wait().assert_status(0);
    }
}

#[test]
fn a_file_gets_the_name_that_it_is_given() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let file = scene.file("build of today.py", "x");
    for (given, name) in
        [("main.py", "main.py"), ("lib/", "lib/build of today.py"), ("größe/ü.py", "größe/ü.py")]
    {
        let (sending, _home) = scene.send(&file, "NIGHTLAMP").args(["--as", given]).start();
        let offer = device.offer();
        assert_eq!(offer.file, name);
        device.install(&offer);
        sending.wait().assert_status(0);
    }
}

#[test]
fn a_file_that_the_device_has_is_unchanged_and_that_is_success() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").arg("--json").start();
    device.report("installed", &device.offer(), "unchanged");
    let lines = sending.wait().assert_status(0).json_lines();
    assert!(lines.iter().any(|line| line["outcome"] == "unchanged"), "{lines:?}");
}

#[test]
fn an_original_device_is_delivered_to_and_never_called_installed() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let device = OriginalDevice::boot(&scene.broker, "HEATER", root.path());
    let file = scene.file("main.py", [b'#'; 3891]);

    let sent = scene.send(&file, "HEATER").args(["--advertise", "127.0.0.1", "--json"]).finish();
    let lines = sent.assert_status(0).json_lines();
    let result = lines.iter().find(|line| line["event"] == "result").unwrap();
    assert_eq!((&result["outcome"], &result["confirmed"]), (&"unconfirmed".into(), &false.into()));
    assert!(lines.iter().all(|line| line["event"] != "installed"), "{lines:?}");
    assert_eq!(device.next_step(), Step::Installed("main.py".to_owned()));
    assert_eq!(device.next_step(), Step::Booted);
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), [b'#'; 3891]);

    let sent = scene.send(&file, "HEATER").args(["--advertise", "127.0.0.1", "--no-reboot"]).finish();
    sent.assert_status(0).assert_mentions("unconfirmed");
    assert_eq!(device.next_step(), Step::Installed("main.py".to_owned()));

    let sent =
        scene.send(&file, "HEATER").args(["--advertise", "127.0.0.1", "--require-confirmation"]).finish();
    sent.assert_status(1).assert_error("unconfirmed");
}

#[test]
fn an_original_device_is_not_waited_for_once_it_has_the_file() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let _device = OriginalDevice::boot(&scene.broker, "HEATER", root.path());
    let file = scene.file("main.py", "x");
    // Twice the guard time: whoever waits for a confirmation fails this test.
    let sent =
        scene.send(file, "HEATER").args(["--advertise", "127.0.0.1", "--confirm-timeout", "120s"]).finish();
    sent.assert_status(0);
}

#[test]
fn several_files_arrive_in_order_and_the_device_boots_once() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let device = DemoDevice::boot(Interpreter::MicroPython, &scene.broker, "NIGHTLAMP", root.path());
    let (a, b, c) = (scene.file("a.py", "a"), scene.file("b.py", "b"), scene.file("main.py", "c"));
    let sent = scene.send(a, "NIGHTLAMP").arg(b).arg(c).arg("--wait-boot").finish();
    sent.assert_status(0).assert_mentions("main.py installed").assert_mentions("back online");
    for (file, text) in [("a.py", "a"), ("b.py", "b"), ("main.py", "c")] {
        assert_eq!(fs::read_to_string(root.path().join(file)).unwrap(), text);
    }
    let steps = device.process().stdout().text();
    assert_eq!(steps.matches("booted").count(), 2, "{steps}");
    let installed = steps.lines().filter_map(|line| line.strip_prefix("installed "));
    // Behind it is the offer's id.
    let order: Vec<_> = installed.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(order, ["'a.py'", "'b.py'", "'main.py'"]);
}

#[test]
fn files_after_one_that_failed_are_not_sent_and_the_device_is_not_rebooted() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (a, b, c) = (scene.file("a.py", "a"), scene.file("b.py", "b"), scene.file("c.py", "c"));
    let (sending, _home) = scene.send(a, "NIGHTLAMP").arg(b).arg(c).start();
    let first = device.offer();
    assert_eq!(first.reboot.as_deref(), Some("0"));
    device.install(&first);
    device.report("failed", &device.offer(), "no-space 0 bytes free");

    let sent = sending.wait();
    sent.assert_status(1).assert_error("no-space").assert_mentions("c.py");
    device.assert_no_offer();
}

#[test]
fn several_devices_are_served_in_parallel_and_bounded() {
    let scene = Scene::new();
    let devices = ["ONE", "TWO", "THREE"].map(|name| RawDevice::announced(&scene.broker, name));
    let file = scene.file("data.bin", vec![1; 100_000]);

    let (sending, _home) = scene.send(&file, "ONE,TWO").args(["--to", "THREE", "--parallel", "2"]).start();
    let (one, two) = (devices[0].offer(), devices[1].offer());
    assert_ne!(one.port, two.port);
    let (mut first, mut second) = (one.connect(), two.connect());
    first.read(1);
    second.read(1);
    devices[2].assert_no_offer();
    assert_eq!(first.read_to_end().len(), 99_999);
    drop(first);
    devices[0].report("installed", &one, "");
    devices[2].install(&devices[2].offer());
    assert_eq!(second.read_to_end().len(), 99_999);
    drop(second);
    devices[1].report("installed", &two, "");
    sending.wait().assert_status(0).assert_mentions("3 devices");
}

#[test]
fn devices_that_resume_share_the_one_port_and_those_that_do_not_have_it_in_turn() {
    let scene = Scene::new();
    let port = free_port();
    let listen = ["--listen", &port.to_string()];
    let roots = ["ONE", "TWO"].map(|name| (name, tempfile::tempdir().unwrap()));
    let _receivers = roots.each_ref().map(|(name, root)| Receiver::start(&scene.broker, name, root.path()));
    let plain = ["THREE", "FOUR"].map(|name| RawDevice::announced(&scene.broker, name));
    let file = scene.file("data.bin", vec![1; 100_000]);
    let (sending, _home) = scene.send(&file, "ONE,TWO,THREE,FOUR").args(listen).start();
    thread::scope(|scope| {
        for device in plain {
            scope.spawn(move || {
                let offer = device.offer();
                assert_eq!(offer.port, port);
                device.install(&offer);
            });
        }
    });
    sending.wait().assert_status(0).assert_mentions("4 devices");

    let devices = ["FIVE", "SIX"].map(|name| RawDevice::join(&scene.broker, name));
    for device in &devices {
        device.announce_as("v=1|client=raw 0|sys=test 0|addr=127.0.0.1|free=1000000|hash=sha1|set=");
    }
    let (sending, _home) = scene.send(&file, "FIVE,SIX").args(listen).start();
    // Both at once: the second begins before the first has anything but its first byte.
    let taking = devices.each_ref().map(|device| {
        let offer = device.offer();
        assert_eq!(offer.port, port);
        let id = offer.text.split('|').find_map(|field| field.strip_prefix("id=")).unwrap();
        let mut link = offer.connect();
        link.write(format!("{id} 0-0 0\n").as_bytes());
        assert_eq!(link.read(1), [1]);
        (offer, link)
    });
    for (device, (offer, mut link)) in devices.iter().zip(taking) {
        assert_eq!(link.read(99_999), [1; 99_999]);
        device.report("installed", &offer, "");
    }
    sending.wait().assert_status(0).assert_mentions("2 devices");
}

#[test]
fn one_device_of_several_that_fails_does_not_spoil_it_for_the_others() {
    let scene = Scene::new();
    let devices = ["ONE", "TWO"].map(|name| RawDevice::announced(&scene.broker, name));
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "ONE,TWO").start();
    devices[0].report("failed", &devices[0].offer(), "write flash worn out");
    devices[1].install(&devices[1].offer());
    let sent = sending.wait();
    sent.assert_status(1).assert_error("ONE").assert_mentions("TWO: main.py installed");
    assert!(sent.stderr.contains("flash worn out"), "{sent:?}");
}

#[test]
fn a_group_of_devices_comes_from_the_settings_file() {
    let scene = Scene::new();
    let devices = ["ONE", "TWO"].map(|name| RawDevice::announced(&scene.broker, name));
    let settings = scene.file("settings.toml", "[groups]\nlamps = [\"ONE\", \"TWO\"]\n");
    let command = scene.send(scene.file("main.py", "x"), "@lamps").arg("--config").arg(settings);
    let (sending, _home) = command.start();
    devices.iter().for_each(|device| drop(device.install(&device.offer())));
    sending.wait().assert_status(0);
    scene.send("main.py", "@heaters").finish().assert_status(2).assert_error("@heaters").assert_hint("");
}

#[test]
fn the_receiver_takes_what_the_sender_sends() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    let big: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for bytes in [Vec::new(), vec![1], big] {
        let file = scene.file("data.bin", &bytes);
        let sent = scene.send(&file, "GATEWAY").args(["--as", "deep/er/data.bin"]).finish();
        sent.assert_status(0).assert_mentions("installed");
        assert_eq!(fs::read(root.path().join("deep/er/data.bin")).unwrap(), bytes);
        scene.send(&file, "GATEWAY").args(["--as", "deep/er/data.bin"]).finish().assert_mentions("unchanged");
    }
    receiver.process().stdout().wait_for("\"unchanged\"");
}

#[test]
fn a_sender_waits_for_the_boot_and_tells_when_the_device_does_not_come_back() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let file = scene.file("main.py", "x");

    let (sending, _home) = scene.send(&file, "NIGHTLAMP").arg("--wait-boot").start();
    let offer = device.offer();
    device.install(&offer);
    device.boot(&offer);
    sending.wait().assert_status(0).assert_mentions("back online");

    let command = scene.send(&file, "NIGHTLAMP").args(["--wait-boot", "--boot-timeout", "300ms"]);
    let (sending, _home) = command.start();
    device.install(&device.offer());
    sending.wait().assert_status(1).assert_error("did not come back").assert_hint("");

    let (sending, _home) = scene.send(&file, "NIGHTLAMP").arg("--wait-boot").start();
    let offer = device.offer();
    device.install(&offer);
    device.report("rolled-back", &offer, "no MQTT after 3 boots");
    sending.wait().assert_status(1).assert_error("rolled back").assert_error("no MQTT after 3 boots");
}

#[test]
fn an_offer_is_never_kept_by_the_broker() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    assert!(!offer.retained);
    device.install(&offer);
    sending.wait().assert_status(0);
    RawDevice::join(&scene.broker, "NIGHTLAMP").assert_no_offer();
}

#[test]
fn devices_are_listed_as_a_table_or_as_json() {
    let scene = Scene::new();
    scene.command("devices").finish().assert_status(0).assert_no_output();

    RawDevice::announced(&scene.broker, "NIGHTLAMP");
    RawDevice::join(&scene.broker, "HALL").announce_as("v=1|sys=esp8266 1.25.0|client=\u{1b}[31mred");
    let client = Client::connect(&scene.broker, "client");
    client
        .publish_retained("BROKEN/OTA/device", [0xff; 40])
        .publish_retained("LONG/OTA/device", [b'x'; 100_000]);

    let table = scene.command("devices").finish();
    table.assert_status(0).assert_mentions("NIGHTLAMP").assert_mentions("esp8266 1.25.0");
    assert!(!table.stdout.contains('\u{1b}'), "{table:?}");

    let lines = scene.command("devices").arg("--json").finish().assert_status(0).json_lines();
    let names: Vec<_> = lines.iter().map(|line| line["device"].as_str().unwrap()).collect();
    assert_eq!(names, ["HALL", "NIGHTLAMP"]);
    assert_eq!(lines[1]["free"], 100_000_000);
}
