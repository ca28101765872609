//! Orders of events that a keeper has to stand: devices that a test drives step by step.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use mqtt_ota_integration::{Client, EmbeddedBroker, Gate, House, Mosquitto, Passes, RawDevice, RawOffer};

const NOTHING: &str = "v=1|hash=sha256|addr=127.0.0.1|set=-";

#[test]
fn the_others_wait_as_long_as_the_canary_has_its_set_on_trial() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1"), ("HALL/main.py", "1")]);
    let (lamp, hall) = (house.device("LAMP", NOTHING), house.device("HALL", NOTHING));
    let keeper = house.keeper(&["--canary", "LAMP"]);
    let offer = lamp.offer();
    lamp.report("installed", &offer, "");
    lamp.announce_as(&format!("v=1|hash=sha256|set={}|boots=1", offer.hash));
    lamp.announce_as(&format!("{NOTHING}|rolled-back={}", offer.hash));
    keeper.says("a device that goes first has failed");
    hall.assert_no_offer();
}

#[test]
fn the_others_wait_while_nobody_can_tell_what_the_canary_is_to_have() {
    let house = House::with(
        Mosquitto::start(),
        &[("LAMP/main.py", "1"), ("LAMP/device.toml", "groups = [\"first\""), ("HALL/main.py", "1")],
    );
    for canary in ["LAMP", "@first"] {
        let (lamp, hall) = (house.device("LAMP", NOTHING), house.device("HALL", NOTHING));
        let keeper = house.keeper(&["--canary", canary]);
        keeper.says("the others wait");
        house.has("LAMP/device.toml", "groups = [\"first\"]");
        lamp.offer();
        hall.assert_no_offer();
        house.has("LAMP/device.toml", "groups = [\"first\"");
    }
}

#[test]
fn the_others_wait_for_one_that_has_no_folder_and_for_a_group_that_nobody_is_in() {
    let house = House::with(Mosquitto::start(), &[("HALL/main.py", "1")]);
    house.has("HALL/device.toml", "groups = [\"firsts\"]");
    for (canary, settings, why) in [
        ("LAMP", "", "LAMP is to go first, and there is no such folder"),
        ("@first", "groups = [\"first\"]", "groups in use: firsts"),
    ] {
        let (lamp, hall) = (house.device("LAMP", NOTHING), house.device("HALL", NOTHING));
        let keeper = house.keeper(&["--canary", canary]);
        keeper.says(why);
        hall.assert_no_offer();
        house.has("LAMP/device.toml", settings);
        house.has("LAMP/main.py", "1");
        let offer = lamp.offer();
        hall.assert_no_offer();
        lamp.report("installed", &offer, "");
        lamp.announce_as(&format!("v=1|hash=sha256|set={}", offer.hash));
        hall.offer();
        fs::remove_dir_all(house.folder().join("LAMP")).unwrap();
    }
}

#[test]
fn a_device_that_was_left_alone_is_so_after_a_restart_whatever_its_hash_function() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1"), ("HALL/main.py", "1")]);
    let memories = Client::connect(&house.scene.broker, "memories");
    memories.subscribe("LAMP/OTA/keeper");
    let lamp = house.device("LAMP", "v=1|hash=sha1|addr=127.0.0.1|set=-");
    let keeper = house.keeper(&[]);
    let offer = lamp.offer();
    lamp.report("failed", &offer, "no-space 9 bytes needed");
    while !memories.next().text().contains("state=left-alone") {}
    keeper.process.kill();
    let hall = house.device("HALL", "v=1|hash=sha1|addr=127.0.0.1|set=-");
    let _keeper = house.keeper(&[]);
    hall.offer();
    lamp.assert_no_offer();
}

#[test]
fn a_device_that_came_while_the_keeper_was_cut_off_is_given_its_files() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1")]);
    let listener = Client::connect(&house.scene.broker, "listener");
    listener.publish_retained("LAMP/OTA/device", NOTHING);
    let mut gate = Gate::to(&house.scene.broker, Passes::All);
    let keeper = house.keeper_at(&gate, &[]);
    keeper.says("when it announces itself");
    gate.cut();
    keeper.says("connecting again");
    let lamp = house.device("LAMP", NOTHING);
    gate.open();
    lamp.offer();
}

#[test]
fn a_device_that_gets_further_each_time_is_not_left_alone_whoever_breaks_off() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", &"x".repeat(30_000_000))]);
    let lamp = house.device("LAMP", NOTHING);
    let _keeper = house.keeper(&["--give-up-after", "2"]);
    let mut last = String::new();
    for round in 1..5 {
        // One that is heard to announce itself is told again what it is offered.
        let offer = loop {
            let offer = lamp.offer();
            if offer.text != last {
                break offer;
            }
        };
        last.clone_from(&offer.text);
        let id = offer.text.split('|').find_map(|field| field.strip_prefix("id=")).unwrap().to_owned();
        let mut link = offer.connect();
        link.write(format!("{id} 1- 0\n").as_bytes());
        link.read(round * 5_000_000);
        lamp.report("failed", &offer, "timeout no further bytes");
        drop(link);
        lamp.announce_as(NOTHING);
    }
}

#[test]
fn who_announces_itself_does_not_wait_for_those_that_sleep() {
    let names: Vec<_> = (0..40).map(|number| format!("SLEEPER{number}")).collect();
    let house = House::with(EmbeddedBroker::start(), &[("LAMP/main.py", "1")]);
    let listener = Client::connect(&house.scene.broker, "listener");
    for name in &names {
        house.has(&format!("{name}/main.py"), "1");
        listener.publish_retained(&format!("{name}/OTA/device"), NOTHING);
    }
    let keeper = house.keeper(&[]);
    keeper
        .process
        .stderr()
        .wait_until("all slots taken", |text| (text.matches("sending set").count() >= 16).then_some(()));
    let lamp = RawDevice::join(&house.scene.broker, "LAMP");
    let started = Instant::now();
    lamp.announce_as(NOTHING);
    lamp.offer();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn what_hinders_a_delivery_on_this_side_is_said_once_and_stops_nothing() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1")]);
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let listen = taken.local_addr().unwrap().port().to_string();
    let lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&["-vv", "--listen", &listen, "--stop-after", "1"]);
    keeper.says("not sent: ");
    lamp.announce_as(NOTHING);
    keeper.says("still not sent: ");
    drop(taken);
    lamp.announce_as(NOTHING);
    lamp.offer();
    let text = keeper.process.stderr().text();
    assert_eq!(text.matches(" not sent: ").count() - text.matches(" still not sent: ").count(), 1, "{text}");
    assert_eq!(text.matches(" files, ").count() + text.matches(" file, ").count(), 1, "{text}");
    assert!(!text.contains("which is too many"), "{text}");
}

/// The id of an extended offer.
fn id(offer: &RawOffer) -> &str {
    offer.text.split('|').find_map(|field| field.strip_prefix("id=")).unwrap()
}

#[test]
fn what_a_device_answers_to_somebody_elses_offer_is_no_answer_to_the_keepers() {
    let house = House::with(Mosquitto::start(), &[("LAMP/main.py", "1")]);
    let lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&[]);
    let kept = lamp.offer();
    // The same set, by hand.
    let sync = house.scene.command("sync").arg(house.folder().join("LAMP")).args(["--to", "LAMP"]);
    let (sync, _home) = sync.args(["--retries", "0"]).start();
    let synced = lamp.offer();
    assert_eq!(kept.hash, synced.hash);
    assert_ne!(id(&kept), id(&synced));
    lamp.report("failed", &synced, &format!("no-space 9 bytes needed id={}", id(&synced)));
    sync.wait().assert_status(1).assert_mentions("no-space");
    lamp.report("installed", &kept, &format!("id={}", id(&kept)));
    lamp.announce_as(&format!("v=1|hash=sha256|set={}", kept.hash));
    keeper.says("LAMP: back online with its set");
    let text = keeper.process.stderr().text();
    assert!(!text.contains("no-space"), "{text}");
}
