//! Settings: flags, then `MQTT_OTA_*` variables, then the settings file, then the default. Each value remembers its
//! source.

mod file;
mod hint;
mod origin;
mod password;
mod source;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mqtt_ota::{Advertise, Broker, Fingerprint, Listen, Protocol, ReceiverConfig, SendOptions};

pub(crate) use file::SettingsFile;
pub(crate) use origin::{Environment, Source};
use password::read_password_file;
pub(crate) use source::{Flags, Setting};
pub(crate) use value::duration;

use crate::problem::Problem;
use source::Sources;

/// Default number of devices that are sent to at once: enough for a home, and few enough to flood neither a radio nor a
/// broker.
const PARALLEL: usize = 8;

/// All settings, each with its source.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Path of the settings file. `file_found` is true if the file exists.
    pub(crate) file: PathBuf,
    pub(crate) file_found: bool,
    /// Broker, without the login.
    pub(crate) broker: Setting<Broker>,
    pub(crate) user: Setting<Option<String>>,
    /// Password. Its file is read only when the password is needed.
    pub(crate) password: Setting<Option<Password>>,
    /// Version of MQTT. `None` means 5, and 3.1.1 if the broker does not speak 5.
    pub(crate) protocol: Setting<Option<Protocol>>,
    pub(crate) ca_file: Setting<Option<PathBuf>>,
    pub(crate) tls_fingerprint: Setting<Option<Fingerprint>>,
    pub(crate) client_cert: Setting<Option<PathBuf>>,
    pub(crate) client_key: Setting<Option<PathBuf>>,
    /// File of the built-in broker for devices' announcements.
    #[cfg(feature = "broker")]
    pub(crate) announcements: Setting<Option<PathBuf>>,
    pub(crate) listen: Setting<Listen>,
    pub(crate) advertise: Setting<Option<Advertise>>,
    pub(crate) parallel: Setting<usize>,
    /// True if files are checked before they are offered.
    pub(crate) check: Setting<bool>,
    pub(crate) retries: Setting<u32>,
    pub(crate) retry_pause: Setting<Duration>,
    pub(crate) connect_timeout: Setting<Duration>,
    pub(crate) idle_timeout: Setting<Duration>,
    pub(crate) confirm_timeout: Setting<Duration>,
    pub(crate) boot_timeout: Setting<Duration>,
    /// Slowest accepted rate, in bytes per second. 0 accepts any rate.
    pub(crate) min_rate: Setting<u64>,
    pub(crate) groups: BTreeMap<String, Group>,
}

/// Password, or the file that contains it.
#[derive(Clone)]
pub(crate) enum Password {
    Given(String),
    InFile(PathBuf),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::InFile(path) => write!(f, "InFile({})", path.display()),
        }
    }
}

/// Devices under a common name.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) members: Vec<String>,
    pub(crate) source: Source,
}

/// Returns the groups of the settings file. Those of `--groups` or its variable replace groups of the same name.
fn groups(sources: &Sources<'_>) -> Result<BTreeMap<String, Group>, Problem> {
    let file = sources.file;
    let in_file = file.groups.iter().map(|(name, members)| {
        let source = Source::File { path: file.path.clone(), key: format!("groups.{name}") };
        (name.clone(), Group { members: members.clone(), source })
    });
    let told = sources.optional("groups", value::groups, |_| String::new())?;
    let told_groups = told.value.into_iter().flatten();
    let told_groups =
        told_groups.map(|(name, members)| (name, Group { members, source: told.source.clone() }));
    Ok(in_file.chain(told_groups).collect())
}

impl Settings {
    /// Combines all sources into the settings.
    ///
    /// # Errors
    /// Fails on a settings file that is unreadable or invalid, and on a value that breaks its rule. The error names the
    /// flag, the variable or the key of the value.
    pub(crate) fn resolve(
        flags: Flags,
        config: Option<&std::path::Path>,
        environment: &Environment<'_>,
    ) -> Result<Self, Problem> {
        let file = SettingsFile::load(config, environment)?;
        let sources = Sources { flags: &flags, environment, file: &file };
        let defaults = SendOptions::default();
        let duration = |key, default| sources.one(key, default, value::duration, value::show_duration);
        let broker = sources.one("broker", value::default_broker()?, value::broker, Broker::to_string)?;
        if matches!(broker.source, Source::Flag(_)) && flags.get("broker").is_some_and(value::has_password) {
            return Err(Problem::usage("the broker's password must not stand in --broker").hint(
                "everybody on this machine can read it there: use --password-file or MQTT_OTA_PASSWORD",
            ));
        }
        let mut user = sources.optional("user", value::text, String::clone)?;
        if user.value.is_none() && broker.value.user().is_some() {
            // The user is for display only, as the broker's URL contains it already.
            user.shown = broker.value.user().map(str::to_owned);
            user.source = broker.source.clone();
        }
        Ok(Self {
            broker,
            user,
            password: password::find(&sources)?,
            protocol: sources.optional("protocol", value::protocol, value::show_protocol)?,
            ca_file: sources.path("ca-file")?,
            tls_fingerprint: sources.optional("tls-fingerprint", str::parse, Fingerprint::to_string)?,
            client_cert: sources.path("client-cert")?,
            client_key: sources.path("client-key")?,
            #[cfg(feature = "broker")]
            announcements: sources.path("announcements")?,
            listen: sources.one("listen", Listen::default(), str::parse, value::show_listen)?,
            advertise: sources.optional("advertise", str::parse, Advertise::to_string)?,
            parallel: sources.one("parallel", PARALLEL, value::at_least_one, usize::to_string)?,
            check: sources.one("check", true, value::switch, value::show_switch)?,
            retries: sources.one("retries", defaults.retries, value::count, u32::to_string)?,
            retry_pause: sources.one(
                "retry-pause",
                defaults.retry_pause,
                value::pause,
                value::show_duration,
            )?,
            connect_timeout: duration("connect-timeout", defaults.connect_timeout)?,
            idle_timeout: duration("idle-timeout", defaults.idle_timeout)?,
            confirm_timeout: duration("confirm-timeout", defaults.confirm_timeout)?,
            boot_timeout: duration("boot-timeout", defaults.boot_timeout)?,
            min_rate: sources.one(
                "min-rate",
                ReceiverConfig::default().min_rate,
                value::rate,
                value::show_rate,
            )?,
            groups: groups(&sources)?,
            file: file.path.clone(),
            file_found: file.found,
        })
    }

    /// Returns the broker with its login, TLS settings and MQTT version.
    ///
    /// # Errors
    /// Fails on an unreadable password file, a password without a user, a client certificate without a key or the
    /// reverse, and a flag that only TLS needs.
    pub(crate) fn broker(&self) -> Result<Broker, Problem> {
        let mut broker = self.broker.value.clone();
        let of_tls = [
            &self.ca_file.source,
            &self.tls_fingerprint.source,
            &self.client_cert.source,
            &self.client_key.source,
        ];
        let useless = of_tls.into_iter().find(|source| matches!(source, Source::Flag(_)));
        if let Some(flag) = useless.filter(|_| !broker.is_tls()) {
            return Err(Problem::usage(format!("{flag} is of no use with {broker}: it is not encrypted"))
                .hint("the URL of a TLS port begins with mqtts://"));
        }
        if let Some(path) = &self.ca_file.value {
            broker = broker.with_ca_file(path);
        }
        if let Some(fingerprint) = self.tls_fingerprint.value {
            broker = broker.with_fingerprint(fingerprint);
        }
        match (&self.client_cert.value, &self.client_key.value) {
            (Some(certificate), Some(key)) => broker = broker.with_client_certificate(certificate, key),
            (None, None) => {}
            (Some(_), None) => {
                return Err(Problem::usage(format!(
                    "there is a client certificate ({}) but no key",
                    self.client_cert.source
                ))
                .hint("give its private key too: --client-key FILE; it may be in the same file"));
            }
            (None, Some(_)) => {
                return Err(Problem::usage(format!(
                    "there is a key ({}) but no client certificate",
                    self.client_key.source
                ))
                .hint("give the certificate too: --client-cert FILE"));
            }
        }
        if let Some(protocol) = self.protocol.value {
            broker = broker.with_protocol(protocol);
        }
        Ok(match self.login(broker.user())? {
            Some((user, password)) => broker.with_login(user, password),
            None => broker,
        })
    }

    /// Returns the user and the password. The password is empty if only a user was given.
    ///
    /// # Errors
    /// Fails on an unreadable password file, and on a password without a user.
    pub(crate) fn login(&self, user_in_url: Option<&str>) -> Result<Option<(String, String)>, Problem> {
        let password = match &self.password.value {
            None => None,
            Some(Password::Given(password)) => Some(password.clone()),
            Some(Password::InFile(path)) => Some(read_password_file(path)?),
        };
        match (self.user.value.as_deref(), user_in_url, password) {
            (Some(user), _, password) => Ok(Some((user.to_owned(), password.unwrap_or_default()))),
            (None, Some(user), Some(password)) => Ok(Some((user.to_owned(), password))),
            (None, _, None) => Ok(None),
            (None, None, Some(_)) => {
                Err(Problem::usage(format!("there is a password ({}) but no user", self.password.source))
                    .hint(
                        "give the user too: --user USER, MQTT_OTA_USER, or user = \"…\" in the settings file",
                    ))
            }
        }
    }

    /// Returns the name, value and source of every setting, in the order of display. No secrets.
    pub(crate) fn listed(&self) -> Vec<Listed<'_>> {
        fn row<'a, T>(name: &'static str, setting: &'a Setting<T>) -> Listed<'a> {
            Listed { name, value: setting.shown.as_deref(), source: &setting.source }
        }
        vec![
            row("broker", &self.broker),
            row("user", &self.user),
            row("password", &self.password),
            row("protocol", &self.protocol),
            row("ca-file", &self.ca_file),
            row("tls-fingerprint", &self.tls_fingerprint),
            row("client-cert", &self.client_cert),
            row("client-key", &self.client_key),
            #[cfg(feature = "broker")]
            row("announcements", &self.announcements),
            row("listen", &self.listen),
            row("advertise", &self.advertise),
            row("parallel", &self.parallel),
            row("check", &self.check),
            row("retries", &self.retries),
            row("retry-pause", &self.retry_pause),
            row("connect-timeout", &self.connect_timeout),
            row("idle-timeout", &self.idle_timeout),
            row("confirm-timeout", &self.confirm_timeout),
            row("boot-timeout", &self.boot_timeout),
            row("min-rate", &self.min_rate),
        ]
    }
}

/// Setting as `mqtt-ota config` shows it.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: Option<&'a str>,
    pub(crate) source: &'a Source,
}

/// Returns an environment variable of the process. An empty variable counts as not set.
pub(crate) fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
