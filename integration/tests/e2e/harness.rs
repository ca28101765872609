//! The harness itself: what the other tests rest on has to be true.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use mqtt_ota_integration::{
    Authority, Client, Endpoint, Feeder, GUARD, Gate, Mosquitto, OriginalDevice, Passes, RawDevice, Settings,
    Step, sha1_hex,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

/// A CONNECT packet of protocol `level`, for the client `t`, without a login.
fn connect_packet(level: u8) -> Vec<u8> {
    let properties: &[u8] = if level >= 5 { &[0] } else { &[] };
    let body = [b"\x00\x04MQTT".as_slice(), &[level, 2, 0, 60], properties, b"\x00\x01t"].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

/// What a broker answers to a CONNECT packet, up to four bytes.
fn answer(broker: &impl Endpoint, level: u8) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream.write_all(&connect_packet(level)).unwrap();
    let mut answer = Vec::new();
    stream.take(4).read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn a_mosquitto_takes_both_protocols_and_remembers_what_is_retained() {
    let broker = Mosquitto::start();
    assert_eq!(answer(&broker, 4), [0x20, 2, 0, 0]);
    assert_eq!(answer(&broker, 5)[3], 0);

    Client::connect(&broker, "one").publish_retained("a/b", "kept").publish("a/b", "gone");
    let other = Client::connect(&broker, "two");
    let message = other.subscribe("a/+").next();
    assert_eq!((message.text().as_str(), message.retained), ("kept", true));
}

#[test]
fn a_mosquitto_with_a_login_refuses_everybody_else() {
    let broker = Mosquitto::with(Settings { login: Some(("ann", "secret")), ..Settings::default() });
    assert_eq!(answer(&broker, 4), [0x20, 2, 0, 5]);
    Client::connect(&broker, "ann").subscribe("a").publish("a", "b");
}

#[test]
fn a_mosquitto_with_rules_keeps_to_them() {
    let access = vec!["topic read #", "topic write allowed"];
    let broker = Mosquitto::with(Settings { access, ..Settings::default() });
    let client = Client::connect(&broker, "one");
    client.subscribe("#").publish("denied", "x").publish("allowed", "y");
    assert_eq!(client.next().topic, "allowed");
}

#[test]
fn a_mosquitto_with_tls_is_trusted_by_who_trusts_its_authority() {
    let broker = Mosquitto::with(Settings { tls: Some(Authority::new()), ..Settings::default() });
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(broker.ca_file()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();

    let mut tls = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
    let mut tcp = TcpStream::connect(broker.tls_address()).unwrap();
    let mut stream = Stream::new(&mut tls, &mut tcp);
    stream.write_all(&connect_packet(4)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

#[test]
fn a_mosquitto_that_was_stopped_starts_again_at_the_same_address() {
    let mut broker = Mosquitto::start();
    let address = broker.address();
    broker.stop();
    TcpStream::connect(address).unwrap_err();
    broker.start_again();
    assert_eq!(broker.address(), address);
    assert_eq!(answer(&broker, 4), [0x20, 2, 0, 0]);
}

#[test]
fn a_gate_makes_a_broker_of_3_1_1() {
    let broker = Mosquitto::start();
    let gate = Gate::to(&broker, Passes::Mqtt311);
    assert_eq!(answer(&gate, 5), [0x20, 2, 0, 1]);
    assert_eq!(answer(&gate, 4), [0x20, 2, 0, 0]);

    let silent = Gate::to(&broker, Passes::Mqtt311OrSilence);
    assert!(answer(&silent, 5).is_empty());
    assert_eq!(answer(&silent, 4), [0x20, 2, 0, 0]);
}

#[test]
fn a_gate_that_is_cut_closes_connections_until_it_is_opened() {
    let broker = Mosquitto::start();
    let mut gate = Gate::to(&broker, Passes::All);
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.write_all(&connect_packet(4)).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();

    gate.cut();
    assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    TcpStream::connect(gate.address()).unwrap_err();

    gate.open();
    assert_eq!(answer(&gate, 4), [0x20, 2, 0, 0]);
}

#[test]
fn a_raw_device_sees_an_offer_and_can_take_it() {
    let broker = Mosquitto::start();
    let device = RawDevice::join(&broker, "NIGHTLAMP");
    let (sender, feeder) = (Client::connect(&broker, "sender"), Feeder::listen());
    device.announce();
    sender.subscribe("NIGHTLAMP/OTA/status").publish("NIGHTLAMP/OTA", feeder.offer("main.py", b"x = 1\n"));

    let offer = device.offer();
    assert_eq!((offer.file.as_str(), offer.reboot.as_deref(), offer.retained), ("main.py", None, false));
    device.report("receiving", &offer, "");
    let mut link = offer.connect();
    feeder.serve(b"x = 1\n");
    assert_eq!(sha1_hex(&link.read_to_end()), offer.hash);
    assert_eq!(sender.next().text(), format!("receiving|main.py|{}|", offer.hash));
}

#[test]
fn an_original_device_installs_four_fields_and_boots() {
    let broker = Mosquitto::start();
    let root = tempfile::tempdir().unwrap();
    let device = OriginalDevice::boot(&broker, "HEATER", root.path());
    let (sender, feeder) = (Client::connect(&broker, "sender"), Feeder::listen());
    let file = vec![7; 3000];

    sender.publish("HEATER/OTA", "too short");
    assert_eq!(device.next_step(), Step::Ignored);

    sender.publish("HEATER/OTA", feeder.offer("main.py", &file));
    feeder.serve(&file);
    assert_eq!(device.next_step(), Step::Installed("main.py".to_owned()));
    assert_eq!(device.next_step(), Step::Booted);
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), file);

    sender.publish("HEATER/OTA", feeder.offer("main.py", b"new") + "|0");
    feeder.serve(b"other");
    assert_eq!(device.next_step(), Step::Mismatched);
    assert_eq!(fs::read(root.path().join("main.py")).unwrap(), file);

    sender.publish("HEATER/OTA", format!("127.0.0.1|1|main.py|{}", sha1_hex(b"")));
    assert_eq!(device.next_step(), Step::Crashed);
    assert_eq!(device.next_step(), Step::Booted);
}
