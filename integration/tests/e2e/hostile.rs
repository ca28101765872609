//! What goes wrong around the library, each once: by accident, by age, or on purpose.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use mqtt_ota::{
    Config, Event, Outcome, Payload, PayloadError, Receiver, ReceiverConfig, ReceiverEvent, SendError,
    SendOptions,
};
use mqtt_ota_integration::{
    Application, Client, Feeder, GUARD, Gate, Mosquitto, MqttOta, Passes, RawDevice, free_port, thorough,
};

const FILE: &[u8] = b"print('hello')\n";

fn file() -> Payload {
    Payload::from_bytes("main.py", FILE)
}

fn impatient() -> SendOptions {
    SendOptions { retry_pause: Duration::ZERO, ..SendOptions::default() }
}

#[test]
fn a_device_may_have_a_name_beyond_ascii() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "Übung");
    device.announce();
    let sending = application.send(&file(), "Übung", impatient());
    assert_eq!(device.install(&device.offer()), FILE);
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
    let devices = application.runtime.block_on(application.sender.devices()).unwrap();
    assert_eq!(devices.len(), 1);
}

#[test]
fn every_device_of_a_large_fleet_is_listed() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let client = Client::connect(&broker, "fleet");
    for index in 0..3000 {
        client.publish_retained(&format!("D{index}/OTA/device"), "v=1|addr=127.0.0.1");
    }
    let devices = application.runtime.block_on(application.sender.devices()).unwrap();
    assert_eq!(devices.len(), 3000);
}

#[test]
fn a_status_that_the_broker_kept_answers_nothing() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let digest = mqtt_ota_integration::sha1_hex(FILE);
    let kept = format!("installed|main.py|{digest}|");
    Client::connect(&broker, "keeper").publish_retained("LAMP/OTA/status", kept);
    let options = SendOptions { connect_timeout: Duration::from_millis(100), ..impatient() };
    let report = application.report(application.send(&file(), "LAMP", options));
    assert!(matches!(report.outcome, Outcome::NobodyConnected { .. }), "{report:?}");
}

#[test]
fn a_late_answer_to_one_attempt_is_none_to_the_next() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let options = SendOptions { retry_pause: Duration::from_millis(500), ..impatient() };
    let sending = application.send(&file(), "LAMP", options);
    let first = device.offer();
    device.fail(&first, "short").report("failed", &first, "write");
    device.install(&device.offer());
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
}

#[test]
fn a_device_that_keeps_saying_receiving_does_not_hold_the_sender() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let options = SendOptions { connect_timeout: Duration::from_millis(200), ..impatient() };
    let sending = application.send(&file(), "LAMP", options);
    let offer = device.offer();
    while !sending.is_finished() {
        device.report("receiving", &offer, "").say("receiving|other.py|00|");
    }
    let report = application.report(sending);
    assert!(matches!(report.outcome, Outcome::NobodyConnected { receiving: true, .. }), "{report:?}");
}

#[test]
fn unchanged_after_a_broken_attempt_means_that_it_was_installed_by_it() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let sending = application.send(&file(), "LAMP", impatient());
    device.fail(&device.offer(), "timeout");
    device.report("installed", &device.offer(), "unchanged");
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
}

#[test]
fn an_offer_that_was_lost_with_the_broker_is_published_again() {
    let broker = Mosquitto::start();
    let mut gate = Gate::to(&broker, Passes::All);
    let application = Application::on(&gate);
    let device = RawDevice::join(&broker, "LAMP");
    let sending = application.send(&file(), "LAMP", impatient());
    let first = device.offer();
    gate.cut();
    gate.open();
    assert_eq!(device.offer(), first);
    assert_eq!(first.connect().read_to_end(), FILE);
    assert_eq!(application.report(sending).outcome, Outcome::Unconfirmed);
}

#[test]
fn rolled_back_counts_only_for_the_file_that_was_sent() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let sending = application.send(&file(), "LAMP", SendOptions { wait_for_boot: true, ..impatient() });
    device.install(&device.offer());
    device.say("rolled-back|other.py|00|").announce();
    let report = application.report(sending);
    assert_eq!(report.outcome, Outcome::Installed);
    assert!(report.back_online.is_some());
}

#[test]
fn a_file_that_grows_is_not_delivered_up_to_its_old_end() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    let path = folder.path().join("main.py");
    fs::write(&path, FILE).unwrap();
    let payload = application.runtime.block_on(Payload::open(&path)).unwrap();
    let sending = application.send(&payload, "LAMP", impatient());
    let offer = device.offer();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    offer.connect().wait_for_close();
    let error = application.result(sending).unwrap_err();
    assert!(matches!(error, SendError::Payload(PayloadError::Changed { .. })), "{error:?}");
}

#[test]
fn one_advertised_port_serves_one_device_at_a_time() {
    let broker = Mosquitto::start();
    let port = free_port();
    let advertise = Some(format!("127.0.0.1:{port}").parse().unwrap());
    let listen = format!("127.0.0.1:{port}-{}", port.saturating_add(5)).parse().unwrap();
    let application = Application::with(&broker, Config { advertise, listen, ..Config::default() });
    let devices: Vec<_> = ["A", "B", "C"].map(|name| (name, RawDevice::join(&broker, name))).into();
    let sending: Vec<_> = devices
        .iter()
        .map(|(name, _)| application.send(&Payload::from_bytes("f", name.as_bytes()), name, impatient()))
        .collect();
    std::thread::scope(|scope| {
        for (name, device) in devices {
            scope.spawn(move || assert_eq!(device.install(&device.offer()), name.as_bytes()));
        }
    });
    for sending in sending {
        assert!(application.report(sending).outcome.is_success());
    }
}

#[cfg(unix)]
#[test]
fn an_offer_that_names_a_pipe_does_not_stop_the_receiver() {
    let (broker, root) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let application = Application::on(&broker);
    let pipe = root.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let url = Application::url(&broker);
    let start = Receiver::start(url, "LAMP".parse().unwrap(), root.path(), ReceiverConfig::default());
    let mut device = application.runtime.block_on(start).unwrap();
    let sha1 = mqtt_ota_integration::sha1_hex(FILE);
    Client::connect(&broker, "by-hand").publish("LAMP/OTA", format!("127.0.0.1|1|pipe|{sha1}"));
    application.runtime.block_on(async {
        let failed = async { while !matches!(device.next().await.unwrap(), ReceiverEvent::Failed { .. }) {} };
        tokio::time::timeout(GUARD, failed).await.expect("the receiver hangs");
    });
    let report = application.report(application.send(&file(), "LAMP", impatient()));
    assert_eq!(report.outcome, Outcome::Installed);
}

#[test]
fn a_sender_that_gives_up_in_the_middle_does_not_look_like_the_end_of_the_file() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    let large = Payload::from_bytes("main.py", vec![7; 8 << 20]);
    let sending = application.send(&large, "LAMP", impatient());
    let offer = device.offer();
    let mut stream = TcpStream::connect((offer.host.as_str(), offer.port)).unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    sending.abort();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_device_that_crashed_in_the_middle_and_is_back_is_offered_the_file_at_once() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let large = Payload::from_bytes("main.py", vec![7; 8 << 20]);
    let (told, dropped) = mpsc::channel();
    // Nothing but the new announcement can end the first attempt within the guard's time.
    let options = SendOptions { connect_timeout: GUARD * 10, ..impatient() }.on_event(move |event| {
        if matches!(event, Event::Dropped { .. }) {
            told.send(()).unwrap();
        }
    });
    let sending = application.send(&large, "LAMP", options);
    let mut link = device.offer().connect();
    link.read(1);
    drop(link);
    dropped.recv_timeout(GUARD).unwrap();
    device.announce();
    device.install(&device.offer());
    let report = application.report(sending);
    assert_eq!((report.outcome, report.attempts), (Outcome::Installed, 2));
}

#[test]
fn a_sender_that_drips_is_left_after_a_minute_unless_any_rate_is_allowed() {
    if !thorough() {
        return;
    }
    let broker = Mosquitto::start();
    let observer = Client::connect(&broker, "observer");
    observer.subscribe("+/OTA/status");
    for (rate, leaves) in [("1K", true), ("0", false)] {
        let root = tempfile::tempdir().unwrap();
        let command =
            MqttOta::run("receive").args(["--json", "--as", "LAMP", "--min-rate", rate]).arg("--root");
        let (device, _home) = command.arg(root.path()).broker(&broker).start();
        device.stdout().wait_for("\"online\"");
        let feeder = Feeder::listen();
        observer.publish("LAMP/OTA", feeder.offer("main.py", &[b'x'; 1000]));
        assert!(observer.next().text().starts_with("receiving|"));
        let mut stream = feeder.accept();
        let mut statuses = (0..16).filter_map(|_| {
            let _ = stream.write_all(b"x");
            observer.hears_nothing_for(Duration::from_secs(5))
        });
        let status = statuses.next().map(|status| status.text());
        assert_eq!(status.is_some(), leaves, "{rate}: {status:?}");
        if let Some(status) = status {
            assert!(
                status.contains("|timeout 0 B/s in the last 60 s, less than 1024 B/s, after 1"),
                "{status}"
            );
        }
    }
}
