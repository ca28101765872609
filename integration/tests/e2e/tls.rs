//! What is wrong with a certificate, the broker's or ours, is said, and one certificate can be pinned.

use std::path::Path;

use mqtt_ota_integration::{Authority, Endpoint as _, Finished, Flaw, Mosquitto, MqttOta, Settings};

fn broker(authority: Authority) -> Mosquitto {
    Mosquitto::with(Settings { tls: Some(authority), ..Settings::default() })
}

/// Lists the devices of a broker, by its TLS port.
fn list(broker: &Mosquitto) -> MqttOta {
    let url = format!("mqtts://localhost:{}", broker.tls_address().port());
    MqttOta::run("devices").args(["--broker", &url])
}

fn trusting(broker: &Mosquitto, authority: &Path) -> MqttOta {
    list(broker).arg("--ca-file").arg(authority)
}

/// The fingerprint that an error names.
fn fingerprint(failed: &Finished) -> String {
    let (_, rest) = failed.stderr.split_once("fingerprint is ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_and_its_fingerprint_pins_it() {
    for (flaw, said, hint) in [
        (Flaw::Version1, "X.509 version 1", "docs/broker.md"),
        (Flaw::SelfSigned, "authority's certificate", "docs/broker.md"),
        (Flaw::Expired, "expired", "docs/broker.md"),
        (Flaw::Early, "not valid before", "clock"),
        (Flaw::OtherName, "it is for iot.lan", "--broker"),
    ] {
        let broker = broker(Authority::with(flaw));
        let failed = trusting(&broker, &broker.ca_file()).finish();
        failed
            .assert_status(1)
            .assert_error("certificate")
            .assert_error(said)
            .assert_hint(hint)
            .assert_no_output();
        assert!(!failed.stderr.contains("OtherError"), "{failed:?}");
        list(&broker).args(["--tls-fingerprint", &fingerprint(&failed)]).finish().assert_status(0);
    }
}

#[test]
fn a_self_signed_certificate_that_is_given_as_the_authority_is_no_riddle() {
    let authority = Authority::with(Flaw::SelfSigned);
    let itself = authority.certificate_file();
    let broker = broker(authority);
    let failed = trusting(&broker, &itself).finish();
    failed.assert_status(1).assert_error("CA:TRUE").assert_hint("--tls-fingerprint");
    let unknown = list(&broker).finish();
    unknown.assert_status(1).assert_error("certificate").assert_hint("--tls-fingerprint");
}

#[test]
fn another_certificate_than_the_pinned_one_is_refused_whoever_has_signed_it() {
    let broker = broker(Authority::new());
    let seen = fingerprint(list(&broker).finish().assert_status(1));
    let other = seen.replace('A', "B").replace('0', "1");
    assert_ne!(seen, other);
    let refused = trusting(&broker, &broker.ca_file()).args(["--tls-fingerprint", &other]).finish();
    refused.assert_status(1).assert_error(&seen).assert_error(&other).assert_hint("");
    for written in [seen.to_lowercase(), format!("sha256 Fingerprint={seen}"), seen.replace(':', "")] {
        list(&broker).env("MQTT_OTA_TLS_FINGERPRINT", &written).finish().assert_status(0);
    }
    let nonsense = list(&broker).args(["--tls-fingerprint", "AB:CD"]).finish();
    nonsense.assert_status(2).assert_error("--tls-fingerprint").assert_hint("openssl");
}

#[test]
fn a_broker_that_demands_a_client_certificate_says_so_and_takes_one() {
    // Only ann may ask for this.
    let access = vec!["user ann", "topic read +/OTA/device"];
    let settings = Settings {
        tls: Some(Authority::new()),
        wants_client_certificate: true,
        access,
        ..Settings::default()
    };
    let authority = Authority::new();
    let (stranger, strange_key) = authority.client("bob");
    let ours = settings.tls.as_ref().map(|authority| authority.client("ann")).unwrap();
    let broker = Mosquitto::with(settings);
    let (certificate, key) = ours;
    let ask = || trusting(&broker, &broker.ca_file());
    for command in [ask(), ask().args(["--protocol", "3.1.1"])] {
        let refused = command.finish();
        refused
            .assert_status(1)
            .assert_error("demands a client certificate")
            .assert_error("certificate required")
            .assert_hint("--client-cert");
    }
    let refused = ask().arg("--client-cert").arg(&stranger).arg("--client-key").arg(&strange_key).finish();
    refused
        .assert_status(1)
        .assert_error("does not accept")
        .assert_error("TLS alert")
        .assert_hint("--client-cert");
    let taken = ask().env("MQTT_OTA_CLIENT_CERT", &certificate).env("MQTT_OTA_CLIENT_KEY", &key).finish();
    taken.assert_status(0);
    assert!(!taken.stderr.contains("other users"), "{taken:?}");
    broker.process().stderr().wait_for("u'ann'");
    let mixed = ask().arg("--client-cert").arg(&stranger).arg("--client-key").arg(&key).finish();
    mixed.assert_status(1).assert_error("not the key").assert_hint("");
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new();
    let (certificate, key) = authority.client("ann");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let broker = broker(authority);
    let command = trusting(&broker, &broker.ca_file()).arg("--client-cert").arg(certificate);
    let listed = command.arg("--client-key").arg(&key).finish();
    listed.assert_status(0);
    assert!(listed.stderr.contains("other users") && listed.stderr.contains("chmod 600"), "{listed:?}");
}

#[test]
fn half_a_client_certificate_or_one_without_tls_is_a_usage_error() {
    let broker = broker(Authority::new());
    let half = list(&broker).args(["--client-cert", "me.pem"]).finish();
    half.assert_status(2).assert_error("--client-cert").assert_hint("--client-key");
    let other_half = list(&broker).args(["--client-key", "me.key"]).finish();
    other_half.assert_status(2).assert_error("--client-key").assert_hint("--client-cert");
    let missing = list(&broker).args(["--client-cert", "me.pem", "--client-key", "me.key"]).finish();
    missing.assert_status(1).assert_error("me.pem").assert_hint("PEM");
    for flag in ["--ca-file", "--client-cert", "--client-key", "--tls-fingerprint"] {
        let value = "AB".repeat(32);
        let url = broker.url();
        let useless = MqttOta::run("devices").args(["--broker", &url, flag, &value]).finish();
        useless.assert_status(2).assert_error(flag).assert_hint("mqtts://");
    }
}

#[test]
fn the_settings_of_the_connection_are_shown_with_their_origin() {
    let fingerprint = "AB".repeat(32);
    let shown = MqttOta::run("config")
        .args(["--json", "--protocol", "v5", "--client-key", "me.key"])
        .env("MQTT_OTA_TLS_FINGERPRINT", &fingerprint)
        .env("MQTT_OTA_CLIENT_CERT", "me.pem")
        .finish();
    shown.assert_status(0);
    let rows = shown.json_lines();
    for (name, value, source) in [
        ("protocol", "5", "flag"),
        ("tls-fingerprint", &["AB"; 32].join(":"), "environment"),
        ("client-cert", "me.pem", "environment"),
        ("client-key", "me.key", "flag"),
    ] {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!((row["value"].as_str(), row["source"].as_str()), (Some(value), Some(source)), "{row}");
    }
    let wrong = MqttOta::run("config").args(["--protocol", "4"]).finish();
    wrong.assert_status(2).assert_error("--protocol").assert_hint("3.1.1");
}
