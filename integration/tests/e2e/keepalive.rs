//! A device that nobody speaks to, and a broker that no longer answers it: real umqtt, which by itself neither pings nor
//! notices.

use std::path::Path;
use std::time::Duration;

use mqtt_ota_integration::{Authority, Client, DemoDevice, Endpoint, Mosquitto, Settings, thorough};
use tempfile::TempDir;

/// Each device's client, and the method that its application calls over and over.
const DEVICES: [(&str, &str); 5] = [
    ("simple", "check_msg"),
    ("simple", "wait_msg"),
    ("robust", "check_msg"),
    ("robust", "wait_msg"),
    ("simple2", "check_msg"),
];

struct Idle {
    name: String,
    device: DemoDevice,
    _root: TempDir,
}

impl Idle {
    fn boot(broker: &Mosquitto, client: &str, receive: &str, keepalive: &str, is_tls: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let name = format!("{client}-{receive}{}", if is_tls { "-tls" } else { "" });
        let port = if is_tls { broker.tls_address() } else { broker.address() }.port().to_string();
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropython-client");
        let folder = root.path().to_str().unwrap();
        let arguments = [folder, &name, "127.0.0.1", &port, client, keepalive, receive];
        let arguments = arguments.into_iter().chain(is_tls.then_some("tls"));
        let device = DemoDevice::boot_application("idle.py", &modules, arguments);
        Self { name, device, _root: root }
    }

    fn wait_for(&self, words: &str) {
        self.device.process().stdout().wait_for(words);
    }
}

#[test]
fn a_device_that_is_left_idle_stays_connected_whatever_its_keepalive() {
    // A broker drops a client that it has not heard for one and a half times its keepalive.
    let (keepalive, idle) = if thorough() { ("4", 60) } else { ("1", 12) };
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let listener = Client::connect(&broker, "listener");
    listener.subscribe("+/OTA/device");
    let plain = DEVICES.map(|(client, receive)| Idle::boot(&broker, client, receive, keepalive, false));
    let tls =
        ["check_msg", "wait_msg"].map(|receive| Idle::boot(&broker, "simple", receive, keepalive, true));
    let devices: Vec<_> = plain.into_iter().chain(tls).collect();
    for _ in &devices {
        listener.next();
    }
    // Nothing is published by anybody. A device that had connected again would announce itself.
    assert_eq!(listener.hears_nothing_for(Duration::from_secs(idle)), None);
    for device in &devices {
        listener.publish(&device.name, "are you there");
        device.wait_for("are you there");
        let printed = device.device.process().stdout().text();
        assert!(!printed.contains("lost") && !printed.contains("OSError"), "{}: {printed}", device.name);
    }
}

#[test]
fn a_broker_that_answers_no_ping_is_a_lost_connection() {
    let broker = Mosquitto::start();
    let listener = Client::connect(&broker, "listener");
    listener.subscribe("+/OTA/device");
    let devices = DEVICES.map(|(client, receive)| Idle::boot(&broker, client, receive, "1", false));
    for _ in &devices {
        listener.next();
    }
    // Its sockets stay open, and take what is written.
    broker.process().freeze();
    for device in &devices {
        // What umqtt.robust says when it connects again, and what the application with umqtt.simple says.
        device.wait_for(if device.name.starts_with("simple") { "lost: " } else { "mqtt: OSError" });
    }
    broker.process().thaw();
    for _ in &devices {
        listener.next();
    }
}
