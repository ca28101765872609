//! Ctrl-C in every phase: the port is closed, and the status is 130.

use mqtt_ota_integration::{
    EmbeddedBroker, Endpoint, MqttOta, Process, RawDevice, RawOffer, Receiver, Scene, TakenPort,
};

const BIG: usize = 32 << 20;

/// Presses Ctrl-C, and expects the end that is documented.
fn interrupts(process: Process) {
    process.interrupt();
    let finished = process.wait();
    finished.assert_status(130);
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

/// Starts a delivery, brings it to a phase with `drive`, and presses Ctrl-C.
fn interrupts_after(args: &[&str], drive: impl FnOnce(&Process, &RawDevice, &RawOffer)) {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let file = scene.file("big.bin", vec![0; BIG]);
    let (sending, _home) = scene.send(file, "NIGHTLAMP").arg("--json").args(args).start();
    let offer = device.offer();
    drive(&sending, &device, &offer);
    interrupts(sending);
    assert!(offer.is_withdrawn());
    device.assert_no_offer();
}

#[test]
fn while_the_broker_does_not_answer() {
    let silent = TakenPort::take();
    let (sending, _home) = MqttOta::run("devices").broker(&silent.address()).start();
    // It is past its start when it knocks.
    let _connection = silent.accept();
    interrupts(sending);
}

#[test]
fn while_the_device_is_waited_for() {
    interrupts_after(&[], |_, _, _| {});
}

#[test]
fn while_the_device_takes_the_file() {
    let mut link = None;
    interrupts_after(&[], |sending, device, offer| {
        device.report("receiving", offer, "");
        let mut connected = offer.connect();
        connected.read(1000);
        sending.stdout().wait_for("\"connected\"");
        link = Some(connected);
    });
    assert!(link.unwrap().wait_for_close().len() < BIG - 1000);
}

#[test]
fn while_the_answer_is_waited_for() {
    interrupts_after(&[], |sending, _, offer| {
        assert_eq!(offer.connect().read_to_end().len(), BIG);
        sending.stdout().wait_for("\"delivered\"");
    });
}

#[test]
fn while_the_next_try_is_waited_for() {
    interrupts_after(&["--retries", "1", "--retry-pause", "120s"], |sending, device, offer| {
        device.fail(offer, "short");
        sending.stdout().wait_for("\"retrying\"");
    });
}

#[test]
fn while_the_boot_is_waited_for() {
    interrupts_after(&["--wait-boot"], |sending, device, offer| {
        device.install(offer);
        sending.stdout().wait_for("\"waiting-for-boot\"");
    });
}

#[test]
fn while_the_boot_is_waited_for_what_is_installed_is_said() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) =
        scene.send(scene.file("main.py", "x"), "NIGHTLAMP").args(["--wait-boot", "-v"]).start();
    device.install(&device.offer());
    sending.stderr().wait_for("waiting for the device to be back online");
    sending.interrupt();
    sending.wait().assert_status(130).assert_mentions("NIGHTLAMP: main.py: installed, but stopped before");
}

#[test]
fn while_the_broker_is_gone() {
    let mut scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    scene.broker.stop();
    interrupts(sending);
    assert!(offer.is_withdrawn());
}

#[test]
fn while_the_broker_is_frozen() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let (sending, _home) = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").start();
    let offer = device.offer();
    scene.broker.process().freeze();
    interrupts(sending);
    assert!(offer.is_withdrawn());
}

#[test]
fn while_several_devices_are_served() {
    let scene = Scene::new();
    let devices = ["ONE", "TWO", "THREE"].map(|name| RawDevice::announced(&scene.broker, name));
    let (sending, _home) = scene.send(scene.file("big.bin", vec![0; BIG]), "ONE,TWO,THREE").start();
    let offers = devices.each_ref().map(RawDevice::offer);
    let mut link = offers.first().unwrap().connect();
    link.read(1);
    interrupts(sending);
    assert!(offers.iter().all(RawOffer::is_withdrawn));
}

#[test]
fn while_a_receiver_waits_and_while_it_receives() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    interrupts(receiver.into_process());

    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    let feeder = mqtt_ota_integration::Feeder::listen();
    let sender = mqtt_ota_integration::Client::connect(&scene.broker, "sender");
    sender.publish("GATEWAY/OTA", feeder.offer("main.py", b"never sent"));
    let _held = feeder.accept();
    interrupts(receiver.into_process());
    assert!(!root.path().join("main.py").exists());
}

#[test]
fn while_the_embedded_broker_serves_a_client() {
    let broker = EmbeddedBroker::start();
    let address = broker.address();
    let _device = RawDevice::join(&broker, "NIGHTLAMP");
    interrupts(broker.into_process());
    std::net::TcpStream::connect(address).unwrap_err();
}

#[test]
fn while_the_demo_plays() {
    let (demo, _home) = MqttOta::run("demo").start();
    demo.stdout().wait_for("ready at");
    interrupts(demo);
}
