//! A device's name that is misspelt is answered with the right one.

use std::time::Duration;

use mqtt_ota_integration::{
    Client, EmbeddedBroker, Endpoint, Gate, House, Mosquitto, MqttOta, Passes, Scene, sized,
};

const GROUPS: [&str; 2] = ["--groups", "lamps=NIGHTLAMP,HALL"];

fn announce(broker: &impl Endpoint, name: &str) {
    Client::connect(broker, "announcer").publish_retained(&format!("{name}/OTA/device"), "v=1|set=-");
}

#[test]
fn a_misspelt_name_is_answered_with_the_right_one_within_a_second() {
    let scene = Scene::new();
    announce(&scene.broker, "NIGHTLAMP");
    scene.file("main.py", "x");
    for (wrong, right) in [("nightlamp", "NIGHTLAMP"), ("NIGHTLMAP", "NIGHTLAMP"), ("lamps", "@lamps")] {
        let question = format!("did you mean {right}?");
        let sent = scene.send("main.py", wrong).args(GROUPS).finish();
        sent.assert_status(1).assert_error("subscribed").assert_hint(&question);
        assert!(sent.elapsed < Duration::from_secs(1), "{sent:?}");
        for command in ["sync", "rollback"] {
            let folder = (command == "sync").then_some(".");
            let failed = scene.command(command).args(folder).args(["--to", wrong]).args(GROUPS).finish();
            failed.assert_status(1).assert_hint(&question);
        }
        let json = scene.send("main.py", wrong).args(GROUPS).arg("--json").finish();
        assert_eq!(json.result()["hint"], question);
    }
    // A name that is like no other is answered as ever, and so is one that is known and away.
    for name in ["BOILER", "NIGHTLAMP"] {
        let sent = scene.send("main.py", name).args(["--connect-timeout", "300ms"]).finish();
        sent.assert_status(1);
        assert!(!sent.stderr.contains("did you mean"), "{sent:?}");
    }
    let unknown = scene.send("main.py", "@lmaps").args(GROUPS).finish();
    unknown.assert_status(2).assert_hint("did you mean @lamps?");
}

#[test]
fn a_warning_about_the_file_does_not_hide_the_right_name() {
    let scene = Scene::new();
    announce(&scene.broker, "NIGHTLAMP");
    let file = scene.file("notes.txt", "<<<<<<< ours\n1\n=======\n2\n>>>>>>> theirs\n");
    let gate = Gate::to(&scene.broker, Passes::Mqtt311);
    let command = MqttOta::run("send").broker(&gate).arg(&file);
    let sent = command.args(["--to", "NIGHTLMAP", "--retries", "0", "--connect-timeout", "2s"]).finish();
    sent.assert_status(1).assert_mentions("merge conflict").assert_hint("did you mean NIGHTLAMP?");
}

#[test]
fn a_broker_that_does_not_say_who_is_subscribed_is_no_reason_to_wait_for_the_right_name() {
    let scene = Scene::new();
    announce(&scene.broker, "NIGHTLAMP");
    let file = scene.file("main.py", "x");
    let gate = Gate::to(&scene.broker, Passes::Mqtt311);
    let command = MqttOta::run("send").broker(&gate).arg(&file).args(["--to", "NIGHTLMAP", "--retries", "0"]);
    let (sending, _home) = command.args(["--connect-timeout", "3s"]).start();
    let started = std::time::Instant::now();
    sending
        .stderr()
        .wait_for("warning: NIGHTLMAP: no such device has announced itself; did you mean NIGHTLAMP?");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    sending.wait().assert_status(1).assert_error("nobody connected").assert_hint("did you mean NIGHTLAMP?");
}

#[test]
fn the_embedded_broker_is_no_slower_with_the_right_name() {
    let broker = EmbeddedBroker::start();
    announce(&broker, "NIGHTLAMP");
    let scene = Scene::with(broker);
    let file = scene.file("main.py", "x");
    let (sending, _home) = scene.send(file, "nightlamp").args(["--connect-timeout", "5s"]).start();
    let started = std::time::Instant::now();
    sending.stderr().wait_for("did you mean NIGHTLAMP?");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn among_ten_thousand_devices_the_right_name_is_found_as_well() {
    let scene = Scene::new();
    let client = Client::connect(&scene.broker, "announcer");
    let number_of_devices = sized(10_000, 500);
    for number in 0..number_of_devices {
        client.publish_retained(&format!("SENSOR-{number:05}/OTA/device"), "v=1");
    }
    announce(&scene.broker, "NIGHTLAMP");
    let sent = scene.send(scene.file("main.py", "x"), "NIGTHLAMP").finish();
    println!("the right name among {number_of_devices} in {:?}", sent.elapsed);
    sent.assert_status(1).assert_hint("did you mean NIGHTLAMP?");
}

#[test]
fn a_folder_and_a_canary_that_are_misspelt_are_answered_with_the_right_name() {
    let house = House::with(Mosquitto::start(), &[("NIGHTLMAP/main.py", "1"), ("HALL/main.py", "2")]);
    announce(&house.scene.broker, "NIGHTLAMP");
    announce(&house.scene.broker, "HALL");
    house.status().assert_mentions("did you mean NIGHTLAMP?");
    let json = house.scene.command("status").arg(house.folder()).arg("--json").finish().json_lines();
    let why = |name: &str| json.iter().find(|line| line["device"] == name).unwrap()["why"].clone();
    assert_eq!((why("NIGHTLMAP"), why("HALL")), ("did you mean NIGHTLAMP?".into(), serde_json::Value::Null));
    house.has("HALL/device.toml", "aliases = [\"HALL2\"]\n");
    let keeper = house.keeper(&["--canary", "hall,HALL2"]);
    keeper.says("--canary hall: there is no such folder in");
    assert!(!keeper.process.stderr().text().contains("--canary HALL2"));
}
