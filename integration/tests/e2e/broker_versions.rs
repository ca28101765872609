//! The embedded broker with clients of MQTT 5 and of MQTT 3.1.1 that are not ours.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mqtt_ota_integration::{EmbeddedBroker, Endpoint as _, RawDevice, Scene};

/// Runs a program to its end.
fn run(program: impl AsRef<Path>, args: &[&str]) -> Output {
    let program = program.as_ref();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{}: {error}: integration/test.sh installs it", program.display()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_wrong_name_is_said_at_once() {
    let scene = Scene::with(EmbeddedBroker::start());
    let _device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    let wrong = scene.send(scene.file("main.py", "x = 1\n"), "NIGHTLMAP").finish();
    wrong.assert_status(1).assert_error("NIGHTLMAP/OTA");
    assert!(wrong.elapsed < Duration::from_secs(2), "{wrong:?}");
}

#[test]
fn paho_speaks_mqtt_5_with_it() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = here.join("tests/e2e/version5.py").display().to_string();
    let address = EmbeddedBroker::start();
    let (host, port) = (address.address().ip().to_string(), address.address().port().to_string());
    let output = run(here.join(".cache/paho/bin/python"), &[&script, &host, &port]);
    let expected = "\
connected: Success shared: 0 aliases: 0
published to nobody: No matching subscribers
published to nobody with QoS 2: Success
shared: Shared subscription not supported
subscribed: Granted QoS 2
arrived: hello 0 reply [('key', 'value')]
arrived: hello 1 reply [('key', 'value')]
arrived: hello 2 reply [('key', 'value')]
unsubscribed: Success
unsubscribed again: No subscription found
published to a sleeper: Success
session: True
woke to: lasting
taken over: Session taken over
";
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
}

#[test]
fn mosquitto_s_clients_speak_both_versions_with_it() {
    let broker = EmbeddedBroker::start();
    let port = broker.address().port().to_string();
    for version in ["5", "311"] {
        let common = ["-V", version, "-p", &port, "-t", "a/b", "-q", "1"];
        let kept = run("mosquitto_pub", &[&common[..], &["-m", version, "-r"]].concat());
        assert!(kept.status.success(), "{kept:?}");
        let heard =
            run("mosquitto_sub", &[&common[..], &["-C", "1", "-W", "20", "-F", "%t %p %q %r"]].concat());
        assert_eq!(text(&heard.stdout), format!("a/b {version} 1 1\n"), "{heard:?}");
        let nobody = ["-V", version, "-p", &port, "-t", "c", "-q", "1", "-m", "x", "-d"];
        let nobody = text(&run("mosquitto_pub", &nobody).stdout);
        assert_eq!(nobody.contains("RC:16"), version == "5", "{nobody}");
    }
}
