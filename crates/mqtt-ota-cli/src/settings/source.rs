//! Where a setting comes from.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::SettingsFile;
use crate::problem::Problem;

/// Looks a variable up; a parameter, so that tests need not change the process's own.
pub(crate) type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// A value, how it is shown, and where it came from.
#[derive(Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// None where nothing is set.
    pub(crate) shown: Option<String>,
    pub(crate) source: Source,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(String),
    Variable(String),
    File { path: PathBuf, key: String },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File { path, key } => write!(f, "{key} in {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The flags that were given, by the name of their setting.
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

/// `MQTT_OTA_RETRY_PAUSE` for `retry-pause`.
pub(super) fn variable_of(key: &str) -> String {
    format!("MQTT_OTA_{}", key.to_uppercase().replace('-', "_"))
}

/// `--retry-pause` for `retry-pause`. The only flag for `check` is the one against it.
fn flag_of(key: &str) -> String {
    if key == "check" { "--no-check".to_owned() } else { format!("--{key}") }
}

/// All places where a value may be, in their order.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a Environment<'a>,
    pub(super) file: &'a SettingsFile,
}

impl Sources<'_> {
    /// What was said first of a setting, and where.
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

    /// A setting that always has a value.
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

    /// A setting that may have none.
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

    /// A path; one in the settings file is relative to the folder of that file.
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
    // A broker's URL may have a password in it, so it is not repeated.
    let shown =
        if key == "broker" { "the value".to_owned() } else { format!("{:?}", text.to_string_lossy()) };
    let wrong = || Problem::usage(format!("{shown} is not valid for {source}")).hint(example(key));
    let text = text.to_str().ok_or_else(|| wrong().hint("it is not UTF-8"))?;
    parse(text).map_err(|error| wrong().caused_by(error))
}

/// What a valid value of a setting looks like.
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
