//! The fleet that tests and figures of many devices rest on: each of its devices has to be one of the protocol's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use mqtt_ota::Digest;
use mqtt_ota_integration::{
    Behaviour, Chaos, Client, Connections, EmbeddedBroker, Ending, Endpoint, Fleet, FleetDevice,
    FleetSettings, Mosquitto, MqttOta, Rhythm, Scene, free_port, noise,
};
use sha2::{Digest as _, Sha256};

/// A device that sleeps until a test wakes it.
const HOUR: Duration = Duration::from_secs(3600);

/// A scene with a folder of two files below it.
fn scene<B: Endpoint>(broker: B) -> Scene<B> {
    let scene = Scene::with(broker);
    std::fs::create_dir_all(scene.folder().join("src/lib")).unwrap();
    scene.file("src/main.py", "VERSION = 1\n");
    scene.file("src/lib/data.bin", noise(1, 400_000));
    scene
}

/// `mqtt-ota sync src --to LAMP00000 --json`, about to be run.
fn sync<B: Endpoint>(scene: &Scene<B>) -> MqttOta {
    scene.command("sync").args(["src", "--to", "LAMP00000", "--json"])
}

fn one(broker: &impl Endpoint, behaviour: Behaviour) -> Fleet {
    Fleet::with(broker, FleetSettings::default(), vec![behaviour])
}

fn digest(result: &serde_json::Value) -> Digest {
    result["hash"].as_str().unwrap().parse().unwrap()
}

/// `count` devices that share so many connections.
fn sharing(broker: &impl Endpoint, connections: usize, behaviour: Behaviour, count: usize) -> Fleet {
    let settings =
        FleetSettings { connections: Connections::Shared(connections), ..FleetSettings::default() };
    Fleet::with(broker, settings, vec![behaviour; count])
}

fn takes_a_folder<B: Endpoint>(broker: B, start: impl FnOnce(&B, usize) -> Fleet) {
    let scene = scene(broker);
    let fleet = start(&scene.broker, 3);
    let first = sync(&scene).arg("--wait-boot").finish().assert_status(0).result();
    assert_eq!((&first["outcome"], &first["fetched"]), (&"installed".into(), &2.into()));
    let again = sync(&scene).arg("--wait-boot").finish().assert_status(0).result();
    assert_eq!(again["outcome"], "unchanged");

    let set = digest(&first);
    fleet.wait_until("one device runs the set", |devices| devices[0].runs(set).then_some(()));
    let device = fleet.device(0);
    assert_eq!((device.reboots[&set], device.all_reboots(), device.files.len()), (1, 1, 2));
    assert!(device.received > 400_000 && device.failures.is_empty(), "{device:?}");
    assert!(fleet.look(|devices| devices[1..].iter().all(|other| other.offers == 0 && other.set.is_none())));

    scene.file("src/main.py", "VERSION = 2\n");
    let changed = sync(&scene).arg("--wait-boot").finish().assert_status(0).result();
    assert_eq!((&changed["outcome"], &changed["fetched"]), (&"installed".into(), &1.into()));
    fleet.wait_until_all("at most one set further", |device| device.all_reboots() != 1);
}

#[test]
fn a_device_takes_a_folder_once_and_then_what_changed() {
    takes_a_folder(Mosquitto::start(), Fleet::start);
}

#[test]
fn a_device_takes_a_folder_with_the_embedded_broker_too() {
    takes_a_folder(EmbeddedBroker::start(), Fleet::start);
}

#[test]
fn a_device_that_shares_its_connection_takes_a_folder_as_well() {
    takes_a_folder(Mosquitto::start(), |broker, count| sharing(broker, 2, Behaviour::default(), count));
}

#[test]
fn a_device_that_shares_its_connection_takes_a_folder_with_the_embedded_broker_too() {
    takes_a_folder(EmbeddedBroker::start(), |broker, count| sharing(broker, 2, Behaviour::default(), count));
}

#[test]
fn a_plain_device_takes_a_file_and_is_not_offered_a_set() {
    let scene = scene(Mosquitto::start());
    let fleet = one(&scene.broker, Behaviour { is_plain: true, ..Behaviour::default() });
    let send = || scene.send("src/main.py", "LAMP00000").args(["--json", "--wait-boot"]).finish();
    assert_eq!(send().assert_status(0).result()["outcome"], "installed");
    assert_eq!(send().assert_status(0).result()["outcome"], "unchanged");
    assert_eq!(fleet.device(0).all_reboots(), 1);
    sync(&scene).finish().assert_status(1);
}

#[test]
fn a_device_with_sets_takes_a_single_file() {
    let scene = scene(Mosquitto::start());
    let fleet = Fleet::start(&scene.broker, 1);
    let sent = scene.send("src/lib/data.bin", "LAMP00000").args(["--json", "--wait-boot"]).finish();
    assert_eq!(sent.assert_status(0).result()["outcome"], "installed");
    let device = fleet.device(0);
    assert_eq!((device.files.len(), device.all_reboots(), device.set), (1, 1, None));
}

#[test]
fn a_device_that_sleeps_is_not_subscribed_and_takes_the_folder_once_it_is_awake() {
    let scene = scene(Mosquitto::start());
    let rhythm = Rhythm::Sleeps { period: HOUR, awake: HOUR, is_cut: false };
    let fleet = one(&scene.broker, Behaviour { rhythm, ..Behaviour::default() });
    fleet.wait_until_all("asleep", |device| !device.is_online);
    let asleep = sync(&scene).finish().assert_status(1).result();
    assert_eq!(asleep["outcome"], "not-subscribed");
    assert_eq!(fleet.device(0).offers, 0);

    fleet.wake(0);
    fleet.wait_until_all("awake", |device| device.is_online);
    let set = digest(&sync(&scene).arg("--wait-boot").finish().assert_status(0).result());
    fleet.wait_until_all("at the set", |device| device.runs(set));
}

#[test]
fn an_offer_to_a_device_that_sleeps_behind_a_shared_connection_is_lost() {
    let broker = Mosquitto::start();
    let rhythm = Rhythm::Sleeps { period: HOUR, awake: HOUR, is_cut: false };
    let fleet = sharing(&broker, 1, Behaviour { rhythm, ..Behaviour::default() }, 2);
    fleet.wait_until_all("asleep", |device| !device.is_online);
    fleet.wake(1);
    fleet.wait_until("one awake", |devices| devices[1].is_online.then_some(()));
    let client = Client::connect(&broker, "sender");
    client.publish("LAMP00000/OTA", "||lost").publish("LAMP00001/OTA", "||heard");
    fleet.wait_until("one told", |devices| (devices[1].offers == 1).then_some(()));
    fleet.wake(0);
    fleet.wait_until_all("awake", |device| device.is_online);
    client.subscribe("LAMP00000/OTA/status").publish("LAMP00000/OTA", "||heard");
    assert!(client.next().text().starts_with("failed|heard|"));
    assert_eq!(fleet.device(0).offers, 1);
}

fn hears_every_offer_once_at_each_boot(start: impl FnOnce(&Mosquitto) -> Fleet) {
    let mut broker = Mosquitto::start();
    let fleet = start(&broker);
    let offer_to_all = |broker: &Mosquitto, boots: u32| {
        let client = Client::connect(broker, "sender");
        for name in fleet.names() {
            client.publish(&name.offer_topic(), "no offer");
        }
        let is_so = |device: &FleetDevice| (device.announcements, device.offers) == (boots, boots);
        fleet.wait_until_all("told once at each boot", is_so);
    };
    offer_to_all(&broker, 1);
    (0..fleet.names().len()).for_each(|index| fleet.cut(index));
    fleet.wait_until_all("announced anew", |device| device.announcements == 2);
    offer_to_all(&broker, 2);
    broker.stop();
    fleet.wait_until_all("lost", |device| !device.is_online);
    broker.start_again();
    fleet.wait_until_all("back", |device| device.is_online);
    offer_to_all(&broker, 3);
}

#[test]
fn devices_hear_every_offer_once_at_each_boot_and_with_each_broker() {
    hears_every_offer_once_at_each_boot(|broker| Fleet::start(broker, 300));
}

#[test]
fn devices_that_share_connections_hear_every_offer_once_at_each_boot_and_with_each_broker() {
    hears_every_offer_once_at_each_boot(|broker| sharing(broker, 2, Behaviour::default(), 300));
}

#[test]
fn devices_that_sleep_wake_again_and_again_and_not_all_at_once() {
    let broker = Mosquitto::start();
    let rhythm = Rhythm::Sleeps {
        period: Duration::from_millis(500),
        awake: Duration::from_millis(50),
        is_cut: false,
    };
    let behaviours = vec![Behaviour { rhythm, ..Behaviour::default() }; 20];
    let fleet = Fleet::with(
        &broker,
        FleetSettings { prefix: "CLOCK".to_owned(), seed: 7, ..FleetSettings::default() },
        behaviours,
    );
    assert_eq!(fleet.names()[19].as_str(), "CLOCK00019");
    fleet.wait_until("some asleep and some not", |devices| {
        let awake = devices.iter().filter(|device| device.is_online).count();
        (1..20).contains(&awake).then_some(())
    });
    fleet.wait_until_all("awake for the third time", |device| device.announcements >= 3);
}

#[test]
fn a_device_whose_set_does_not_fit_says_so() {
    let scene = scene(Mosquitto::start());
    let fleet = one(&scene.broker, Behaviour { ending: Ending::NoSpace, ..Behaviour::default() });
    sync(&scene).finish().assert_status(1).assert_error("4096 bytes needed");
    assert!(fleet.device(0).failures[0].starts_with("no-space "));
}

#[test]
fn a_device_that_takes_back_announces_what_and_why() {
    let scene = scene(Mosquitto::start());
    let fleet = one(&scene.broker, Behaviour { ending: Ending::RollsBack, ..Behaviour::default() });
    let result = sync(&scene).arg("--wait-boot").finish().assert_status(1).result();
    assert_eq!(result["outcome"], "rolled-back");
    fleet.wait_until_all("back", |device| device.is_online);
    let device = fleet.device(0);
    assert_eq!((device.set, device.rolled_back, device.files.len()), (None, Some(digest(&result)), 0));
}

#[test]
fn a_device_whose_power_is_cut_goes_on_where_it_was() {
    let scene = scene(Mosquitto::start());
    let fleet = Fleet::start(&scene.broker, 1);
    let port = free_port();
    let link = Chaos::that_stalls(port, 200_000);
    let listen = format!("127.0.0.1:{port}");
    let (sending, _home) =
        sync(&scene).args(["--wait-boot", "--listen", &listen, "--advertise", &link.advertised()]).start();
    fleet.wait_until_all("in the middle", |device| device.received >= 200_000);
    fleet.cut(0);
    let synced = sending.wait();
    assert_eq!(synced.assert_status(0).result()["outcome"], "installed");
    assert!(fleet.device(0).received < 410_000, "it did not begin anew: {synced:?}");
}

/// Reads a request's line.
fn request(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_battery_that_ends_cuts_a_transfer_and_the_next_wake_goes_on_where_it_was() {
    let broker = Mosquitto::start();
    let rhythm = Rhythm::Sleeps { period: HOUR, awake: Duration::from_secs(1), is_cut: true };
    let fleet = one(&broker, Behaviour { rhythm, ..Behaviour::default() });
    let sha256 =
        |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect() };
    let file = noise(1, 1000);
    let manifest = format!("{} 1000 main.py\n", sha256(&file));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let id = "0123456789abcdef";
    let set = sha256(manifest.as_bytes());
    let offer = format!("127.0.0.1|{port}|set|{set}|1|id={id}|size={}|set=1", manifest.len());

    let client = Client::connect(&broker, "sender");
    client.subscribe("LAMP00000/OTA/device").next();
    let offer_when_awake = || {
        fleet.wait_until_all("asleep", |device| !device.is_online);
        fleet.wake(0);
        client.next();
        client.publish("LAMP00000/OTA", offer.as_str());
        listener.accept().unwrap().0
    };
    let mut stream = offer_when_awake();
    assert_eq!(request(&stream), format!("{id} 0- 0\n"));
    stream.write_all(manifest.as_bytes()).unwrap();
    stream.write_all(&file[..600]).unwrap();
    fleet.wait_until_all("cut", |device| device.received >= 600);

    let mut stream = offer_when_awake();
    assert_eq!(request(&stream), format!("{id} 1-1 600\n"));
    stream.write_all(&file[600..]).unwrap();
    fleet.wait_until_all("at the set", |device| device.runs(set.parse().unwrap()));
    assert_eq!(fleet.device(0).all_reboots(), 1);
}

#[test]
fn a_second_offer_waits_for_the_first_and_the_same_one_does_not_reboot_twice() {
    let broker = Mosquitto::start();
    let fleet = Fleet::start(&broker, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest = format!("{empty} 0 main.py\n");
    let set: String = Sha256::digest(&manifest).iter().map(|b| format!("{b:02x}")).collect();
    let size = manifest.len();
    let id = "0123456789abcdef";
    let offer = |hash: &str| format!("127.0.0.1|{port}|set|{hash}|1|id={id}|size={size}|set=1");

    let client = Client::connect(&broker, "sender");
    client.subscribe("LAMP00000/OTA/status");
    client.publish("LAMP00000/OTA", offer(&set));
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(client.next().text(), format!("receiving|set|{set}|{id}"));
    client.publish("LAMP00000/OTA", offer(&set)).publish("LAMP00000/OTA", offer(empty));
    fleet.wait_until_all("told", |device| device.offers == 3);
    stream.write_all(manifest.as_bytes()).unwrap();
    assert_eq!(client.next().text(), format!("installed|set|{set}|"));
    assert_eq!(client.next().text(), format!("installed|set|{set}|unchanged"));
    assert_eq!(client.next().text(), format!("failed|set|{empty}|busy a set is on trial"));
    fleet.wait_until_all("at the set", |device| device.runs(set.parse().unwrap()));
    assert_eq!((fleet.device(0).all_reboots(), fleet.device(0).failures.len()), (1, 1));
}
