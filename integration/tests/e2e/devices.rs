//! `mqtt-ota devices`: who is known, who is there, and who is forgotten.

use std::time::{Duration, Instant};

use mqtt_ota_integration::{
    Client, EmbeddedBroker, Endpoint, Finished, Gate, House, Mosquitto, MqttOta, Passes, Receiver, Scene,
    Settings, sized,
};

/// What a device announces that answers whether it is there.
const ASKS: &str = "v=1|client=new 1|ask=1";
/// Somebody has this name; his client is of version 0.1.
const OLD: &str = "v=1|client=old 0.1.0";

/// A device that answers `announce` as often as it is asked, and says what it was asked.
struct Answering(Client);

impl Answering {
    fn join(broker: &impl Endpoint, name: &str) -> Self {
        let client = Client::connect(broker, &format!("answering-{name}"));
        client.subscribe(&format!("{name}/OTA"));
        client.publish_retained(&format!("{name}/OTA/device"), ASKS);
        Self(client)
    }

    /// Answers once.
    fn answer(&self) {
        let question = self.0.next();
        assert_eq!(question.text(), "announce");
        self.0.publish_retained(&format!("{}/device", question.topic), ASKS);
    }
}

fn announce(broker: &impl Endpoint, name: &str, message: &str) {
    Client::connect(broker, "announcer").publish_retained(&format!("{name}/OTA/device"), message);
}

#[track_caller]
fn reachable(finished: &Finished) -> Vec<(String, Option<bool>)> {
    let lines = finished.assert_status(0).json_lines();
    lines
        .iter()
        .map(|line| (line["device"].as_str().unwrap().to_owned(), line["reachable"].as_bool()))
        .collect()
}

#[test]
fn who_is_there_answers_and_who_is_not_does_not() {
    let scene = Scene::new();
    let here = Answering::join(&scene.broker, "HERE");
    announce(&scene.broker, "GONE", ASKS);
    announce(&scene.broker, "OLD", OLD);
    let old = Client::connect(&scene.broker, "old");
    old.subscribe("OLD/OTA");
    let (asking, _home) = scene.command("devices").arg("--json").start();
    here.answer();
    let listed = asking.wait();
    assert_eq!(
        reachable(&listed),
        [("GONE".to_owned(), Some(false)), ("HERE".to_owned(), Some(true)), ("OLD".to_owned(), None)]
    );
    // Mosquitto says that nobody is subscribed: nothing is waited for.
    assert!(listed.elapsed < Duration::from_secs(3), "{listed:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let heard = listed.json_lines()[1]["last_heard"].as_u64().unwrap();
    assert!(heard.abs_diff(now) < 60 && listed.json_lines()[0]["last_heard"].is_null());
    // A device of version 0.1 takes what it does not know for a bad offer: it is not asked.
    assert_eq!(old.pending(), []);
}

#[test]
fn nobody_is_asked_who_sleeps_if_the_user_says_so() {
    let scene = Scene::new();
    let sleeper = Answering::join(&scene.broker, "SLEEPER");
    let listed = scene.command("devices").arg("--no-ask").finish();
    listed.assert_status(0).assert_mentions("not asked");
    assert_eq!(sleeper.0.pending(), []);
    // One that is connected and says nothing is waited for as long as was said, and no longer.
    let listed = scene.command("devices").args(["--timeout", "300ms"]).finish();
    listed.assert_status(0).assert_hint("access list");
    let row = listed.stdout.lines().last().unwrap();
    assert!(row.split_whitespace().take(3).eq(["SLEEPER", "no", "answer"]), "{listed:?}");
    assert!(listed.elapsed < Duration::from_secs(3), "{listed:?}");
}

#[test]
fn the_receiver_and_the_companion_client_are_reachable_while_they_run() {
    let house = House::new();
    let flash = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&house.scene.broker, "GATEWAY", house.scene.folder());
    let board = house.boots("LAMP", flash.path());
    let are = |is_there: bool| {
        let listed = house.scene.command("devices").arg("--json").finish();
        let expected = ["GATEWAY", "LAMP"].map(|name| (name.to_owned(), Some(is_there)));
        assert_eq!(reachable(&listed), expected, "{listed:?}");
    };
    are(true);
    // They were asked less than 5 s before: they answer, and take their time.
    are(true);
    drop((receiver, board));
    are(false);
}

#[test]
fn many_devices_are_asked_at_once() {
    let number_of_devices = sized(10_000, 500);
    // One client plays all of them: more questions wait for it than Mosquitto keeps for one.
    let lines = vec!["max_queued_messages 0"];
    let scene = Scene::with(Mosquitto::with(Settings { lines, ..Settings::default() }));
    let all = Client::connect(&scene.broker, "all");
    all.subscribe("+/OTA");
    for number in 0..number_of_devices {
        all.publish_retained(&format!("D{number}/OTA/device"), ASKS);
    }
    let (asking, _home) = scene.command("devices").arg("--json").start();
    for _ in 0..number_of_devices {
        let question = all.next();
        assert_eq!(question.text(), "announce");
        all.publish_retained(&format!("{}/device", question.topic), ASKS);
    }
    let listed = asking.wait();
    println!("{number_of_devices} devices listed and asked in {:?}", listed.elapsed);
    let listed = reachable(&listed);
    assert!(
        listed.len() == number_of_devices && listed.iter().all(|(_, reachable)| *reachable == Some(true))
    );
}

#[test]
fn who_is_named_is_asked_for_by_name() {
    let scene = Scene::new();
    for name in ["HALL", "NIGHTLAMP", "PLUG"] {
        announce(&scene.broker, name, OLD);
    }
    let devices = |args: &[&str]| {
        scene.command("devices").args(["--json", "--groups", "lamps=NIGHTLAMP,HALL"]).args(args).finish()
    };
    assert_eq!(reachable(&devices(&["PLUG"])), [("PLUG".to_owned(), None)]);
    assert_eq!(reachable(&devices(&["@lamps"])).len(), 2);
    let failed = devices(&["PLUG", "NIGHTLMAP"]);
    failed
        .assert_status(1)
        .assert_error("NIGHTLMAP has not announced itself")
        .assert_hint("did you mean NIGHTLAMP?");
    assert_eq!(failed.json_lines().len(), 2);
}

#[test]
fn a_broker_that_keeps_retained_messages_from_wildcards_is_asked_for_groups_and_names() {
    // As RabbitMQ does (rabbitmq-server#8824): only who names a topic is sent what is retained on it.
    let scene = Scene::new();
    announce(&scene.broker, "NIGHTLAMP", OLD);
    announce(&scene.broker, "PLUG", OLD);
    let gate = || Gate::to(&scene.broker, Passes::AllButAnnouncements);
    let devices = |args: &[&str]| {
        let gate = gate();
        MqttOta::run("devices")
            .broker(&gate)
            .args(["--json", "--groups", "lamps=NIGHTLAMP,HALL"])
            .args(args)
            .finish()
    };
    assert_eq!(reachable(&devices(&[])), [("NIGHTLAMP".to_owned(), None)]);
}

#[test]
fn where_a_user_may_not_read_announcements_the_access_list_is_named() {
    let access = vec!["topic write #", "topic read +/OTA/status"];
    let scene = Scene::with(Mosquitto::with(Settings { access, ..Settings::default() }));
    announce(&scene.broker, "NIGHTLAMP", OLD);
    let nobody = scene.command("devices").finish();
    nobody.assert_status(0).assert_no_output().assert_hint("access list").assert_hint("+/OTA/device");
    let named = scene.command("devices").arg("NIGHTLAMP").finish();
    named
        .assert_status(1)
        .assert_error("NIGHTLAMP has not announced itself")
        .assert_hint("NIGHTLAMP/OTA/device");
}

#[test]
fn who_is_gone_is_forgotten_and_who_answers_is_not() {
    let scene = Scene::new();
    let here = Answering::join(&scene.broker, "HERE");
    announce(&scene.broker, "GONE", ASKS);
    announce(&scene.broker, "OLD", OLD);
    let client = Client::connect(&scene.broker, "keeper");
    client.publish_retained("GONE/OTA/keeper", "v=1|state=asleep");
    client.subscribe("+/OTA/device");
    let forget = |names: &[&str]| scene.command("devices").arg("--forget").args(names).start();

    let (forgetting, _home) = forget(&["GONE", "HERE"]);
    here.answer();
    let forgotten = forgetting.wait();
    forgotten.assert_status(1).assert_error("HERE has answered").assert_hint("off");
    forgotten.assert_mentions("GONE: forgotten: its announcement, and what a keeper remembered, are cleared");

    let forgotten = forget(&["OLD"]).0.wait();
    forgotten
        .assert_status(0)
        .assert_mentions("OLD: forgotten: its announcement is cleared")
        .assert_mentions("connects");
    let listed = scene.command("devices").args(["--json", "--no-ask"]).finish();
    assert_eq!(reachable(&listed), [("HERE".to_owned(), None)]);

    let (again, _home) = scene.command("devices").args(["--forget", "GONE", "--json"]).start();
    let again = again.wait();
    again.assert_status(1).assert_error("keeps nothing of GONE");
    assert_eq!(again.json_lines()[0]["forgotten"], false);
}

#[test]
fn what_a_user_may_not_clear_is_not_said_to_be_cleared() {
    // Only the device itself writes there.
    let access = vec!["topic write +/OTA", "topic read #", "pattern write %c/OTA/device"];
    let scene = Scene::with(Mosquitto::with(Settings { access, ..Settings::default() }));
    Client::connect(&scene.broker, "LAMP").publish_retained("LAMP/OTA/device", OLD);
    // Others are told so with MQTT 5, and are not with MQTT 3.1.1.
    let silent = Gate::to(&scene.broker, Passes::Mqtt311);
    for command in [scene.command("devices"), MqttOta::run("devices").broker(&silent)] {
        let refused = command.args(["--forget", "LAMP"]).finish();
        refused.assert_status(1).assert_error("LAMP was not forgotten").assert_hint("access list");
    }
    assert_eq!(reachable(&scene.command("devices").arg("--json").finish()).len(), 1);
}

#[test]
fn a_keeper_tells_when_it_last_heard_a_device() {
    let house = House::new();
    house.has("LAMP/main.py", "1");
    let device = house.device("LAMP", "v=1|hash=sha256|set=-");
    let keeper = house.keeper(&["--connect-timeout", "300ms"]);
    // It hears of an offer that nobody comes for.
    device.offer();
    device.announce_as("v=1|hash=sha256|set=-");
    drop(device);
    keeper.says("LAMP");
    let started = Instant::now();
    loop {
        let listed = house.scene.command("devices").args(["--json", "--no-ask"]).finish();
        if listed.json_lines()[0]["last_heard"].is_u64() {
            break;
        }
        assert!(started.elapsed() < mqtt_ota_integration::GUARD, "{listed:?}");
    }
}

#[test]
fn the_embedded_broker_lists_and_forgets_as_well() {
    let broker = EmbeddedBroker::start();
    let here = Answering::join(&broker, "HERE");
    announce(&broker, "GONE", OLD);
    let (asking, _home) = MqttOta::run("devices").arg("--json").broker(&broker).start();
    here.answer();
    assert_eq!(reachable(&asking.wait()), [("GONE".to_owned(), None), ("HERE".to_owned(), Some(true))]);
    MqttOta::run("devices").args(["--forget", "GONE"]).broker(&broker).finish().assert_status(0);
    let listed = MqttOta::run("devices").args(["--json", "--no-ask"]).broker(&broker).finish();
    assert_eq!(reachable(&listed).len(), 1);
}
