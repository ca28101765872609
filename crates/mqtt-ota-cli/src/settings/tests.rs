use std::path::Path;

use super::*;

/// Writes a settings file to a folder of its own.
fn settings_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn resolve(
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    file: &Path,
) -> Result<Settings, Problem> {
    let flags =
        flags.iter().fold(Flags::default(), |flags, (key, value)| flags.with(key, Some(value.into())));
    let environment =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    Settings::resolve(flags, Some(file), &environment)
}

fn message(problem: &Problem) -> String {
    problem.error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
    let (_folder, path) = settings_file("broker = 'mqtt://file'\nretries = 7\nretry-pause = '9s'\n");
    let flags = [("broker", "mqtt://flag")];
    let variables = [("MQTT_OTA_BROKER", "mqtt://variable"), ("MQTT_OTA_RETRIES", "5")];
    let settings = resolve(&flags, &variables, &path).unwrap();
    assert_eq!(settings.broker.value.host(), "flag");
    assert_eq!(settings.broker.source, Source::Flag("--broker".into()));
    assert_eq!(settings.retries.value, 5);
    assert_eq!(settings.retries.source, Source::Variable("MQTT_OTA_RETRIES".into()));
    assert_eq!(settings.retry_pause.value, Duration::from_secs(9));
    assert_eq!(settings.retry_pause.source, Source::File { path, key: "retry-pause".into() });
    assert_eq!(settings.boot_timeout.source, Source::Default);
}

#[test]
fn a_missing_file_is_an_error_only_where_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let problem = resolve(&[], &[], &folder.path().join("none.toml")).unwrap_err();
    assert!(message(&problem).contains("none.toml"));

    let home = folder.path().as_os_str();
    let environment = |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.to_owned());
    let settings = Settings::resolve(Flags::default(), None, &environment).unwrap();
    assert!(!settings.file_found);
    assert_eq!(settings.broker.value.host(), "localhost");
}

#[test]
fn an_unknown_key_is_named_together_with_its_file() {
    let (_folder, path) = settings_file("brokr = 'mqtt://file'\n");
    let problem = resolve(&[], &[], &path).unwrap_err();
    assert_eq!(problem.exit, crate::problem::Exit::Usage);
    assert!(message(&problem).contains("\"brokr\""), "{problem:?}");
    assert!(message(&problem).contains("config.toml"), "{problem:?}");
}

#[test]
fn a_password_in_the_settings_file_is_refused_with_the_way_out() {
    let (_folder, path) = settings_file("password = 'secret'\n");
    let problem = resolve(&[], &[], &path).unwrap_err();
    assert!(problem.hint.unwrap().contains("password-file"));
}

#[test]
fn a_broken_file_is_an_error_with_its_line() {
    let (_folder, path) = settings_file("broker = 'mqtt://file'\nretries = \n");
    assert!(message(&resolve(&[], &[], &path).unwrap_err()).contains("line 2"));
    for wrong in ["groups = 1", "[groups]\nlamps = 'A'", "[groups]\nlamps = [1]", "retries = true"] {
        let (_folder, path) = settings_file(wrong);
        assert!(resolve(&[], &[], &path).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_wrong_value_names_the_place_it_came_from() {
    let (_folder, path) = settings_file("idle-timeout = 'soon'\n");
    let from_file = message(&resolve(&[], &[], &path).unwrap_err());
    assert!(from_file.contains("idle-timeout in ") && from_file.contains("config.toml"), "{from_file}");
    let variables = [("MQTT_OTA_IDLE_TIMEOUT", "0s")];
    assert!(message(&resolve(&[], &variables, &path).unwrap_err()).contains("MQTT_OTA_IDLE_TIMEOUT"));
    let flags = [("idle-timeout", "1y")];
    assert!(message(&resolve(&flags, &[], &path).unwrap_err()).contains("--idle-timeout"));
}

#[test]
fn a_bare_number_is_seconds_and_a_bare_host_is_a_broker() {
    let (_folder, path) = settings_file("connect-timeout = 5\nbroker = 'iot.lan:1884'\nretry-pause = '0'\n");
    let settings = resolve(&[], &[], &path).unwrap();
    assert_eq!(settings.connect_timeout.value, Duration::from_secs(5));
    assert_eq!(settings.retry_pause.value, Duration::ZERO);
    assert_eq!((settings.broker.value.host(), settings.broker.value.port()), ("iot.lan", 1884));
}

#[test]
fn a_password_in_the_broker_flag_is_a_usage_error_that_does_not_repeat_it() {
    let (_folder, path) = settings_file("");
    let problem = resolve(&[("broker", "mqtt://me:secret@iot.lan")], &[], &path).unwrap_err();
    assert!(!format!("{problem:?}").contains("secret"));
    let variables = [("MQTT_OTA_BROKER", "mqtt://me:secret@iot.lan")];
    assert!(resolve(&[], &variables, &path).is_ok());
}

#[test]
fn no_setting_that_is_shown_has_the_password_in_it() {
    let (_folder, path) = settings_file("broker = 'mqtt://me:secret1@iot.lan'\nuser = 'me'\n");
    let settings = resolve(&[], &[("MQTT_OTA_PASSWORD", "secret2")], &path).unwrap();
    let shown = format!("{:?} {settings:?}", settings.listed());
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_user_in_the_broker_url_is_shown_as_the_user() {
    let (_folder, path) = settings_file("broker = 'mqtt://me:secret@iot.lan'\n");
    let settings = resolve(&[], &[], &path).unwrap();
    assert_eq!(settings.user.shown.as_deref(), Some("me"));
    assert_eq!(settings.broker().unwrap().user(), Some("me"));
}

#[test]
fn the_password_file_gives_its_first_line() {
    let (folder, path) = settings_file("user = 'me'\npassword-file = 'secret.txt'\n");
    std::fs::write(folder.path().join("secret.txt"), "pass word\r\nnot this\n").unwrap();
    let settings = resolve(&[], &[], &path).unwrap();
    let Some(Password::InFile(file)) = &settings.password.value else { panic!("no file") };
    assert_eq!(read_password_file(file).unwrap(), "pass word");
    assert_eq!(settings.broker().unwrap().user(), Some("me"));

    std::fs::write(folder.path().join("secret.txt"), "\n").unwrap();
    assert!(settings.broker().is_err());
}

#[test]
fn a_password_without_a_user_is_an_error() {
    let (_folder, path) = settings_file("");
    let settings = resolve(&[], &[("MQTT_OTA_PASSWORD", "secret")], &path).unwrap();
    assert!(settings.broker().unwrap_err().hint.unwrap().contains("--user"));
}

#[test]
fn every_setting_can_be_a_variable() {
    let (_folder, path) = settings_file("");
    for name in resolve(&[], &[], &path).unwrap().listed().iter().map(|row| row.name) {
        let variable = source::variable_of(name);
        let value = match name {
            "listen" => "8266",
            "advertise" | "broker" => "nas.lan",
            "protocol" => "3.1.1",
            "tls-fingerprint" => &"5A".repeat(32),
            "check" => "no",
            _ => "7",
        };
        let settings = resolve(&[], &[(&variable, value)], &path).unwrap();
        let listed = settings.listed();
        let row = listed.iter().find(|row| row.name == name).unwrap();
        assert_eq!(*row.source, Source::Variable(variable), "{name}");
    }
}

#[test]
fn the_settings_file_in_the_readme_is_sound() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (_folder, path) = settings_file(rest.split_once("```").unwrap().0);
    let settings = resolve(&[], &[], &path).unwrap();
    assert_eq!(settings.idle_timeout.value, Duration::from_secs(60));
    assert_eq!(settings.min_rate.value, 512);
    assert_eq!(settings.groups["lamps"].members.len(), 2);
}

#[test]
fn a_rate_is_a_number_of_bytes_or_of_multiples_of_1024_and_is_shown_as_it_is_written() {
    let (_folder, path) = settings_file("");
    for (text, rate) in [("0", 0), ("512", 512), ("1K", 1024), ("1500", 1500), ("2M", 2 << 20)] {
        let setting = resolve(&[("min-rate", text)], &[], &path).unwrap().min_rate;
        assert_eq!((setting.value, setting.shown.as_deref()), (rate, Some(text)));
    }
    for text in ["", "K", "-1", "1.5K", "1G", "18446744073709551615K"] {
        let problem = resolve(&[("min-rate", text)], &[], &path).unwrap_err();
        assert!(problem.hint.is_some() && message(&problem).contains("--min-rate"), "{text}: {problem:?}");
    }
}

#[test]
fn groups_of_a_variable_stand_beside_and_before_those_of_the_file() {
    let (_folder, path) = settings_file("[groups]\nlamps = ['A']\nplugs = ['P']\n");
    let told = resolve(&[], &[("MQTT_OTA_GROUPS", "lamps=B, C; hall=D")], &path).unwrap();
    let members = |name: &str| told.groups[name].members.join(" ");
    assert_eq!((members("lamps"), members("hall"), members("plugs")), ("B C".into(), "D".into(), "P".into()));
    assert_eq!(told.groups["lamps"].source, Source::Variable("MQTT_OTA_GROUPS".to_owned()));
    assert!(resolve(&[], &[("MQTT_OTA_GROUPS", "lamps")], &path).is_err());
}
