//! What the command answers without a broker: help, versions, and usage errors.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::process::{Command, Output};

fn mqtt_ota(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mqtt-ota")).args(args).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_is_data_and_exits_0() {
    for args in [&["--help"][..], &["send", "--help"], &["keep", "--help"], &["--version"]] {
        let output = mqtt_ota(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(text(&output.stdout).contains("mqtt-ota"), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn a_usage_error_exits_2_and_writes_nothing_to_standard_output() {
    for args in [&["sned"][..], &["send"], &["send", "main.py"], &["send", "--no-such-option"]] {
        let output = mqtt_ota(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        assert!(text(&output.stderr).starts_with("error:"), "{args:?}: {output:?}");
    }
}

/// What no command may take and ignore: the options of the settings, and of those the ones that each command uses.
#[test]
fn an_option_that_has_no_effect_is_a_usage_error() {
    const BROKER: &str = "broker user password-file protocol ca-file tls-fingerprint client-cert client-key";
    const ALL: &str = "broker user password-file protocol ca-file tls-fingerprint client-cert client-key listen advertise parallel groups retries retry-pause \
        connect-timeout idle-timeout confirm-timeout boot-timeout announcements canary stop-after give-up-after name \
        settle window no-reboot wait-boot require-confirmation delete delete-all dry-run trial min-rate";
    let send =
        "listen advertise parallel groups retries retry-pause connect-timeout idle-timeout confirm-timeout";
    for (line, used) in [
        ("send main.py --to A", [BROKER, send, "no-reboot wait-boot require-confirmation"].join(" ")),
        ("sync . --to A", [BROKER, send, "no-reboot wait-boot delete delete-all dry-run trial"].join(" ")),
        ("rollback --to A", [BROKER, "parallel groups connect-timeout boot-timeout"].join(" ")),
        ("devices", [BROKER, "groups"].join(" ")),
        ("log A", [BROKER, "groups"].join(" ")),
        ("status .", [BROKER, "name"].join(" ")),
        ("receive --as A --root .", [BROKER, "min-rate"].join(" ")),
        (
            "keep .",
            [BROKER, "listen advertise parallel connect-timeout idle-timeout confirm-timeout"].join(" ")
                + " canary stop-after give-up-after name window settle",
        ),
        ("broker", "user password-file listen announcements".to_owned()),
        ("demo", String::new()),
        ("completions bash", String::new()),
        ("man", String::new()),
    ] {
        let used: Vec<_> = used.split(' ').collect();
        for option in ALL.split_whitespace().filter(|option| !used.contains(option)) {
            let is_switch =
                ["no-reboot", "wait-boot", "require-confirmation", "delete", "delete-all", "dry-run"]
                    .contains(&option);
            let value = if is_switch { "" } else { "=1" };
            let flag = format!("--{option}{value}");
            let args: Vec<_> = line.split(' ').chain([flag.as_str()]).collect();
            let output = mqtt_ota(&args);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
            assert!(text(&output.stderr).contains(option), "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_path_on_the_device_that_another_tool_would_take_is_answered_with_what_to_write() {
    for (wanted, right) in [
        (":main.py", "--as main.py"),
        (":lib/", "--as lib/"),
        ("/main.py", "--as main.py"),
        ("./main.py", "--as main.py"),
        ("main.py/", "--as main.py"),
        ("lib\\lamp.py", "--as lib/lamp.py"),
    ] {
        let output = mqtt_ota(&["send", "main.py", "--to", "LAMP", "--as", wanted]);
        assert_eq!(output.status.code(), Some(2), "{wanted}: {output:?}");
        let hint = format!("hint: write {right}");
        assert!(text(&output.stderr).contains(&hint), "{wanted}: {output:?}");
    }
}

#[test]
fn a_settings_file_that_would_not_be_read_is_a_usage_error() {
    for args in
        [&["demo", "--config", "x"][..], &["--config", "x", "man"], &["completions", "bash", "--config", "x"]]
    {
        let output = mqtt_ota(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains("--config"), "{args:?}: {output:?}");
    }
}

#[test]
fn a_slip_of_the_finger_is_answered_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    file("main.py", "x");
    let missing = folder.path().join("mian.py").display().to_string();
    let settings = file("settings.toml", "brokr = \"x\"");
    for (args, meant, status) in [
        (&["sned"][..], "send", 2),
        (&["man", "sned"], "did you mean send?", 2),
        (&["send", &missing, "--to", "A"], "did you mean main.py?", 1),
        (&["config", "--config", &settings], "did you mean broker?", 2),
        (&["rollback", "--to", "@lmaps", "--groups", "lamps=A"], "did you mean @lamps?", 2),
        (&["devices", "@lmaps", "--groups", "lamps=A"], "did you mean @lamps?", 2),
    ] {
        let output = mqtt_ota(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(meant), "{args:?}: {output:?}");
    }
}
