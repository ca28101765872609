//! What goes where: data to standard output, everything else to standard error, and nothing breaks when
//! nobody reads.

use mqtt_ota_integration::{Endpoint as _, Finished, MqttOta, RawDevice, Scene};

/// A closed output is no reason to complain.
#[track_caller]
fn ends_quietly(finished: &Finished) {
    finished.assert_status(0);
    assert!(!finished.stderr.contains("panicked") && !finished.stderr.contains("error:"), "{finished:?}");
}

#[test]
fn closed_standard_output_ends_quietly() {
    for command in [
        MqttOta::run("--help"),
        MqttOta::run("--version"),
        MqttOta::run("completions").arg("bash"),
        MqttOta::run("man"),
        MqttOta::run("config"),
        MqttOta::run("config").arg("--json"),
    ] {
        ends_quietly(&command.stdout_closed().finish());
    }
    let scene = Scene::new();
    RawDevice::announced(&scene.broker, "NIGHTLAMP");
    ends_quietly(&scene.command("devices").stdout_closed().finish());
    ends_quietly(&scene.command("devices").arg("--json").stdout_closed().finish());
}

#[test]
fn a_delivery_goes_on_when_nobody_reads_its_output() {
    let scene = Scene::new();
    let device = RawDevice::announced(&scene.broker, "NIGHTLAMP");
    for args in [&["--json"][..], &[]] {
        let file = scene.file("main.py", "x");
        let (sending, _home) = scene.send(file, "NIGHTLAMP").args(args).stdout_closed().start();
        device.install(&device.offer());
        ends_quietly(&sending.wait());
    }
}

#[test]
fn a_failure_is_status_1_though_nobody_reads_the_output() {
    let scene = Scene::new();
    let failed = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").arg("--json").stdout_closed().finish();
    failed.assert_status(1);
}

#[test]
fn wrong_usage_is_status_2_and_says_so_on_stderr() {
    for args in
        [&["main.py"][..], &["--to", "A"], &["main.py", "--to", "A", "--retries", "many"], &["--frobnicate"]]
    {
        let wrong = MqttOta::run("send").args(args).finish();
        wrong.assert_status(2).assert_error("").assert_no_output();
    }
}

#[test]
fn a_file_that_cannot_be_read_is_status_1_whatever_names_it() {
    let scene = Scene::new();
    let file = scene.file("main.py", "x");
    let tls = format!("mqtts://{}", scene.broker.address());
    for args in [
        &["missing"][..],
        &["--user", "ann", "--password-file", "missing"],
        &["--broker", &tls, "--ca-file", "missing"],
        &["--config", "missing"],
    ] {
        let failed = scene.send(&file, "NIGHTLAMP").args(args).finish();
        failed.assert_status(1).assert_error("missing").assert_error("No such file").assert_hint("");
    }
    scene.file("config.toml", "password-file = \"missing\"\nuser = \"ann\"\n");
    let failed = scene.send(&file, "NIGHTLAMP").args(["--config", "config.toml"]).finish();
    failed.assert_status(1).assert_error("missing");
}

#[test]
fn help_goes_to_stdout_and_names_the_exit_statuses() {
    for subcommand in ["send", "devices", "receive", "broker", "demo", "config"] {
        let help = MqttOta::run(subcommand).arg("--help").finish();
        help.assert_status(0);
        assert!(help.stderr.is_empty() && help.stdout.contains("Exit status"), "{help:?}");
    }
}

#[test]
fn failures_are_json_too_and_the_words_are_on_stderr() {
    let scene = Scene::new();
    let failed = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").arg("--json").finish();
    let lines = failed.assert_status(1).assert_error("NIGHTLAMP").json_lines();
    let result = lines.iter().find(|line| line["event"] == "result").unwrap();
    assert_eq!((&result["outcome"], &result["ok"]), (&"not-subscribed".into(), &false.into()));
    assert_eq!(lines.last().unwrap()["ok"], false);
}

#[test]
fn json_ends_with_a_summary_also_where_nothing_could_be_sent() {
    let scene = Scene::new();
    let file = scene.file("main.py", "x");
    let nowhere = format!("mqtt://127.0.0.1:{}", mqtt_ota_integration::free_port());
    for (args, status, why) in [
        (&["missing.py"][..], 1, "missing.py: No such file"),
        (&["--config", "missing.toml"], 1, "missing.toml: No such file"),
        (&["--broker", &nowhere], 1, "refused"),
        (&["--to", "@nobody"], 2, "@nobody"),
        (&["--as", "../x"], 2, ".."),
    ] {
        let failed = scene.send(&file, "NIGHTLAMP").arg("--json").args(args).finish();
        let lines = failed.assert_status(status).assert_error("").json_lines();
        let [summary] = lines.as_slice() else { panic!("{failed:?}") };
        assert_eq!((&summary["event"], &summary["ok"]), (&"summary".into(), &false.into()));
        assert!(summary["error"].as_str().unwrap().contains(why), "{failed:?}");
    }
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let scene = Scene::new();
    scene.file("main.py", "x");
    let coloured = |command: MqttOta| command.finish().stderr.contains('\u{1b}');
    let send = || scene.send("main.py", "NIGHTLAMP");
    assert!(!coloured(send()), "not on a pipe");
    assert!(coloured(send().args(["--color", "always"])));
    assert!(!coloured(send().args(["--color", "never"])));
    assert!(!coloured(send().env("NO_COLOR", "1")));
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_file() {
    let scene = Scene::new();
    let settings = scene.file("settings.toml", "retries = 3\nbroker = \"mqtt://from.file\"\n");
    let config = || MqttOta::run("config").arg("--json").env("MQTT_OTA_CONFIG", &settings);
    let value = |finished: Finished, name: &str| {
        let lines = finished.assert_status(0).json_lines();
        let line = lines.iter().find(|line| line["name"] == name).unwrap().clone();
        (line["value"].as_str().unwrap().to_owned(), line["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(value(config().finish(), "retries"), ("3".to_owned(), "file".to_owned()));
    let environment = config().env("MQTT_OTA_RETRIES", "4");
    assert_eq!(value(environment.finish(), "retries"), ("4".to_owned(), "environment".to_owned()));
    let flag = config().env("MQTT_OTA_RETRIES", "4").args(["--retries", "5"]);
    assert_eq!(value(flag.finish(), "retries"), ("5".to_owned(), "flag".to_owned()));
    assert_eq!(value(config().finish(), "broker").1, "file");
}

#[test]
fn a_password_is_never_shown() {
    let shown = MqttOta::run("config")
        .env("MQTT_OTA_BROKER", "mqtt://ann:s3cret@127.0.0.1")
        .env("MQTT_OTA_PASSWORD", "t0psecret")
        .finish();
    assert!(
        !format!("{shown:?}").contains("s3cret") && !format!("{shown:?}").contains("t0psecret"),
        "{shown:?}"
    );
}

#[cfg(unix)]
#[test]
fn bash_completes_the_options_of_a_command() {
    let script = MqttOta::run("completions").arg("bash").finish();
    let ask = "COMP_WORDS=(mqtt-ota send --ca); COMP_CWORD=2; _mqtt__ota mqtt-ota --ca send; echo \"${COMPREPLY[@]}\"";
    let asked = format!("{}\n{ask}", script.assert_status(0).stdout);
    let answer = std::process::Command::new("bash").arg("-c").arg(asked).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "--ca-file");
}

#[test]
fn what_is_not_known_is_null_in_json_and_not_the_value_of_nothing() {
    let scene = Scene::new();
    RawDevice::announced(&scene.broker, "PLAIN");
    RawDevice::join(&scene.broker, "EMPTY").announce_as("v=1|set=-");
    for (device, outcome) in [("PLAIN", "no-sets"), ("EMPTY", "no-set"), ("NOBODY", "no-sets")] {
        let result = scene.command("rollback").args(["--to", device, "--json"]).finish().result();
        assert_eq!(result["outcome"], outcome);
        for key in ["hash", "bytes", "peer", "advertised", "why", "reason", "back_online_after"] {
            assert!(result[key].is_null() && result.get(key).is_some(), "{key} of {device}: {result}");
        }
    }
}

/// Characters that a terminal obeys, or that hide, reorder or overdraw text.
const TRAPS: &str =
    "\u{180e}\u{fff9}\u{fffb}\u{34f}\u{fe0f}\u{e0041}\u{2028}\u{e000}\u{378}\u{115f}\u{1b}[2J";

#[test]
fn nothing_from_a_device_or_a_broker_reaches_the_terminal_unescaped() {
    let scene = Scene::new();
    let flood = "\u{301}".repeat(60);
    let device = RawDevice::join(&scene.broker, "NIGHTLAMP");
    device.announce_as(&format!("v=1|client=x{TRAPS}{flood}|sys=y{TRAPS}"));
    let listed = scene.command("devices").finish();
    let json = scene.command("devices").arg("--json").finish();
    // What the library logs of a message that it cannot read, under a name that a broker passes on.
    let client = mqtt_ota_integration::Client::connect(&scene.broker, "stranger");
    client.publish_retained(&format!("L\u{180e}\u{fff9}{flood}/OTA/device"), "junk");
    let logged = scene.command("devices").arg("-vvv").finish();
    let sending = scene.send(scene.file("main.py", "x"), "NIGHTLAMP").arg("-v").start();
    let offer = device.offer();
    device.report("failed", &offer, &format!("write z{TRAPS}{flood}"));
    let sent = sending.0.wait();
    sent.assert_status(1);
    logged.assert_mentions("\\u{180e}");
    for finished in [&listed, &json, &logged, &sent] {
        let text = format!("{}{}", finished.stdout, finished.stderr);
        let raw = text.chars().find(|c| TRAPS.contains(*c) && !c.is_ascii_graphic() || *c == '\u{fff9}');
        assert!(raw.is_none() && !text.contains(&"\u{301}".repeat(6)), "{raw:?} in {finished:?}");
        assert!(text.contains("180e"), "{finished:?}");
    }
    // JSON means what the device said.
    assert_eq!(json.json_lines()[0]["client"], format!("x{TRAPS}{flood}"));
}
