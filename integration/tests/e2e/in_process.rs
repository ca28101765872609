//! A sender inside the process of the embedded broker, and devices that come to it over TCP.

use std::fs;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use mqtt_ota::{Config, FileSet, Outcome, Payload, Protocol, SendOptions, Sender, SyncOptions, Why};
use mqtt_ota_broker::{Broker, BrokerConfig, Connector, Credentials};
use mqtt_ota_integration::{Application, Endpoint, Interpreter, Receiver, SetDevice, files};
use tokio::runtime::Runtime;

const FILE: &[u8] = b"print('hello from the ceiling')\n";

/// The embedded broker in the test's process.
struct Inside {
    runtime: Runtime,
    broker: Broker,
    login: Option<(&'static str, &'static str)>,
}

impl Inside {
    fn with(login: Option<(&'static str, &'static str)>) -> Self {
        let credentials = login.map(|(user, password)| Credentials::new(user, password).unwrap());
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let runtime = Runtime::new().unwrap();
        let config = BrokerConfig { listen, credentials, ..BrokerConfig::default() };
        let broker = runtime.block_on(Application::guarded(Broker::start(config))).unwrap();
        Self { runtime, broker, login }
    }

    fn application(&self) -> Application {
        let connector = self.broker.connector();
        connected(mqtt_ota::Broker::in_process(move || ready(connector.connect())))
    }
}

impl Endpoint for Inside {
    fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    fn login(&self) -> Option<(&str, &str)> {
        self.login
    }
}

fn connected(broker: mqtt_ota::Broker) -> Application {
    let runtime = Runtime::new().unwrap();
    let sender = runtime.block_on(Application::guarded(Sender::connect(broker, Config::default())));
    Application { runtime, sender: Arc::new(sender.unwrap()) }
}

#[test]
fn a_sender_inside_updates_a_device_that_comes_with_a_password_by_tcp() {
    let broker = Inside::with(Some(("ann", "s3cret")));
    let root = tempfile::tempdir().unwrap();
    let _receiver = Receiver::start(&broker, "GATEWAY", root.path());
    let application = broker.application();
    assert_eq!(application.sender.protocol(), Protocol::V5);
    let sending = application.send(&Payload::from_bytes("main.py", FILE), "GATEWAY", SendOptions::default());
    let report = application.report(sending);
    assert_eq!(report.outcome, Outcome::Installed);
    assert_eq!(report.advertised.unwrap().why, Why::RouteToDevice(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), FILE);
}

#[test]
fn a_sender_inside_makes_a_folder_that_of_a_micropython_device() {
    let broker = Inside::with(None);
    let (root, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join("lib")).unwrap();
    fs::write(folder.path().join("main.py"), FILE).unwrap();
    fs::write(folder.path().join("lib/lamp.py"), "x = 1\n".repeat(700)).unwrap();
    let _device = SetDevice::boot(Interpreter::MicroPython, &broker, "NIGHTLAMP", root.path());
    let application = broker.application();
    let name = "NIGHTLAMP".parse().unwrap();
    let synced = application.runtime.block_on(Application::guarded(async {
        let set = FileSet::of_folder(folder.path()).await.unwrap();
        application.sender.sync(&set, &name, SyncOptions::default()).await
    }));
    assert_eq!(synced.unwrap().report.outcome, Outcome::Installed);
    assert_eq!(files(root.path()), files(folder.path()));
}

#[test]
fn a_sender_inside_comes_back_to_the_broker_that_took_the_place_of_its_own() {
    let first = Inside::with(None);
    let current: Arc<Mutex<Connector>> = Arc::new(Mutex::new(first.broker.connector()));
    let asked = Arc::clone(&current);
    let application = connected(mqtt_ota::Broker::in_process(move || ready(asked.lock().unwrap().connect())));
    first.runtime.block_on(first.broker.stop());

    let second = Inside::with(None);
    *current.lock().unwrap() = second.broker.connector();
    let root = tempfile::tempdir().unwrap();
    let _receiver = Receiver::start(&second, "GATEWAY", root.path());
    let sending = application.send(&Payload::from_bytes("main.py", FILE), "GATEWAY", SendOptions::default());
    assert_eq!(application.report(sending).outcome, Outcome::Installed);
}
