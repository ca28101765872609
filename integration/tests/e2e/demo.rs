//! `mqtt-ota demo`, the first thing that anybody runs.

use mqtt_ota_integration::{Interpreter, MqttOta, Scene};

#[test]
fn the_demo_delivers_to_a_real_micropython() {
    let demo = MqttOta::run("demo").env("MQTT_OTA_MICROPYTHON", Interpreter::MicroPython.program()).finish();
    demo.assert_status(0).assert_mentions("booted DEMO on linux 1.25.0");
    demo.assert_mentions("installed 'main.py'").assert_mentions("rebooting");
    demo.assert_mentions("identical").assert_mentions("unchanged").assert_mentions("send main.py --to");
}

#[test]
fn the_demo_delivers_to_the_receiver_where_there_is_no_micropython() {
    let demo = MqttOta::run("demo").env("PATH", "").finish();
    demo.assert_status(0).assert_mentions("identical").assert_mentions("unchanged");
}

#[test]
fn the_demo_takes_a_file_of_the_users() {
    let scene = Scene::new();
    let file = scene.file("größe x.bin", vec![0; 100_000]);
    for demo in [
        MqttOta::run("demo").env("PATH", ""),
        MqttOta::run("demo").arg("--micropython").arg(Interpreter::MicroPython.program()),
    ] {
        demo.arg(&file).finish().assert_status(0).assert_mentions("identical: größe x.bin");
    }
    let missing = MqttOta::run("demo").arg("missing.py").finish();
    missing.assert_status(1).assert_error("missing.py");
}

#[test]
fn a_micropython_that_does_not_work_is_an_error_with_a_hint() {
    let missing = MqttOta::run("demo").args(["--micropython", "/nowhere/micropython"]).finish();
    missing.assert_status(1).assert_error("/nowhere/micropython").assert_hint("--micropython");
    let dying = MqttOta::run("demo").args(["--micropython", "false"]).finish();
    dying.assert_status(1).assert_error("ended");
}
