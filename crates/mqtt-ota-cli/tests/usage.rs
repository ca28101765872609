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
