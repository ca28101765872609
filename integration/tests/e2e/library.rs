//! What an embedder of the library sees, over real brokers.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use mqtt_ota::{
    Event, Outcome, Payload, Protocol, Reason, Receiver, ReceiverConfig, ReceiverEvent, SendOptions,
};
use mqtt_ota_broker::BrokerConfig;
use mqtt_ota_integration::{
    Application, Client, Endpoint, Feeder, GUARD, Gate, Mosquitto, Passes, RawDevice, RawOffer, Sending,
};
use tokio::runtime::Runtime;

const FILE: &[u8] = b"print('hello from the ceiling')\n";

/// Begins to send the file to `device`.
fn send(application: &Application, device: &str, options: SendOptions) -> Sending {
    application.send(&Payload::from_bytes("main.py", FILE), device, options)
}

/// Starts a device below `root`.
fn device(application: &Application, broker: &impl Endpoint, name: &str, root: &Path) -> Receiver {
    device_with(application, broker, name, root, ReceiverConfig::default())
}

fn device_with(
    application: &Application,
    broker: &impl Endpoint,
    name: &str,
    root: &Path,
    config: ReceiverConfig,
) -> Receiver {
    let start = Receiver::start(Application::url(broker), name.parse().unwrap(), root, config);
    application.runtime.block_on(Application::guarded(start)).unwrap()
}

/// The next event that is worth a name: progress is not.
fn next(application: &Application, device: &mut Receiver) -> ReceiverEvent {
    application.runtime.block_on(Application::guarded(async {
        loop {
            match device.next().await.unwrap() {
                ReceiverEvent::Progress { .. } | ReceiverEvent::Online(_) => {}
                event => return event,
            }
        }
    }))
}

fn impatient() -> SendOptions {
    SendOptions { retry_pause: Duration::ZERO, ..SendOptions::default() }
}

/// Waits for a boot, and tells when it does.
fn waiting_for_boot() -> (SendOptions, mpsc::Receiver<()>) {
    let (told, installed) = mpsc::channel();
    let options = SendOptions { wait_for_boot: true, ..impatient() };
    let options = options.on_event(move |event| {
        if matches!(event, Event::WaitingForBoot) {
            told.send(()).unwrap();
        }
    });
    (options, installed)
}

/// Whether nothing but whole files is below `root`.
fn litter(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".mqtt-ota")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_is_installed_then_unchanged_and_the_device_keeps_it() {
    let (broker, root) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let application = Application::on(&broker);
    assert_eq!(application.sender.protocol(), Protocol::V5);
    let mut device = device(&application, &broker, "LAMP", root.path());

    let report = application.report(send(&application, "LAMP", SendOptions::default()));
    assert_eq!(report.outcome, Outcome::Installed);
    assert_eq!((report.bytes, report.attempts), (FILE.len() as u64, 1));
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), FILE);
    assert_eq!(litter(root.path()), [""; 0]);
    assert!(matches!(next(&application, &mut device), ReceiverEvent::Receiving(_)));
    assert!(matches!(next(&application, &mut device), ReceiverEvent::Installed { .. }));
    assert!(matches!(next(&application, &mut device), ReceiverEvent::Reboot));

    let report = application.report(send(&application, "LAMP", SendOptions::default()));
    assert_eq!((report.outcome, report.peer), (Outcome::Unchanged, None));
}

#[test]
fn a_broker_is_spoken_to_in_the_newest_version_that_it_knows() {
    let runtime = Runtime::new().unwrap();
    let config = BrokerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..BrokerConfig::default() };
    let embedded = runtime.block_on(mqtt_ota_broker::Broker::start(config)).unwrap();
    let mosquitto = Mosquitto::start();
    let polite = Gate::to(&mosquitto, Passes::Mqtt311);
    let silent = Gate::to(&mosquitto, Passes::Mqtt311OrSilence);
    for (address, protocol) in [
        (embedded.address(), Protocol::V5),
        (polite.address(), Protocol::V311),
        (silent.address(), Protocol::V311),
    ] {
        let root = tempfile::tempdir().unwrap();
        let application = Application::on(&address);
        assert_eq!(application.sender.protocol(), protocol);
        let _device = device(&application, &address, "LAMP", root.path());
        let report = application.report(send(&application, "LAMP", SendOptions::default()));
        assert_eq!(report.outcome, Outcome::Installed);
    }
}

#[test]
fn one_sender_serves_many_devices_at_once_and_one_device_in_turn() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let roots: Vec<_> = (0..20).map(|_| tempfile::tempdir().unwrap()).collect();
    let start = |(index, root): (usize, &tempfile::TempDir)| {
        device(&application, &broker, &format!("D{index}"), root.path())
    };
    let _devices: Vec<_> = roots.iter().enumerate().map(start).collect();
    let sending: Vec<_> = (0..60)
        .map(|index| {
            let path = Some(format!("f{}", index / 20).parse().unwrap());
            send(&application, &format!("D{}", index % 20), SendOptions { path, ..impatient() })
        })
        .collect();
    for sending in sending {
        assert_eq!(application.report(sending).outcome, Outcome::Installed);
    }
    for root in &roots {
        for file in ["f0", "f1", "f2"] {
            assert_eq!(fs::read(root.path().join(file)).unwrap(), FILE);
        }
    }
    let devices = application.runtime.block_on(Application::guarded(application.sender.devices())).unwrap();
    assert_eq!(devices.len(), 20);
}

#[test]
fn dropping_a_send_closes_its_port() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    let sending = send(&application, "LAMP", SendOptions::default());
    let offer = device.offer();
    assert!(TcpStream::connect((offer.host.as_str(), offer.port)).is_ok());
    sending.abort();
    assert!(application.runtime.block_on(Application::guarded(sending)).unwrap_err().is_cancelled());
    assert!(offer.is_withdrawn());
}

#[test]
fn a_sender_outlives_its_broker() {
    let mut broker = Mosquitto::start();
    let application = Application::on(&broker);
    broker.stop();
    broker.start_again();
    let root = tempfile::tempdir().unwrap();
    let _device = device(&application, &broker, "LAMP", root.path());
    let report = application.report(send(&application, "LAMP", SendOptions::default()));
    assert_eq!(report.outcome, Outcome::Installed);
}

#[test]
fn a_device_outlives_its_broker_and_announces_itself_to_the_next() {
    let mut broker = Mosquitto::start();
    let application = Application::on(&broker);
    let root = tempfile::tempdir().unwrap();
    let mut device = device(&application, &broker, "LAMP", root.path());
    let online = |device: &mut Receiver| {
        application.runtime.block_on(Application::guarded(async {
            while !matches!(device.next().await.unwrap(), ReceiverEvent::Online(_)) {}
        }));
    };
    online(&mut device);
    broker.stop();
    broker.start_again();
    online(&mut device);
    let report = application.report(send(&application, "LAMP", SendOptions::default()));
    assert_eq!(report.outcome, Outcome::Installed);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let options = SendOptions { confirm_timeout: Duration::from_millis(100), ..impatient() };
    let sending = send(&application, "LAMP", options);
    assert_eq!(device.offer().connect().read_to_end(), FILE);
    device.report("installed", &device.offer(), "unchanged");
    let report = application.report(sending);
    assert_eq!((report.outcome, report.attempts), (Outcome::Installed, 2));
}

#[test]
fn what_passes_by_itself_is_offered_again_and_what_does_not_is_not() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    for reason in ["connect", "timeout", "short", "hash-mismatch"] {
        let sending = send(&application, "LAMP", impatient());
        device.fail(&device.offer(), &format!("{reason} something"));
        device.install(&device.offer());
        let report = application.report(sending);
        assert_eq!((report.outcome, report.attempts), (Outcome::Installed, 2), "{reason}");
    }
    for reason in ["no-space", "write", "bad-name", "bad-offer", "unauthorised", "battery-low"] {
        let sending = send(&application, "LAMP", impatient());
        device.report("failed", &device.offer(), &format!("{reason} 2.9 V"));
        let report = application.report(sending);
        let Outcome::Failed { reason: code, text } = &report.outcome else { panic!("{report:?}") };
        assert_eq!((code.code(), text.as_str(), report.attempts), (reason, "2.9 V", 1));
    }
    let sending = send(&application, "LAMP", SendOptions { retries: 1, ..impatient() });
    for _ in 0..2 {
        device.fail(&device.offer(), "short");
    }
    let report = application.report(sending);
    assert!(matches!(report.outcome, Outcome::Failed { reason: Reason::Short, .. }));
    assert_eq!(report.attempts, 2);
}

#[test]
fn a_boot_is_waited_for_and_only_a_new_announcement_counts() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    device.announce();
    let (options, installed) = waiting_for_boot();
    let sending = send(&application, "LAMP", options.clone());
    device.install(&device.offer());
    installed.recv_timeout(GUARD).unwrap();
    device.announce_as("v=1|sys=rebooted");
    let report = application.report(sending);
    assert_eq!(report.outcome, Outcome::Installed);
    assert_eq!(report.back_online.unwrap().announcement.system.as_deref(), Some("rebooted"));

    let sending = send(
        &application,
        "LAMP",
        SendOptions { boot_timeout: Duration::from_millis(100), ..options.clone() },
    );
    device.install(&device.offer());
    assert_eq!(application.report(sending).outcome, Outcome::NotBackOnline { link_lost: false });

    let sending = send(&application, "LAMP", options);
    let offer = device.offer();
    device.install(&offer);
    device.report("rolled-back", &offer, "ImportError");
    assert_eq!(application.report(sending).outcome, Outcome::RolledBack { text: "ImportError".into() });
}

#[test]
fn a_boot_is_seen_that_was_over_before_the_device_s_word_on_the_file_came() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::announced(&broker, "LAMP");
    let brief = Duration::from_millis(100);
    let (options, _installed) = waiting_for_boot();
    let options = SendOptions { boot_timeout: brief, ..options };

    let sending = send(&application, "LAMP", SendOptions { confirm_timeout: brief, ..options.clone() });
    assert_eq!(device.offer().connect().read_to_end(), FILE);
    device.announce_as("v=1|sys=rebooted");
    device.report("installed", &device.offer(), "unchanged");
    let report = application.report(sending);
    assert_eq!(report.outcome, Outcome::Installed);
    assert_eq!(report.back_online.unwrap().announcement.system.as_deref(), Some("rebooted"));

    // What it installs only then it boots only then.
    let sending = send(&application, "LAMP", options);
    let offer = device.offer();
    assert_eq!(offer.connect().read_to_end(), FILE);
    device.report("failed", &offer, "hash-mismatch").announce_as("v=1|sys=reconnected");
    device.install(&device.offer());
    assert_eq!(application.report(sending).outcome, Outcome::NotBackOnline { link_lost: false });
}

#[test]
fn a_boot_while_the_broker_was_lost_is_known_by_what_is_new_or_not_denied() {
    let broker = Mosquitto::start();
    let mut gate = Gate::to(&broker, Passes::All);
    let application = Application::on(&gate);
    let device = RawDevice::announced(&broker, "LAMP");
    let (options, installed) = waiting_for_boot();
    let listener = Client::connect(&broker, "listener");
    listener.subscribe("LAMP/OTA/device");
    // The broker has it before the sender is back.
    let is_announced = || while !listener.next().text().contains("sys=rebooted") {};

    let sending = send(&application, "LAMP", options.clone());
    device.install(&device.offer());
    installed.recv_timeout(GUARD).unwrap();
    gate.cut();
    device.announce_as("v=1|sys=rebooted");
    is_announced();
    gate.open();
    let report = application.report(sending);
    assert_eq!(report.outcome, Outcome::Installed);
    assert_eq!(report.back_online.unwrap().announcement.system.as_deref(), Some("rebooted"));

    let options = SendOptions { boot_timeout: Duration::from_secs(1), ..options };
    let sending = send(&application, "LAMP", options);
    device.install(&device.offer());
    installed.recv_timeout(GUARD).unwrap();
    gate.cut();
    device.announce_as("v=1|sys=rebooted");
    is_announced();
    gate.open();
    assert_eq!(application.report(sending).outcome, Outcome::NotBackOnline { link_lost: true });
}

#[test]
fn an_offer_that_went_down_with_the_broker_is_made_again_once_the_device_is_back() {
    let mut broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::announced(&broker, "LAMP");
    let sending = send(&application, "LAMP", SendOptions::default());
    device.offer();
    broker.stop();
    broker.start_again();
    // The sender is back first: its offer reaches nobody.
    application.runtime.block_on(Application::guarded(application.sender.devices())).unwrap();
    let device = RawDevice::announced(&broker, "LAMP");
    device.install(&device.offer());
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
}

/// What a receiver says to what it is sent by hand, once `serve` has been done.
fn answered(
    application: &Application,
    broker: &Mosquitto,
    device: &mut Receiver,
    offer: &str,
    serve: impl FnOnce(),
) -> (Reason, String) {
    let sender = Client::connect(broker, "by-hand");
    sender.publish("LAMP/OTA", offer);
    serve();
    loop {
        match next(application, device) {
            ReceiverEvent::Failed { reason, text, .. } => return (reason, text),
            ReceiverEvent::Receiving(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_that_a_receiver_is_sent_touches_the_old_file() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let root = tempfile::tempdir().unwrap();
    let config =
        ReceiverConfig { max_size: 1 << 20, idle_timeout: Duration::from_secs(1), ..Default::default() };
    let mut device = device_with(&application, &broker, "LAMP", root.path(), config);
    fs::write(root.path().join("main.py"), "old").unwrap();
    let mut answer =
        |offer: &str, serve: &dyn Fn()| answered(&application, &broker, &mut device, offer, serve);
    let sha1 = "819d7bf839af03c912af6e81f65ab404e5915ab5";
    let dead = mqtt_ota_integration::free_port();
    let nobody = &|| ();

    assert_eq!(answer("garbage", nobody).0, Reason::BadOffer);
    assert_eq!(answer(&format!("127.0.0.1|{dead}|../main.py|{sha1}"), nobody).0, Reason::BadName);
    for name in [".mqtt-ota/x", ".mqtt-ota./set", ".mqtt-ota /set", ".MQTT-O~1/set", "MQTT-O~1/set"] {
        assert_eq!(answer(&format!("127.0.0.1|{dead}|{name}|{sha1}"), nobody).0, Reason::BadName, "{name}");
    }
    assert_eq!(answer(&format!("127.0.0.1|{dead}|main.py/x|{sha1}"), nobody).0, Reason::BadName);
    let (reason, text) = answer(&format!("127.0.0.1|{dead}|main.py|{sha1}"), nobody);
    assert_eq!(reason, Reason::Connect);
    assert!(text.contains(&format!("127.0.0.1:{dead}")), "{text}");

    let feeder = Feeder::listen();
    let offer = feeder.offer("main.py", b"new");
    assert_eq!(answer(&offer, &|| feeder.serve(b"wrong bytes")).0, Reason::HashMismatch);
    assert_eq!(answer(&offer, &|| feeder.serve(b"ne")).0, Reason::HashMismatch);
    let endless = || {
        let mut stream = feeder.accept();
        while std::io::Write::write_all(&mut stream, &[0; 65_536]).is_ok() {}
    };
    assert_eq!(answer(&offer, &endless).0, Reason::NoSpace);
    let stalled = std::cell::Cell::new(None);
    assert_eq!(answer(&offer, &|| stalled.set(Some(feeder.accept()))).0, Reason::Timeout);
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), b"old");
    assert_eq!(litter(root.path()), [""; 0]);

    let report = application.report(send(&application, "LAMP", SendOptions::default()));
    assert_eq!(report.outcome, Outcome::Installed);
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_root_is_not_followed() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut device = device(&application, &broker, "LAMP", root.path());
    std::os::unix::fs::symlink(outside.path(), root.path().join("lib")).unwrap();
    let sha1 = "819d7bf839af03c912af6e81f65ab404e5915ab5";
    for path in ["lib/x.py", "lib/new/x.py"] {
        let offer = format!("127.0.0.1|1|{path}|{sha1}");
        assert_eq!(answered(&application, &broker, &mut device, &offer, || ()).0, Reason::BadName);
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_reboot_that_is_still_due_follows_an_unchanged_file() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let root = tempfile::tempdir().unwrap();
    let mut device = device(&application, &broker, "LAMP", root.path());
    let quiet = SendOptions { reboot: false, ..impatient() };
    assert_eq!(application.report(send(&application, "LAMP", quiet)).outcome, Outcome::Installed);
    let report = application.report(send(&application, "LAMP", impatient()));
    assert_eq!(report.outcome, Outcome::Unchanged);
    let report = application.report(send(&application, "LAMP", impatient()));
    assert_eq!(report.outcome, Outcome::Unchanged);
    application.runtime.block_on(device.rebooted());
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(next(&application, &mut device));
    }
    let reboots = seen.iter().filter(|event| matches!(event, ReceiverEvent::Reboot)).count();
    assert_eq!(reboots, 1, "{seen:?}");
}

#[test]
fn what_a_killed_receiver_left_is_swept_away_by_the_next() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(".mqtt-ota")).unwrap();
    fs::write(root.path().join(".mqtt-ota/incoming-x"), "half").unwrap();
    let _device = device(&application, &broker, "LAMP", root.path());
    assert_eq!(litter(root.path()), [""; 0]);
}

#[test]
fn an_offer_is_never_retained_and_names_what_the_device_can_check() {
    let broker = Mosquitto::start();
    let application = Application::on(&broker);
    let device = RawDevice::join(&broker, "LAMP");
    let sending = send(&application, "LAMP", SendOptions { reboot: false, ..impatient() });
    let offer: RawOffer = device.offer();
    assert_eq!((offer.hash.len(), offer.reboot.as_deref(), offer.retained), (40, Some("0"), false));
    assert_eq!(offer.connect().read_to_end(), FILE);
    assert_eq!(application.report(sending).outcome, Outcome::Unconfirmed);

    device.announce_as("v=1|addr=127.0.0.1|hash=sha1,sha256");
    let sending = send(&application, "LAMP", impatient());
    let offer = device.offer();
    assert_eq!((offer.hash.len(), &offer.reboot, offer.host.as_str()), (64, &None, "127.0.0.1"));
    device.report("installed", &offer, "");
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
}
