//! `mqtt-ota log`: what devices print, as it comes, and their last crash.

use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_ota_integration::{
    Client, Endpoint, Finished, Mosquitto, MqttOta, Process, Receiver, Scene, Settings,
};
use tempfile::TempDir;

const NAME: &str = "NIGHTLAMP";
const LOGS: &str = "v=1|client=new 1|log=1";
const CRASH: &str = "Traceback (most recent call last):\n  File \"main.py\", line 3\nOSError: 28\n";

/// A device that can publish its log.
fn joins(broker: &impl Endpoint, id: &str) -> Client {
    let device = Client::connect(broker, id);
    device.subscribe(&format!("{NAME}/OTA"));
    device.publish_retained(&format!("{NAME}/OTA/device"), LOGS);
    device
}

/// Waits until the device is asked for its log.
fn asked(device: &Client) {
    assert_eq!(device.next().text(), "log|60");
}

fn prints(device: &Client, line: &str) {
    device.publish(&format!("{NAME}/OTA/log"), line);
}

fn starts(scene: &Scene, args: &[&str]) -> (Process, TempDir) {
    scene.command("log").args(args).start()
}

/// Presses Ctrl-C.
fn interrupted(process: Process) -> Finished {
    process.interrupt();
    let finished = process.wait();
    finished.assert_status(130);
    finished
}

#[test]
fn a_device_is_asked_for_its_lines_until_ctrl_c_and_they_are_safe_for_a_terminal() {
    let scene = Scene::new();
    let device = joins(&scene.broker, "lamp");
    let (log, _home) = starts(&scene, &[NAME, "-v"]);
    asked(&device);
    for line in ["hello", "\u{1b}[2Jred", "... 12 lines lost"] {
        prints(&device, line);
        let shown = line.replace('\u{1b}', "\\u{1b}");
        log.stdout().wait_for(&format!("{NAME}: {shown}"));
    }
    device.publish_retained(&format!("{NAME}/OTA/crash"), CRASH);
    log.stdout().wait_for(&format!("{NAME}:   OSError: 28"));
    let finished = interrupted(log);
    assert_eq!(device.next().text(), "log|0");
    finished.assert_mentions("it crashed:").assert_mentions("asked for its log");
    let first = finished.stdout.lines().next().unwrap();
    // The time of day comes first: 12:34:56.789.
    let (time, rest) = first.split_once(' ').unwrap();
    assert_eq!((time.len(), rest), (12, "NIGHTLAMP: hello"), "{finished:?}");
}

#[test]
fn with_json_each_line_is_an_object_with_its_time() {
    let scene = Scene::new();
    let device = joins(&scene.broker, "lamp");
    device.publish_retained(&format!("{NAME}/OTA/crash"), CRASH);
    let (log, _home) = starts(&scene, &[NAME, "--json"]);
    asked(&device);
    prints(&device, "hello");
    prints(&device, "... 12 lines lost");
    log.stdout().wait_for("12 lines lost");
    let lines = interrupted(log).json_lines();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let crash = of("crash")[0];
    assert_eq!((&crash["text"], &crash["kept"]), (&CRASH.into(), &true.into()));
    assert!(crash["time"].is_null() && of("asked").len() == 1, "{lines:?}");
    let [hello, lost] = of("line")[..] else { panic!("{lines:?}") };
    assert_eq!((&hello["device"], &hello["text"]), (&NAME.into(), &"hello".into()));
    assert_eq!((&hello["lost"], &lost["lost"]), (&serde_json::Value::Null, &12.into()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - hello["time"].as_f64().unwrap()).abs() < 60.0, "{hello}");
}

#[test]
fn after_a_restart_of_the_broker_and_of_the_device_it_is_asked_again() {
    let mut scene = Scene::new();
    let device = joins(&scene.broker, "lamp");
    let (log, _home) = starts(&scene, &[NAME]);
    asked(&device);
    scene.broker.stop();
    log.stderr().wait_for("the connection to the broker was lost");
    scene.broker.start_again();
    // It is back before the command is, or after it: one of the requests reaches it.
    let device = joins(&scene.broker, "lamp");
    asked(&device);
    log.stderr().wait_for("connected again");
    prints(&device, "back");
    log.stdout().wait_for(&format!("{NAME}: back"));
    // A device that has booted has forgotten what it was asked.
    device.publish_retained(&format!("{NAME}/OTA/device"), LOGS);
    let requests = std::iter::repeat_with(|| device.next().text()).find(|text| text == "log|60");
    assert!(requests.is_some());
    interrupted(log);
}

#[test]
fn who_cannot_be_asked_is_told_of_and_heard_all_the_same() {
    let scene = Scene::new();
    let old = Client::connect(&scene.broker, "old");
    old.subscribe("+/OTA").publish_retained("OLD/OTA/device", "v=1|client=old 0.1.0");
    old.publish_retained(&format!("{NAME}/OTA/device"), LOGS);
    let (log, _home) = starts(&scene, &["OLD,OTHER,NIGHTLMAP"]);
    log.stderr().wait_for("OLD was not asked for its log, as its client does not say");
    log.stderr().wait_for("OTHER was not asked for its log, as it has not announced itself");
    log.stderr().wait_for("NIGHTLMAP: no such device has announced itself; did you mean NIGHTLAMP?");
    old.publish("OLD/OTA/log", "all the same");
    log.stdout().wait_for("OLD: all the same");
    interrupted(log);
    assert_eq!(old.pending(), [], "they take it for a bad offer");
}

#[test]
fn a_device_that_is_not_there_is_asked_when_it_is_back() {
    let scene = Scene::new();
    Client::connect(&scene.broker, "gone").publish_retained(&format!("{NAME}/OTA/device"), LOGS);
    let (log, _home) = starts(&scene, &[NAME]);
    log.stderr().wait_for(&format!("{NAME} is not on the broker now"));
    let device = joins(&scene.broker, "lamp");
    asked(&device);
    interrupted(log);
}

#[test]
fn the_last_crash_is_what_the_broker_has_kept_and_then_it_ends() {
    let scene = Scene::new();
    let device = joins(&scene.broker, "lamp");
    let last = |args: &[&str]| scene.command("log").arg("-n").args(args).finish();
    last(&[NAME]).assert_status(0).assert_no_output().assert_mentions("has kept no crash");
    device.publish_retained(&format!("{NAME}/OTA/crash"), CRASH);
    let shown = last(&[NAME]);
    let expected: String = CRASH.lines().map(|line| format!("{NAME}: {line}\n")).collect();
    assert_eq!(shown.assert_status(0).stdout, expected);
    assert_eq!(last(&[NAME, "--json"]).json_lines()[0]["crash"], CRASH);
    last(&["NIGHTLMAP"]).assert_status(1).assert_error("NIGHTLMAP").assert_hint("did you mean NIGHTLAMP?");
    last(&["@nobody"]).assert_status(2);
    // What was mended is taken back.
    device.publish_retained(&format!("{NAME}/OTA/crash"), "");
    last(&[NAME]).assert_status(0).assert_no_output();
    assert_eq!(device.pending(), [], "nobody is asked");
}

#[test]
fn a_request_for_a_log_is_no_offer_to_the_receiver() {
    let scene = Scene::new();
    let root = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&scene.broker, "GATEWAY", root.path());
    let sender = Client::connect(&scene.broker, "sender");
    sender.subscribe("GATEWAY/OTA/status");
    for request in ["log", "log|60", "log|1|main.py|819d7bf839af03c912af6e81f65ab404e5915ab5"] {
        sender.publish("GATEWAY/OTA", request);
    }
    sender.publish("GATEWAY/OTA", "no offer");
    receiver.process().stdout().wait_for("\"failed\"");
    let answer = sender.next().text();
    assert!(answer.starts_with("failed|||bad-offer"), "{answer}");
    assert_eq!(sender.pending(), []);
}

#[test]
fn who_may_not_ask_is_told_which_line_the_access_list_needs() {
    let access = vec!["topic read #", "topic write +/OTA/device", "topic write +/OTA/log"];
    let scene = Scene::with(Mosquitto::with(Settings { access, ..Settings::default() }));
    let device = joins(&scene.broker, "lamp");
    let (log, _home) = starts(&scene, &[NAME]);
    log.stderr().wait_for("NIGHTLAMP was not asked for its log: the broker does not allow to publish");
    log.stderr().wait_for("topic write NIGHTLAMP/OTA");
    prints(&device, "for somebody else");
    log.stdout().wait_for("for somebody else");
    interrupted(log);
}

#[test]
fn the_reader_of_the_log_may_leave() {
    let scene = Scene::new();
    let device = joins(&scene.broker, "lamp");
    let log = MqttOta::run("log").broker(&scene.broker).arg(NAME).stdout_closed();
    let (log, _home) = log.start();
    asked(&device);
    prints(&device, "nobody reads this");
    let finished = log.wait();
    finished.assert_status(0);
    assert!(!finished.stderr.contains("error:"), "{finished:?}");
    assert_eq!(device.next().text(), "log|0");
}
