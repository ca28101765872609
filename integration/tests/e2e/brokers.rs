//! Every kind of broker that is supported, and every way in which one can fail.

use mqtt_ota_integration::{
    Authority, Client, EmbeddedBroker, Endpoint, Gate, Mosquitto, MqttOta, Passes, RawDevice, Receiver,
    Scene, Settings, TakenPort, free_port,
};

/// Sends a file to a device that is at `broker` itself, while the command goes where `scene` says.
fn delivers<B: Endpoint>(scene: &Scene<B>, broker: &impl Endpoint) {
    let device = RawDevice::announced(broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x = 1\n"), "NIGHTLAMP").start();
    assert_eq!(device.install(&device.offer()), b"x = 1\n");
    sending.wait().assert_status(0);
}

#[test]
fn mosquitto_is_spoken_to_with_mqtt_5() {
    let scene = Scene::new();
    delivers(&scene, &scene.broker);
    scene.broker.process().stderr().wait_for("as mqttota").contains("(p5").then_some(()).unwrap();
}

#[test]
fn a_broker_that_refuses_mqtt_5_is_spoken_to_with_3_1_1() {
    for passes in [Passes::Mqtt311, Passes::Mqtt311OrSilence] {
        let broker = Mosquitto::start();
        let scene = Scene::with(Gate::to(&broker, passes));
        delivers(&scene, &broker);
        broker.process().stderr().wait_for("as mqttota").contains("(p2").then_some(()).unwrap();
    }
}

#[test]
fn the_right_password_lets_in_with_either_protocol() {
    for passes in [Passes::All, Passes::Mqtt311] {
        let broker = Mosquitto::with(Settings { login: Some(("ann", "s3cret")), ..Settings::default() });
        let scene = Scene::with(Gate::to(&broker, passes));
        delivers(&scene, &broker);
    }
}

#[test]
fn a_password_comes_from_a_file_as_well() {
    let broker = Mosquitto::with(Settings { login: Some(("ann", "s3cret")), ..Settings::default() });
    let scene = Scene::with(broker.address());
    let file = scene.file("password", "s3cret\n");
    scene.command("devices").args(["--user", "ann", "--password-file"]).arg(file).finish().assert_status(0);
}

#[test]
fn a_wrong_password_is_refused_with_a_hint_and_never_shown() {
    for passes in [Passes::All, Passes::Mqtt311, Passes::Mqtt311OrSilence] {
        let broker = Mosquitto::with(Settings { login: Some(("ann", "s3cret")), ..Settings::default() });
        let scene = Scene::with(Gate::to(&broker, passes));
        let file = scene.file("main.py", "x");
        let refused = scene.send(&file, "NIGHTLAMP").env("MQTT_OTA_PASSWORD", "wr0ng").arg("-vvv").finish();
        refused.assert_status(1).assert_error("broker").assert_hint("password").assert_no_output();
        assert!(!refused.stderr.contains("wr0ng"), "{refused:?}");

        let nobody = MqttOta::run("devices").env("MQTT_OTA_BROKER", scene.broker.url()).finish();
        nobody.assert_status(1).assert_error("broker").assert_hint("user").assert_no_output();
    }
}

#[test]
fn tls_with_an_authority_of_ones_own_works() {
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let scene = Scene::with(broker.address());
    let device = RawDevice::announced(&broker, "NIGHTLAMP");
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("mqtts://{host}:{}", broker.tls_address().port());
        let (sending, _home) = scene
            .send(scene.file("main.py", "x"), "NIGHTLAMP")
            .args(["--broker", &url, "--ca-file"])
            .arg(broker.ca_file())
            .start();
        device.install(&device.offer());
        sending.wait().assert_status(0);
    }
}

/// The system's store is where `SSL_CERT_FILE` says, as it is for OpenSSL.
#[cfg(target_os = "linux")]
#[test]
fn an_authority_that_the_system_trusts_needs_no_file() {
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let scene = Scene::with(broker.address());
    let device = RawDevice::announced(&broker, "NIGHTLAMP");
    let url = format!("mqtts://localhost:{}", broker.tls_address().port());
    let (sending, _home) = scene
        .send(scene.file("main.py", "x"), "NIGHTLAMP")
        .args(["--broker", &url])
        .env("SSL_CERT_FILE", broker.ca_file())
        .start();
    device.install(&device.offer());
    sending.wait().assert_status(0);
}

#[test]
fn an_authority_that_nobody_trusts_is_refused_with_a_hint() {
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let url = format!("mqtts://localhost:{}", broker.tls_address().port());
    let list = || MqttOta::run("devices").args(["--broker", &url]);
    list().finish().assert_status(1).assert_error("certificate").assert_hint("--ca-file").assert_no_output();

    let other = Authority::new();
    let refused = list().arg("--ca-file").arg(other.ca_file()).finish();
    refused.assert_status(1).assert_error("certificate").assert_hint("");

    let missing = list().args(["--ca-file", "missing.pem"]).finish();
    assert!(matches!(missing.status(), Some(1 | 2)), "{missing:?}");
    missing.assert_error("missing.pem").assert_hint("");
}

#[test]
fn tls_and_plain_mqtt_confused_is_an_error_with_a_hint() {
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let plain_to_tls = MqttOta::run("devices").broker(&broker.tls_address()).finish();
    plain_to_tls.assert_status(1).assert_error("broker").assert_hint("mqtts://");

    let tls_to_plain = format!("mqtts://localhost:{}", broker.address().port());
    let tls_to_plain = MqttOta::run("devices").args(["--broker", &tls_to_plain]).finish();
    tls_to_plain.assert_status(1).assert_error("broker").assert_hint("mqtt://");
}

#[test]
fn the_embedded_broker_carries_a_delivery() {
    let scene = Scene::with(EmbeddedBroker::start());
    delivers(&scene, &scene.broker);
}

#[test]
fn the_embedded_broker_asks_for_a_password() {
    let scene = Scene::with(EmbeddedBroker::with_login("ann", "s3cret"));
    delivers(&scene, &scene.broker);
    let refused = scene.command("devices").env("MQTT_OTA_PASSWORD", "wrong").finish();
    refused.assert_status(1).assert_error("broker").assert_hint("password");
    let refused = MqttOta::run("devices").env("MQTT_OTA_BROKER", scene.broker.url()).finish();
    refused.assert_status(1).assert_error("broker").assert_hint("user");
}

#[test]
fn the_embedded_broker_says_when_another_one_has_its_port() {
    let broker = Mosquitto::start();
    let address = broker.address().to_string();
    let refused = MqttOta::run("broker").args(["--listen", &address]).finish();
    refused.assert_status(1).assert_error(&address).assert_hint("another").assert_no_output();
}

#[test]
fn the_embedded_broker_says_when_a_program_that_is_no_broker_has_its_port() {
    let taken = TakenPort::take();
    let address = taken.address().to_string();
    let refused = MqttOta::run("broker").args(["--listen", &address]).finish();
    refused.assert_status(1).assert_error(&address).assert_hint("--listen");
}

#[test]
fn no_broker_is_an_error_with_its_address_and_a_hint() {
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let scene = Scene::with(TakenPort::take().free());
    for command in [scene.send(scene.file("main.py", "x"), "NIGHTLAMP"), scene.command("devices")] {
        let failed = command.args(["--broker", &url]).finish();
        failed.assert_status(1).assert_error(&url).assert_hint("broker").assert_no_output();
    }
    let nameless = scene.command("devices").args(["--broker", "mqtt://broker.invalid"]).finish();
    nameless.assert_status(1).assert_error("broker.invalid").assert_hint("");
    let nonsense = scene.command("devices").args(["--broker", "http://127.0.0.1"]).finish();
    nonsense.assert_status(2).assert_error("http").assert_hint("mqtt://");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = TakenPort::take();
    let failed = MqttOta::run("devices").broker(&silent.address()).finish();
    failed.assert_status(1).assert_error("broker").assert_hint("");
}

#[test]
fn a_topic_that_the_broker_forbids_is_an_error_with_a_hint() {
    let access = vec!["topic read NIGHTLAMP/#", "topic write NIGHTLAMP/OTA/+"];
    let broker = Mosquitto::with(Settings { access, ..Settings::default() });
    let scene = Scene::with(broker);
    let _device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let failed = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").finish();
    failed.assert_status(1).assert_error("NIGHTLAMP").assert_hint("access");
}

#[test]
fn nobody_subscribed_is_known_at_once_where_the_broker_speaks_mqtt_5() {
    let scene = Scene::new();
    let failed =
        scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--connect-timeout", "120s"]).finish();
    failed.assert_status(1).assert_error("NIGHTLAMP/OTA").assert_hint("name").assert_no_output();
}

#[test]
fn nobody_subscribed_is_nobody_connected_where_the_broker_speaks_3_1_1() {
    let broker = Mosquitto::start();
    let scene = Scene::with(Gate::to(&broker, Passes::Mqtt311));
    let command = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--connect-timeout", "300ms"]);
    command.finish().assert_status(1).assert_error("nobody connected").assert_hint("--advertise");
}

#[test]
fn a_broker_that_goes_away_between_offer_and_delivery_is_an_error_with_a_hint() {
    let broker = Mosquitto::start();
    let mut scene = Scene::with(Gate::to(&broker, Passes::All));
    let device = RawDevice::announced(&broker, "NIGHTLAMP");
    let file = scene.file("main.py", "x");
    let command = scene.send(file, "NIGHTLAMP").args(["--connect-timeout", "1s", "--confirm-timeout", "1s"]);
    let (sending, _home) = command.start();
    let offer = device.offer();
    scene.broker.cut();
    device.install(&offer);
    let failed = sending.wait();
    failed.assert_status(1).assert_error("NIGHTLAMP").assert_hint("");
    assert!(!failed.stdout.contains("installed"), "{failed:?}");
    assert!(offer.is_withdrawn());
}

#[test]
fn a_broker_that_comes_back_in_time_brings_the_answer() {
    let broker = Mosquitto::start();
    let mut scene = Scene::with(Gate::to(&broker, Passes::All));
    let device = RawDevice::announced(&broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    let mut link = offer.connect();
    scene.broker.cut();
    assert_eq!(link.read_to_end(), b"x");
    drop(link);
    scene.broker.open();
    // The sender's second subscription is what a status needs; the broker's log tells of it.
    broker.process().stderr().wait_until("a second subscription", |log| {
        (log.matches("\tNIGHTLAMP/OTA/status (QoS 1)").count() >= 2).then_some(())
    });
    device.report("installed", &offer, "");
    sending.wait().assert_status(0);
}

#[test]
fn a_receiver_outlives_its_broker() {
    let mut scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    scene.broker.stop();
    scene.broker.start_again();
    receiver
        .process()
        .stdout()
        .wait_until("a second announcement", |text| (text.matches("\"online\"").count() >= 2).then_some(()));
    scene.send(scene.file("main.py", "x"), "GATEWAY").finish().assert_status(0);
}

#[test]
fn an_offer_that_nobody_serves_any_more_does_not_wait_for_a_device_that_sleeps() {
    let scene = Scene::new();
    let device = || Client::returning(&scene.broker, "LAMP");
    device().subscribe("LAMP/OTA");
    let file = scene.file("main.py", "x");
    let sent = scene.send(&file, "LAMP").args(["--connect-timeout", "1s"]).finish();
    sent.assert_status(1).assert_error("nobody connected");
    // The broker counts in seconds.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let device = device();
    device.publish("LAMP/OTA", "nothing came before this");
    assert_eq!(device.next().text(), "nothing came before this");
}
