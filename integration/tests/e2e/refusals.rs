//! Every way in which a broker refuses something reaches the user as a sentence with a hint, once.

use std::time::Duration;

use mqtt_ota_integration::{
    EmbeddedBroker, Endpoint, Finished, Gate, Mosquitto, MqttOta, Passes, PlayedBroker, Process, RawDevice,
    Receiver, Scene, Settings, connack,
};

/// Success, as an acknowledgement says it: QoS 1 is granted, and nobody is subscribed.
const GRANTED: u8 = 1;
const TAKEN: u8 = 0;

fn list(broker: &impl Endpoint) -> MqttOta {
    MqttOta::run("devices").broker(broker)
}

fn send<B: Endpoint>(scene: &Scene<B>) -> MqttOta {
    scene.send(scene.file("main.py", "x = 1\n"), "LAMP").args(["--connect-timeout", "2s"])
}

/// How often a line of the standard error has this part.
fn count(finished: &Finished, part: &str) -> usize {
    finished.stderr.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn a_connack_that_refuses_is_a_sentence_with_a_hint() {
    for (code, text, said, hint) in [
        (0x85, "", "client id", "client id"),
        (0x89, "", "server busy", "later"),
        (0x8a, "", "banned", "administers"),
        (0x97, "ten clients at most", "quota exceeded (0x97), \"ten clients at most\"", "limits"),
        (0x9d, "", "server moved", "address"),
        (0x9f, "", "too many connections", "later"),
    ] {
        let length = u8::try_from(text.len()).unwrap();
        let property = [&[0x1f, 0, length], text.as_bytes()].concat();
        let properties = if text.is_empty() { Vec::new() } else { property };
        let broker = PlayedBroker::answering(connack(code, &properties), GRANTED, TAKEN);
        let refused = list(&broker).finish();
        refused.assert_status(1).assert_error(said).assert_hint(hint).assert_no_output();
        assert_eq!(broker.connected().len(), 1, "it is asked once: {refused:?}");
    }
    for (code, said) in [(2, "client id"), (3, "unavailable"), (5, "login")] {
        let broker = PlayedBroker::answering(vec![0x20, 2, 0, code], GRANTED, TAKEN);
        list(&broker)
            .args(["--protocol", "3.1.1"])
            .finish()
            .assert_status(1)
            .assert_error(said)
            .assert_hint("");
    }
}

#[test]
fn a_subscription_or_a_message_that_is_refused_names_its_topic_and_the_line_for_the_access_list() {
    let broker = PlayedBroker::answering(connack(0, &[]), 0x87, TAKEN);
    let refused = list(&broker).finish();
    refused.assert_status(1).assert_error("+/OTA/device").assert_hint("topic read +/OTA/device");

    for (code, said, hint) in [
        (0x87, "not authorized", "topic write LAMP/OTA"),
        (0x90, "topic name", ""),
        (0x95, "too large", "max_packet_size"),
        (0x97, "quota", "limits"),
        (0x99, "payload format", "plain text"),
    ] {
        let scene = Scene::with(PlayedBroker::answering(connack(0, &[]), GRANTED, code));
        let refused = send(&scene).finish();
        refused.assert_status(1).assert_error("LAMP/OTA").assert_error(said);
        if !hint.is_empty() {
            refused.assert_hint(hint);
        }
    }
    // MQTT 3.1.1 has no reasons.
    let broker = PlayedBroker::answering(vec![0x20, 2, 0, 0], 0x80, TAKEN);
    let refused = list(&broker).args(["--protocol", "3.1.1"]).finish();
    refused.assert_status(1).assert_error("+/OTA/device").assert_hint("topic read");
}

#[test]
fn a_broker_that_ends_the_connection_over_a_message_is_not_asked_for_ever() {
    // As its DISCONNECT says, or without a word, as MQTT 3.1.1 has it.
    for (protocol, said, hint) in
        [("5", "packet too large", "max_packet_size"), ("3.1.1", "closes", "access list")]
    {
        let scene = Scene::with(PlayedBroker::start(|client| {
            client.accept(&[])?;
            loop {
                let (kind, packet) = client.read()?;
                match kind & 0xf0 {
                    0x30 if client.level == 5 => return client.packet(0xe0, &[0x95, 0]),
                    0x30 => return Ok(()),
                    0x80 if client.level == 5 => client.packet(0x90, &[packet[0], packet[1], 0, GRANTED])?,
                    0x80 => client.packet(0x90, &[packet[0], packet[1], GRANTED])?,
                    _ => {}
                }
            }
        }));
        let refused = send(&scene).args(["--protocol", protocol]).finish();
        refused.assert_status(1).assert_error("LAMP/OTA").assert_error(said).assert_hint(hint);
        assert!(scene.broker.connected().len() <= 4, "{refused:?}");
        assert_eq!(count(&refused, "client id \""), 0, "nobody else is blamed: {refused:?}");
    }
}

#[test]
fn what_a_broker_cannot_do_is_read_from_its_connack() {
    // No wildcards: all devices cannot be asked for at once.
    let broker = PlayedBroker::answering(connack(0, &[0x28, 0]), GRANTED, TAKEN);
    list(&broker).finish().assert_status(1).assert_error("wildcards").assert_hint("name");
    // The longest packet, in bytes.
    let scene = Scene::with(PlayedBroker::answering(connack(0, &[0x27, 0, 0, 0, 60]), GRANTED, TAKEN));
    send(&scene).finish().assert_status(1).assert_error("60 bytes").assert_hint("max_packet_size");
}

#[test]
fn the_limits_of_mosquitto_are_obeyed_and_named() {
    let with = |line| Scene::with(Mosquitto::with(Settings { lines: vec![line], ..Settings::default() }));

    let scene = with("max_packet_size 60");
    send(&scene).finish().assert_status(1).assert_error("60 bytes").assert_hint("max_packet_size");

    let scene = with("message_size_limit 30");
    let _device = RawDevice::join(&scene.broker, "LAMP");
    send(&scene).finish().assert_status(1).assert_error("too large").assert_hint("message_size_limit");

    let scene = with("retain_available false");
    let root = tempfile::tempdir().unwrap();
    let device = Receiver::start(&scene.broker, "LAMP", root.path());
    let listed = list(&scene.broker).finish();
    assert_eq!(count(&listed, "retains no messages"), 1, "{listed:?}");
    send(&scene).finish().assert_status(0);
    assert_eq!(std::fs::read(root.path().join("main.py")).unwrap(), b"x = 1\n");
    drop(device);
    // A keeper cannot work without, and says why; it does not try for ever.
    let folder = scene.folder().join("devices/LAMP");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("main.py"), "x = 2\n").unwrap();
    let kept = scene.command("keep").arg(scene.folder().join("devices")).finish();
    kept.assert_status(1).assert_error("retains no messages").assert_hint("retain_available");
    // MQTT 3.1.1 cannot say it beforehand.
    let command =
        scene.command("receive").args(["--as", "LAMP", "--protocol", "3.1.1", "--root"]).arg(root.path());
    command.finish().assert_status(1).assert_error("LAMP/OTA/device").assert_hint("retained");
}

#[test]
fn a_broker_that_takes_qos_0_only_carries_a_delivery() {
    // Mosquitto has it for each listener, so it stands behind the one that the tests have.
    let broker = PlayedQos0::start();
    let root = tempfile::tempdir().unwrap();
    let _device = Receiver::start(&broker.address, "LAMP", root.path());
    let scene = Scene::with(broker.address);
    let sent = send(&scene).finish();
    sent.assert_status(0).assert_mentions("installed");
    assert_eq!(count(&sent, "QoS 0 only"), 1, "{sent:?}");
}

/// A Mosquitto with a second listener that takes QoS 0 only.
struct PlayedQos0 {
    address: std::net::SocketAddr,
    _broker: Mosquitto,
}

impl PlayedQos0 {
    fn start() -> Self {
        let port = mqtt_ota_integration::free_port();
        let lines = format!("listener {port} 127.0.0.1\nmax_qos 0");
        let settings = Settings { lines: vec![lines.leak()], ..Settings::default() };
        let broker = Mosquitto::with(settings);
        Self { address: std::net::SocketAddr::from(([127, 0, 0, 1], port)), _broker: broker }
    }
}

#[test]
fn a_broker_that_never_answers_mqtt_5_is_spoken_to_with_3_1_1() {
    let broker = Mosquitto::start();
    let scene = Scene::with(Gate::to(&broker, Passes::Mqtt311OrNoAnswer));
    // The waits run beside each other.
    let found = list(&scene.broker).start();
    let forced = list(&scene.broker).args(["--protocol", "5"]).start();
    let quick = list(&scene.broker).env("MQTT_OTA_PROTOCOL", "3.1.1").finish();
    quick.assert_status(0);
    assert!(quick.elapsed < Duration::from_secs(2), "{quick:?}");
    let found = found.0.wait();
    found.assert_status(0);
    assert_eq!(count(&found, "MQTT 3.1.1 is spoken"), 1, "{found:?}");
    forced.0.wait().assert_status(1).assert_error("does not answer").assert_hint("--protocol");
}

fn device_named(
    broker: &impl Endpoint,
    name: &str,
    args: &[&str],
) -> (Process, tempfile::TempDir, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let command = MqttOta::run("receive").args(["--json", "--as", name, "--root"]).arg(root.path());
    let (process, home) = command.broker(broker).args(args).start();
    (process, home, root)
}

#[test]
fn two_devices_of_one_name_are_told_so() {
    let mosquitto = Mosquitto::start();
    let embedded = EmbeddedBroker::start();
    let pairs = [(mosquitto.address(), "5"), (mosquitto.address(), "3.1.1"), (embedded.address(), "3.1.1")];
    // All at once.
    let devices: Vec<_> = pairs
        .iter()
        .enumerate()
        .flat_map(|(number, (broker, protocol))| {
            let name = format!("TWIN{number}");
            [(); 2].map(|()| (name.clone(), device_named(broker, &name, &["--protocol", protocol])))
        })
        .collect();
    for pair in devices.chunks(2) {
        let (name, (first, ..)) = &pair[0];
        let (_, (second, ..)) = &pair[1];
        let id = format!("\"mqtt-ota-{name}\"");
        for device in [first, second] {
            device.stderr().wait_for(&id);
            let text = device.stderr().text();
            assert!(text.contains("another client") && text.contains("another name"), "{text}");
            assert!(text.lines().count() <= 3, "it is said once: {text}");
        }
    }
}

#[test]
fn a_takeover_is_said_as_such_and_tried_again_slower_and_slower() {
    let broker = PlayedBroker::start(|client| {
        client.accept(&[])?;
        // It subscribes and announces itself.
        client.serve_one(GRANTED, TAKEN)?;
        client.serve_one(GRANTED, TAKEN)?;
        // Session taken over.
        client.packet(0xe0, &[0x8e, 0])
    });
    let (device, _home, _root) = device_named(&broker, "LAMP", &[]);
    device
        .stdout()
        .wait_until("three announcements", |text| (text.matches("\"online\"").count() >= 3).then_some(()));
    let text = device.stderr().text();
    assert_eq!(text.matches("another client").count(), 1, "{text}");
    assert!(text.contains("mqtt-ota-LAMP"), "{text}");
    let connected = broker.connected();
    let pauses: Vec<_> = connected.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_millis(500) && pauses[1] >= Duration::from_secs(1), "{pauses:?}");
}
