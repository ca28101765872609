//! What a keeper does that the broker's access list does not let do everything.

use std::time::Duration;

use mqtt_ota_integration::{Client, Endpoint, Gate, House, Mosquitto, MqttOta, Passes, Settings};

const NOTHING: &str = "v=1|hash=sha256|addr=127.0.0.1|set=-";

/// A broker whose only user has these rights, and a folder for one device.
fn house(rights: &[&'static str]) -> House {
    let access = [&["user keeper"], rights].concat();
    let login = Some(("keeper", "secret"));
    House::with(Mosquitto::with(Settings { access, login, ..Settings::default() }), &[("LAMP/main.py", "1")])
}

/// Everything that a device and a keeper do, but for what is tried.
const DEVICES: [&str; 3] =
    ["topic readwrite +/OTA", "topic readwrite +/OTA/device", "topic readwrite +/OTA/status"];

#[test]
fn a_keeper_with_all_rights_works_and_warns_of_nothing() {
    let rights = ["topic readwrite +/OTA/keeper", "topic readwrite mqtt-ota/keeper/+"];
    let house = house(&[DEVICES.as_slice(), &rights].concat());
    let lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&[]);
    let offer = lamp.offer();
    lamp.report("installed", &offer, "");
    lamp.announce_as(&format!("v=1|hash=sha256|set={}", offer.hash));
    keeper.says("LAMP: back online with its set");
    let text = keeper.process.stderr().text();
    assert!(!text.contains("warning:"), "{text}");
}

#[test]
fn a_keeper_that_may_not_say_that_it_is_at_work_ends_and_says_what_it_needs() {
    let house = house(&[DEVICES.as_slice(), &["topic readwrite +/OTA/keeper"]].concat());
    let gate = Gate::to(&house.scene.broker, Passes::Mqtt311);
    let ways = [("MQTT 5", house.scene.broker.url()), ("MQTT 3.1.1, which does not tell", gate.url())];
    let running = ways.map(|(what, url)| {
        let keep = MqttOta::run("keep").broker(&house.scene.broker).env("MQTT_OTA_BROKER", url);
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("LAMP")).unwrap();
        std::fs::write(copy.path().join("LAMP/main.py"), "1").unwrap();
        (what, keep.arg(copy.path()).args(["--name", "home"]).start(), copy)
    });
    for (what, (process, _home), _copy) in running {
        let ended = process.wait();
        println!("{what}: {:?}", ended.elapsed);
        ended.assert_status(1).assert_error("mqtt-ota/keeper/home").assert_hint("topic");
        assert!(ended.stderr.lines().count() < 6, "{ended:?}");
    }
}

#[test]
fn a_keeper_that_may_not_note_anything_says_so_once_and_works() {
    let house = house(&[DEVICES.as_slice(), &["topic readwrite mqtt-ota/keeper/+"]].concat());
    for passes in [Passes::All, Passes::Mqtt311] {
        let gate = Gate::to(&house.scene.broker, passes);
        let lamp = house.device("LAMP", NOTHING);
        let keeper =
            house.keeper_at(&gate, &["--name", if passes == Passes::All { "five" } else { "three" }]);
        let offer = lamp.offer();
        lamp.report("installed", &offer, "");
        keeper.says("`topic readwrite +/OTA/keeper`");
        lamp.announce_as(&format!("v=1|hash=sha256|set={}", offer.hash));
        keeper.says("LAMP: back online with its set");
        let text = keeper.process.stderr().text();
        assert_eq!(text.matches("`topic readwrite +/OTA/keeper`").count(), 1, "{text}");
    }
}

#[test]
fn a_keeper_that_may_not_offer_says_so_once_and_tries_ever_more_slowly() {
    let rights = ["topic read +/OTA", "topic readwrite +/OTA/device", "topic readwrite +/OTA/status"];
    let more = ["topic readwrite +/OTA/keeper", "topic readwrite mqtt-ota/keeper/+"];
    let house = house(&[rights.as_slice(), &more].concat());
    let lamp = house.device("LAMP", NOTHING);
    let keeper = house.keeper(&["-vv"]);
    keeper.says("not sent: the broker does not allow to publish to LAMP/OTA");
    lamp.announce_as(NOTHING);
    keeper.says("still not sent: ");
    let text = keeper.process.stderr().text();
    let warnings = text.lines().filter(|line| line.contains("warning:")).count();
    assert_eq!(warnings, 1, "{text}");
}

#[test]
fn a_keeper_that_hears_of_no_device_says_what_may_be_why() {
    let rights = ["topic readwrite +/OTA", "topic write +/OTA/device", "topic readwrite +/OTA/status"];
    let more = ["topic readwrite +/OTA/keeper", "topic readwrite mqtt-ota/keeper/+"];
    let house = house(&[rights.as_slice(), &more].concat());
    let _lamp = house.device("LAMP", NOTHING);
    house.keeper(&[]).says("`topic read +/OTA/device`");
}

#[test]
fn a_keeper_that_hears_of_no_device_leaves_what_another_one_has_noted() {
    let rights = ["topic readwrite +/OTA", "topic write +/OTA/device", "topic readwrite +/OTA/status"];
    let more = ["topic readwrite +/OTA/keeper", "topic readwrite mqtt-ota/keeper/+"];
    let house = house(&[rights.as_slice(), &more].concat());
    let memories = Client::connect(&house.scene.broker, "memories");
    let lamp = house.device("LAMP", NOTHING);
    let noted = format!("v=1|state=kept|set={}|since=1|keeper=devices", "1".repeat(64));
    memories.publish_retained("LAMP/OTA/keeper", noted.as_str());
    memories.subscribe("LAMP/OTA/keeper");
    assert_eq!(memories.next().text(), noted);
    let keeper = house.keeper(&[]);
    keeper.says("at work").says("`topic read +/OTA/device`");
    house.has("LAMP/main.py", "2");
    house.has("LAMP/device.toml", "hold = true");
    lamp.announce_as(NOTHING);
    house.status();
    assert_eq!(memories.hears_nothing_for(Duration::from_secs(1)).map(|message| message.text()), None);
}
