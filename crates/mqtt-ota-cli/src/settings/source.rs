//! Sources of the settings.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::file::SettingsFile;
use super::origin::{Environment, Source};
use crate::problem::Problem;

/// Value of a setting, with its text for display and its source.
#[derive(Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// Text for display. `None` if nothing is set.
    pub(crate) shown: Option<String>,
    pub(crate) source: Source,
}

/// Flags that were given, by the name of their setting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags(Vec<(&'static str, OsString)>);

impl Flags {
    pub(crate) fn with(mut self, key: &'static str, value: Option<OsString>) -> Self {
        self.0.extend(value.map(|value| (key, value)));
        self
    }

    pub(crate) fn with_text(self, key: &'static str, value: &Option<String>) -> Self {
        self.with(key, value.as_ref().map(OsString::from))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&OsStr> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_os_str())
    }
}

/// Returns the variable of a setting: `MQTT_OTA_RETRY_PAUSE` for `retry-pause`.
pub(super) fn variable_of(key: &str) -> String {
    format!("MQTT_OTA_{}", key.to_uppercase().replace('-', "_"))
}

/// Returns the flag of a setting: `--retry-pause` for `retry-pause`. The only flag for `check` is `--no-check`.
fn flag_of(key: &str) -> String {
    if key == "check" { "--no-check".to_owned() } else { format!("--{key}") }
}

/// All sources of a value, in order of precedence.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a Environment<'a>,
    pub(super) file: &'a SettingsFile,
}

impl Sources<'_> {
    /// Returns the value of a setting and its source, from the first source that has one.
    pub(super) fn find(&self, key: &str) -> Option<(OsString, Source)> {
        if let Some(value) = self.flags.get(key) {
            return Some((value.to_owned(), Source::Flag(flag_of(key))));
        }
        let variable = variable_of(key);
        if let Some(value) = (self.environment)(&variable) {
            return Some((value, Source::Variable(variable)));
        }
        let value = self.file.values.get(key)?;
        Some((value.into(), Source::File { path: self.file.path.clone(), key: key.to_owned() }))
    }

    /// Returns a setting that always has a value.
    pub(super) fn one<T, E: std::error::Error + Send + Sync + 'static>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
        show: impl Fn(&T) -> String,
    ) -> Result<Setting<T>, Problem> {
        let (value, source) = match self.find(key) {
            None => (default, Source::Default),
            Some((text, source)) => (parsed(key, &text, &source, parse)?, source),
        };
        Ok(Setting { shown: Some(show(&value)), value, source })
    }

    /// Returns a setting that may have no value.
    pub(super) fn optional<T, E: std::error::Error + Send + Sync + 'static>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
        show: impl Fn(&T) -> String,
    ) -> Result<Setting<Option<T>>, Problem> {
        let Some((text, source)) = self.find(key) else {
            return Ok(Setting { value: None, shown: None, source: Source::Default });
        };
        let value = parsed(key, &text, &source, parse)?;
        Ok(Setting { shown: Some(show(&value)), value: Some(value), source })
    }

    /// Returns a setting that is a path. In the settings file, a path is relative to that file's folder.
    pub(super) fn path(&self, key: &str) -> Result<Setting<Option<PathBuf>>, Problem> {
        let Some((text, source)) = self.find(key) else {
            return Ok(Setting { value: None, shown: None, source: Source::Default });
        };
        let path = match (&source, self.file.path.parent()) {
            (Source::File { .. }, Some(folder)) => folder.join(&text),
            _ => Path::new(&text).to_owned(),
        };
        Ok(Setting { shown: Some(path.display().to_string()), value: Some(path), source })
    }
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    key: &str,
    text: &OsStr,
    source: &Source,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, Problem> {
    // A broker's URL may contain a password, so the error does not repeat it.
    let shown =
        if key == "broker" { "the value".to_owned() } else { format!("{:?}", text.to_string_lossy()) };
    let wrong = || Problem::usage(format!("{shown} is not valid for {source}")).hint(example(key));
    let text = text.to_str().ok_or_else(|| wrong().hint("it is not UTF-8"))?;
    parse(text).map_err(|error| wrong().caused_by(error))
}

/// Returns a hint that shows a valid value of a setting.
fn example(key: &str) -> &'static str {
    match key {
        "broker" => "for example mqtt://iot.lan, or mqtts://iot.lan:8883 for TLS",
        "listen" => "for example 8266, 8266-8270 or 192.168.1.10:8266",
        "advertise" => "for example 192.168.1.10 or nas.lan:8266",
        "parallel" | "retries" => "for example 4",
        "protocol" => "5 or 3.1.1",
        "tls-fingerprint" => {
            "`openssl x509 -in FILE -noout -fingerprint -sha256` prints that of a certificate"
        }
        "check" => "yes or no",
        "min-rate" => "for example 512, 1K or 2M, in bytes a second",
        "groups" => "for example lamps=NIGHTLAMP,HALL;plugs=P1",
        _ => "for example 500ms, 30s or 2m",
    }
}
