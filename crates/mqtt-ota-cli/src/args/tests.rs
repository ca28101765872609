use std::collections::BTreeSet;

use super::*;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split(' ').map(OsString::from))
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn devices_may_be_separated_by_commas_or_repeated() {
    let cli = read("mqtt-ota send a.py b.py --to A,@lamps --to C").unwrap();
    let Command::Send(send) = cli.command else { panic!("not a send") };
    assert_eq!(send.to, ["A", "@lamps", "C"]);
    assert_eq!(send.files, [PathBuf::from("a.py"), PathBuf::from("b.py")]);
}

#[test]
fn general_options_stand_before_or_after_the_command() {
    for line in ["mqtt-ota -vv --color never devices", "mqtt-ota devices --color=never -v -v"] {
        let cli = read(line).unwrap();
        assert_eq!(cli.general.verbosity(), Verbosity::Debug);
        assert_eq!(cli.general.color(), ColorChoice::Never);
    }
}

#[test]
fn what_contradicts_itself_is_a_usage_error() {
    for line in [
        "mqtt-ota",
        "mqtt-ota send main.py",
        "mqtt-ota send --to A",
        "mqtt-ota send main.py --to A --no-reboot --wait-boot",
        "mqtt-ota send main.py --to A --password x",
        "mqtt-ota sync --to A",
        "mqtt-ota sync src",
        "mqtt-ota sync src --to A --delete --delete-all",
        "mqtt-ota sync src --to A --dry-run --wait-boot",
        "mqtt-ota sync src --to A --dry-run --no-reboot",
        "mqtt-ota sync src --to A --dry-run --trial 3",
        "mqtt-ota sync src --to A --boot-timeout 5m",
        "mqtt-ota send main.py --to A --boot-timeout 5m",
        "mqtt-ota send main.py --to A --no-reboot --boot-timeout 5m",
        "mqtt-ota broker --canary A",
        "mqtt-ota broker --stop-after 3",
        "mqtt-ota broker --give-up-after 3",
        "mqtt-ota broker --name x",
        "mqtt-ota broker --settle 2s",
        "mqtt-ota broker --window 02:00-05:00",
        "mqtt-ota keep devices --groups a=B",
        "mqtt-ota devices --forget",
        "mqtt-ota devices --timeout 1s --no-ask",
        "mqtt-ota devices --forget A --no-ask",
        "mqtt-ota devices --timeout 0s",
        "mqtt-ota --config x demo",
        "mqtt-ota completions bash --config x",
        "mqtt-ota man --config x",
        "mqtt-ota sync src --to A --trial 0",
        "mqtt-ota sync src --to A --trial 1000",
        "mqtt-ota rollback",
        "mqtt-ota log",
        "mqtt-ota devices -q -v",
        "mqtt-ota receive --as A",
        "mqtt-ota nonsense",
    ] {
        assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn what_has_an_effect_together_is_accepted() {
    for line in [
        "mqtt-ota send main.py --to A --wait-boot --boot-timeout 5m",
        "mqtt-ota sync src --to A --wait-boot --boot-timeout 5m --trial 3",
        "mqtt-ota rollback --to A --boot-timeout 5m",
        "mqtt-ota keep devices --canary @a --groups a=B --give-up-after 3 --name x",
        "mqtt-ota broker --keep devices --canary A --stop-after 3 --window 02:00-05:00",
        "mqtt-ota config --config x",
    ] {
        assert!(read(line).is_ok(), "{line}");
    }
}

/// Options of each command, besides the general ones. An option that a command does not use must not be listed here.
const OPTIONS: &[(&str, &[&str])] = &[
    (
        "send",
        &[
            "no-check",
            "to",
            "as",
            "json",
            "require-confirmation",
            REBOOT,
            BROKER,
            SERVING,
            DEVICES,
            TRIES,
            WAITING,
        ],
    ),
    (
        "sync",
        &[
            "no-check",
            "to",
            "delete",
            "delete-all",
            "dry-run",
            "trial",
            "json",
            REBOOT,
            BROKER,
            SERVING,
            DEVICES,
            TRIES,
            WAITING,
        ],
    ),
    // Rollback serves no file, and waits only for a device that is rebooting.
    ("rollback", &["to", "json", BROKER, DEVICES, "connect-timeout boot-timeout"]),
    ("devices", &["json", "no-ask", "timeout", "forget", "groups", BROKER]),
    ("log", &["json", "no-follow", "groups", BROKER]),
    ("receive", &["as", "root", "exec", "json", "min-rate", BROKER]),
    // A keeper retries failures at its own pace, and waits for boots without a limit.
    ("keep", &[KEEPING, BROKER, SERVING, "parallel", WAITING]),
    ("status", &["json", "name", BROKER]),
    ("broker", &["listen", "keep", KEEPING, "announcements", "user password-file"]),
    ("demo", &["micropython"]),
    ("config", &["json", "no-check", BROKER, SERVING, DEVICES, TRIES, WAITING, "boot-timeout"]),
    ("completions", &[]),
    ("man", &["dir"]),
];
const BROKER: &str = "broker user password-file protocol ca-file tls-fingerprint client-cert client-key";
const SERVING: &str = "listen advertise";
const DEVICES: &str = "parallel groups";
const TRIES: &str = "retries retry-pause";
const WAITING: &str = "connect-timeout idle-timeout confirm-timeout";
const REBOOT: &str = "no-reboot wait-boot boot-timeout";
const KEEPING: &str = "canary groups stop-after give-up-after name window settle";

#[test]
fn a_command_accepts_the_options_that_it_uses_and_no_others() {
    for command in Cli::command().get_subcommands() {
        let (_, expected) = OPTIONS.iter().find(|(name, _)| *name == command.get_name()).unwrap();
        let expected: BTreeSet<_> = expected.iter().flat_map(|some| some.split(' ')).collect();
        let accepted: BTreeSet<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert_eq!(accepted, expected, "{}", command.get_name());
    }
    #[cfg(feature = "broker")]
    assert_eq!(Cli::command().get_subcommands().count(), OPTIONS.len());
}

#[test]
fn help_says_which_exit_statuses_there_are() {
    let help = Cli::command().render_long_help().to_string();
    for status in ["  0 ", "  1 ", "  2 ", "130 "] {
        assert!(help.contains(status), "{status:?} in {help}");
    }
}

#[test]
fn help_names_the_real_defaults_and_variables() {
    let mut cli = Cli::command();
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let commands = cli
        .get_subcommands_mut()
        .filter(|command| ["send", "receive", "broker"].contains(&command.get_name()));
    let help = commands.map(|command| words(command.render_long_help().to_string())).collect::<String>();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let settings =
        crate::settings::Settings::resolve(Default::default(), Some(empty.path()), &|_| None).unwrap();
    for setting in settings.listed().iter().filter(|setting| setting.name != "password") {
        let variable = format!("MQTT_OTA_{}", setting.name.to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "{variable}");
        let Some(default) = setting.value.map(|value| value.trim_end_matches(":1883")) else { continue };
        assert!(help.contains(&format!("[env: {variable}] [default: {default}]")), "{variable} {default}");
    }
}

#[test]
fn help_says_how_a_time_is_written_wherever_one_is_taken() {
    let mut times = 0;
    for command in Cli::command().get_subcommands() {
        for option in command.get_arguments() {
            if option.get_value_names().is_some_and(|names| names.iter().any(|name| name == "TIME")) {
                let help = option.get_help().unwrap().to_string();
                assert!(help.contains("500ms, 30s or 2m"), "{}", option.get_id());
                times += 1;
            }
        }
    }
    assert!(times > 0);
}

#[test]
fn every_command_teaches_by_example() {
    for command in Cli::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        let example = format!("mqtt-ota {}", command.get_name());
        assert!(help.contains("Example"), "{}", command.get_name());
        assert!(help.matches(&example).count() > 1, "{}", command.get_name());
    }
}
