use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::wire::{Delete, DeviceName, Trial};

/// File in a device's folder that sets how the device is kept. The file itself is not sent.
pub const SETTINGS_FILE: &str = "device.toml";

/// Longest settings file, in bytes.
pub(super) const SETTINGS_MAX: u64 = 1024 * 1024;

/// Contents of a device's `device.toml`. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeviceSettings {
    /// Folders whose files the device gets as well, relative to its own. Of two files with one name, the later folder's
    /// counts, and the device's own above all.
    pub(super) include: Vec<PathBuf>,
    /// Further devices that get the same files.
    pub(super) aliases: Vec<DeviceName>,
    /// Groups that the device belongs to.
    pub(super) groups: BTreeSet<String>,
    /// True if the device is held back: nothing is sent to it.
    pub(super) hold: bool,
    /// Files to delete that are no longer in the folder. `None`: those of the former set.
    pub(super) delete: Option<Delete>,
    /// True if the files are checked before they are offered. `None`: they are.
    pub(super) check: Option<bool>,
    /// Number of boots in which a set has to be confirmed before the device takes it back.
    pub(super) trial: Option<Trial>,
}

/// File as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    include: Vec<PathBuf>,
    aliases: Vec<String>,
    groups: BTreeSet<String>,
    hold: bool,
    delete: Option<DeleteWritten>,
    check: Option<bool>,
    trial: Option<u16>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeleteWritten {
    Nothing,
    Set,
    All,
}

impl DeviceSettings {
    /// Parses the text of the file.
    pub(super) fn parse(text: &str) -> Result<Self, SettingsError> {
        let Written { include, aliases, groups, hold, delete, check, trial } =
            toml::from_str(text).map_err(|error| SettingsError::toml(&error, text))?;
        let aliases = aliases.into_iter().map(|alias| {
            let name = alias.parse();
            name.map_err(|source| SettingsError::Alias { alias, source })
        });
        let trial = trial.map(|boots| Trial::new(boots).ok_or(SettingsError::Trial { boots })).transpose()?;
        Ok(Self {
            include,
            aliases: aliases.collect::<Result<_, _>>()?,
            groups,
            hold,
            delete: delete.map(|delete| match delete {
                DeleteWritten::Nothing => Delete::Nothing,
                DeleteWritten::Set => Delete::FormerSet,
                DeleteWritten::All => Delete::Everything,
            }),
            check,
            trial,
        })
    }
}

/// Error in a `device.toml`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Invalid TOML, or an unknown key or value.
    #[error("{SETTINGS_FILE} cannot be understood, line {line}: {message}")]
    Toml {
        /// Line, counted from 1.
        line: usize,
        /// Parser's message, on one line.
        message: String,
    },
    /// Name of another device that breaks a rule.
    #[error("{alias:?} in {SETTINGS_FILE} is no device's name")]
    Alias {
        /// Name as written.
        alias: String,
        /// Rule that it breaks.
        source: crate::wire::NameError,
    },
    /// Number of boots outside 1 to 999.
    #[error("a trial in {SETTINGS_FILE} has 1 to 999 boots, not {boots}")]
    Trial {
        /// Number found.
        boots: u16,
    },
    /// File too long, and so of another kind or for another purpose.
    #[error("{SETTINGS_FILE} is longer than {SETTINGS_MAX} bytes")]
    TooLong,
}

impl SettingsError {
    fn toml(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Toml { line: before.matches('\n').count() + 1, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(DeviceSettings::parse("").unwrap(), DeviceSettings::default());
    }

    #[test]
    fn everything_that_it_may_say_is_read() {
        let settings = DeviceSettings::parse(
            r#"
            include = ["../common", "../lamps"]
            aliases = ["HALL", "ATTIC"]
            groups = ["lamps"]
            hold = true
            delete = "all"
            check = false
            trial = 5
            "#,
        )
        .unwrap();
        let expected = DeviceSettings {
            include: vec!["../common".into(), "../lamps".into()],
            aliases: vec!["HALL".parse().unwrap(), "ATTIC".parse().unwrap()],
            groups: BTreeSet::from(["lamps".to_owned()]),
            hold: true,
            delete: Some(Delete::Everything),
            check: Some(false),
            trial: Trial::new(5),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn an_error_says_in_one_line_where_it_is() {
        let error = DeviceSettings::parse("hold = true\n\ninclued = []\n").unwrap_err().to_string();
        assert!(
            error.starts_with("device.toml cannot be understood, line 3: unknown field `inclued`"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn what_it_cannot_say_is_an_error() {
        for bad in [
            "inclued = []",
            "hold = 1",
            "aliases = [\"a/b\"]",
            "trial = 0",
            "trial = 1000",
            "[",
            "delete = \"x\"",
            "check = \"x\"",
        ] {
            assert!(DeviceSettings::parse(bad).is_err(), "{bad}");
        }
    }
}
