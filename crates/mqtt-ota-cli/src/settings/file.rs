//! Settings file, `config.toml`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use toml::{Table, Value};

use super::origin::Environment;
use crate::problem::Problem;
use crate::similar;

/// Keys at the top level of the file. `password` is left out on purpose. The file may be copied from machine to machine
/// or into a repository, and should only say where the password is.
const KEYS: [&str; 20] = [
    "broker",
    "user",
    "password-file",
    "protocol",
    "ca-file",
    "tls-fingerprint",
    "client-cert",
    "client-key",
    // Used by `mqtt-ota broker`. A build without it accepts the key too, as the file may be shared.
    "announcements",
    "listen",
    "advertise",
    "parallel",
    "check",
    "retries",
    "retry-pause",
    "connect-timeout",
    "idle-timeout",
    "confirm-timeout",
    "boot-timeout",
    "min-rate",
];

/// Table of the groups of devices.
const GROUPS: &str = "groups";

/// Content of the settings file, as text that is not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    /// True if the file exists. The one in the configuration folder may be missing.
    pub(crate) found: bool,
    pub(crate) values: BTreeMap<&'static str, String>,
    pub(crate) groups: BTreeMap<String, Vec<String>>,
}

impl SettingsFile {
    /// Reads the file that the user named by flag or variable, or otherwise the one in the configuration folder.
    pub(super) fn load(named: Option<&Path>, environment: &Environment<'_>) -> Result<Self, Problem> {
        let named = named.map(Path::to_owned).or_else(|| environment("MQTT_OTA_CONFIG").map(PathBuf::from));
        let Some(path) = named.clone().or_else(|| default_path(environment)) else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                return Ok(Self { path, ..Self::default() });
            }
            Err(error) => {
                return Err(Problem::failed(format!("cannot read the settings file {}", path.display()))
                    .caused_by(error)
                    .hint("--config and MQTT_OTA_CONFIG name another one"));
            }
        };
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::usage(format!("settings file {}: {what}", path.display()));
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            wrong(format!("line {line}: {}", error.message().replace('\n', ", ")))
                .hint("it is TOML, where a text stands in quotes: `mqtt-ota --help` has an example")
        })?;
        let mut file = Self { path: path.clone(), found: true, ..Self::default() };
        for (key, value) in table {
            if key == GROUPS {
                file.groups = groups(value).map_err(|what| wrong(what).hint("for example [groups] lamps = [\"NIGHTLAMP\", \"HALL\"]; keys stand above the first [table]"))?;
                continue;
            }
            let Some(known) = KEYS.into_iter().find(|known| *known == key) else {
                let hint = match key.as_str() {
                    "password" => {
                        "write the password to a file of its own, and password-file = \"…\" here".into()
                    }
                    other => {
                        similar::question(other, KEYS.into_iter().chain([GROUPS])).unwrap_or_else(|| {
                            format!("known are {}, and the table [{GROUPS}]", KEYS.join(", "))
                        })
                    }
                };
                return Err(wrong(format!("unknown key {key:?}")).hint(hint));
            };
            let text = match value {
                Value::String(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Boolean(truth) if known == "check" => truth.to_string(),
                other => {
                    return Err(wrong(format!(
                        "{key:?} is a {}, not a text or a whole number",
                        other.type_str()
                    ))
                    .hint("write it as \"…\" or as a whole number"));
                }
            };
            file.values.insert(known, text);
        }
        Ok(file)
    }
}

fn groups(value: Value) -> Result<BTreeMap<String, Vec<String>>, String> {
    let Value::Table(table) = value else {
        return Err(format!("{GROUPS:?} is a {}, not a table", value.type_str()));
    };
    let members = |name: &str, value: Value| -> Result<Vec<String>, String> {
        let wrong = || format!("the group {name:?} is not a list of device names");
        let Value::Array(values) = value else { return Err(wrong()) };
        values
            .into_iter()
            .map(|value| match value {
                Value::String(member) => Ok(member),
                _ => Err(wrong()),
            })
            .collect()
    };
    table.into_iter().map(|(name, value)| Ok((name.clone(), members(&name, value)?))).collect()
}

/// Returns the path of `mqtt-ota/config.toml` in the configuration folder: `~/.config` or the value of
/// `XDG_CONFIG_HOME`, and `%APPDATA%` on Windows.
fn default_path(environment: &Environment<'_>) -> Option<PathBuf> {
    let told = environment("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = match told {
        Some(folder) if cfg!(unix) => folder,
        _ => etcetera::choose_base_strategy().ok()?.config_dir(),
    };
    Some(folder.join("mqtt-ota").join("config.toml"))
}
