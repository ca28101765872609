//! Options that several commands share. An option that is also an environment variable and a key of the settings file
//! stays text here. [`crate::settings`] parses it, whichever of the three it comes from.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mqtt_ota::keeper::Window;

use crate::settings::Flags;

/// Id of the argument that names the folder of the kept devices.
pub(super) const FOLDER: &str = "folder";

/// Options for reaching the broker.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct Connection {
    /// The broker: mqtt://HOST or mqtt://HOST:PORT, mqtts:// for TLS [env: MQTT_OTA_BROKER] [default:
    /// mqtt://localhost]
    #[arg(short, long, value_name = "URL")]
    broker: Option<String>,

    #[command(flatten)]
    login: Login,

    /// Speak this version of MQTT, 5 or 3.1.1; otherwise 5, and 3.1.1 where the broker does not speak it
    /// [env: MQTT_OTA_PROTOCOL]
    #[arg(long, value_name = "VERSION")]
    protocol: Option<String>,

    /// Trust the authorities in this PEM file, not the system's [env: MQTT_OTA_CA_FILE]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Trust this one certificate of the broker, whoever has signed it; SHA256 is what `openssl x509
    /// -fingerprint -sha256` prints [env: MQTT_OTA_TLS_FINGERPRINT]
    #[arg(long, value_name = "SHA256")]
    tls_fingerprint: Option<String>,

    /// Show the broker the client certificate in this PEM file [env: MQTT_OTA_CLIENT_CERT]
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// The private key of the client certificate, a PEM file [env: MQTT_OTA_CLIENT_KEY]
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
}

/// The user and the password of the broker.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct Login {
    /// The user to log in as [env: MQTT_OTA_USER]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Read the password from the first line of FILE [env: MQTT_OTA_PASSWORD_FILE; MQTT_OTA_PASSWORD has
    /// the password itself]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Options for data that outlives the built-in broker.
#[cfg(feature = "broker")]
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Announcements {
    /// Keep in FILE what devices announced, so that a restart does not forget those that sleep [env:
    /// MQTT_OTA_ANNOUNCEMENTS]
    #[arg(long, value_name = "FILE")]
    announcements: Option<PathBuf>,
}

/// Where files are served, and what devices are told of it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Serving the file")]
pub(crate) struct Serving {
    /// Serve on this address and port, or the first free port of a range [env: MQTT_OTA_LISTEN] [default:
    /// any free port]
    #[arg(long, value_name = "[ADDR:]PORT[-PORT]")]
    listen: Option<String>,

    /// Tell devices this address, where they reach this machine by another than it knows [env:
    /// MQTT_OTA_ADVERTISE]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
}

/// Limit on the number of devices worked with at once.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Devices")]
pub(crate) struct Parallel {
    /// Work with at most this many devices at once; a keeper by itself with 16 [env: MQTT_OTA_PARALLEL]
    /// [default: 8]
    #[arg(long, value_name = "N")]
    parallel: Option<String>,
}

/// Groups of devices that are named together.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Devices")]
pub(crate) struct Groups {
    /// Name devices together, to be called @NAME, besides the groups in the settings file [env:
    /// MQTT_OTA_GROUPS]
    #[arg(long, value_name = "NAME=DEVICE,…[;…]")]
    groups: Option<String>,
}

/// Options that decide which devices get files, and when. Each needs the argument `folder` of the command that has
/// them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Keeping")]
pub(crate) struct Keeping {
    /// Let these devices go first, and all others wait until each of them has confirmed its files: names or
    /// @groups, of the settings file or of `device.toml`; may be repeated
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', requires = FOLDER)]
    pub(crate) canary: Vec<String>,

    /// Name devices together for --canary @NAME, besides the groups in the settings file [env:
    /// MQTT_OTA_GROUPS]
    #[arg(long, value_name = "NAME=DEVICE,…[;…]", requires = "canary")]
    groups: Option<String>,

    /// Give nobody anything any more, until a folder changes, once N devices have failed for good
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), requires = FOLDER)]
    pub(crate) stop_after: Option<u16>,

    /// Leave a device alone after N failures in a row, until its folder changes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..), requires = FOLDER)]
    pub(crate) give_up_after: u16,

    /// Tell this keeper and others of the same folder, on other machines, from those of other folders: one of
    /// those with one name is at work [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = topic_level, requires = FOLDER)]
    pub(crate) name: Option<String>,

    /// Update devices at this time of the day only, such as 02:00-05:00, in local time
    #[arg(long, value_name = "HH:MM-HH:MM", requires = FOLDER)]
    pub(crate) window: Option<Window>,

    /// Take what is in a folder when nothing in it has changed for this long, such as 500ms, 30s or 2m; a file
    /// that somebody has open is waited for in any case [default: 100ms after one file was closed, 250ms after
    /// anything else]
    #[arg(long, value_name = "TIME", value_parser = settle, requires = FOLDER)]
    pub(crate) settle: Option<Duration>,
}

/// Options for offering a file again.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct Retrying {
    /// Offer again, at most N times, what may pass by itself [env: MQTT_OTA_RETRIES] [default: 2]
    #[arg(long, value_name = "N")]
    retries: Option<String>,

    /// Wait this long before the next offer, such as 500ms, 30s or 2m; a number alone is seconds [env:
    /// MQTT_OTA_RETRY_PAUSE] [default: 2s]
    #[arg(long, value_name = "TIME")]
    retry_pause: Option<String>,
}

/// Options for checking files before they are sent.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Checking {
    /// Send files as they are, though a board could not run them: Python that does not parse, pointers of Git LFS
    /// and the like. The setting is `check`, which may be `no` [env: MQTT_OTA_CHECK] [default: yes]
    #[arg(long)]
    no_check: bool,
}

/// Time-outs for a device that is offered a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct Waiting {
    /// How long a device may take to connect after the offer, or to be back on the broker, such as 500ms, 30s or 2m
    /// [env: MQTT_OTA_CONNECT_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<String>,

    /// How long a transfer may stand still, such as 500ms, 30s or 2m [env: MQTT_OTA_IDLE_TIMEOUT] [default: 20s]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,

    /// How long a device may take to report after the last byte, such as 500ms, 30s or 2m; for a set 2m where
    /// nothing is said [env: MQTT_OTA_CONFIRM_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "TIME")]
    confirm_timeout: Option<String>,
}

/// Options for the reboot of a device, and for waiting for it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reboot {
    /// Do not let the device reboot once the files are in place
    #[arg(long)]
    pub(crate) no_reboot: bool,

    /// Wait until the device is back online after its reboot; for a set, until it has confirmed it
    #[arg(long, conflicts_with = "no_reboot")]
    pub(crate) wait_boot: bool,

    /// Time that a device has with --wait-boot to come back and to confirm a set, such as 500ms, 30s or 2m [env:
    /// MQTT_OTA_BOOT_TIMEOUT] [default: 1m]
    #[arg(
        long,
        value_name = "TIME",
        requires = "wait_boot",
        conflicts_with = "no_reboot",
        help_heading = "Patience"
    )]
    boot_timeout: Option<String>,
}

/// Time-out for a device that is at its reboot, for commands that send it no file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct Absence {
    /// How long a device may take to be on the broker, such as 500ms, 30s or 2m [env: MQTT_OTA_CONNECT_TIMEOUT]
    /// [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<String>,
}

/// Time-out for a reboot, for commands that always wait for it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct BootTimeout {
    /// How long a device may take to come back, such as 500ms, 30s or 2m [env: MQTT_OTA_BOOT_TIMEOUT]
    /// [default: 1m]
    #[arg(long, value_name = "TIME")]
    boot_timeout: Option<String>,
}

/// Minimum rate of a sender, for a command that acts as a device.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct LeastRate {
    /// Give up a sender that brings fewer bytes a second, averaged over a minute, such as 512, 1K or 2M; 0 turns it off
    /// [env: MQTT_OTA_MIN_RATE] [default: 1K]
    #[arg(long, value_name = "RATE")]
    min_rate: Option<String>,
}

impl Connection {
    pub(crate) fn flags(&self) -> Flags {
        let Self { broker, login, protocol, ca_file, tls_fingerprint, client_cert, client_key } = self;
        let texts = [("broker", broker), ("protocol", protocol), ("tls-fingerprint", tls_fingerprint)];
        let files = [("ca-file", ca_file), ("client-cert", client_cert), ("client-key", client_key)];
        let texts = texts.into_iter().map(|(key, value)| (key, value.as_ref().map(OsString::from)));
        let files = files.into_iter().map(|(key, value)| (key, value.as_ref().map(OsString::from)));
        texts.chain(files).fold(login.flags(), |flags, (key, value)| flags.with(key, value))
    }
}

impl Login {
    pub(crate) fn flags(&self) -> Flags {
        let Self { user, password_file } = self;
        Flags::default()
            .with("user", user.as_ref().map(OsString::from))
            .with("password-file", password_file.as_ref().map(OsString::from))
    }
}

#[cfg(feature = "broker")]
impl Announcements {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { announcements } = self;
        flags.with("announcements", announcements.as_ref().map(OsString::from))
    }
}

impl Serving {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { listen, advertise } = self;
        flags.with_text("listen", listen).with_text("advertise", advertise)
    }
}

impl Parallel {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { parallel } = self;
        flags.with_text("parallel", parallel)
    }
}

impl Groups {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { groups } = self;
        flags.with_text("groups", groups)
    }
}

impl Keeping {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        flags.with_text("groups", &self.groups)
    }
}

impl Retrying {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { retries, retry_pause } = self;
        flags.with_text("retries", retries).with_text("retry-pause", retry_pause)
    }
}

impl Checking {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        flags.with("check", self.no_check.then(|| "no".into()))
    }
}

impl Waiting {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { connect_timeout, idle_timeout, confirm_timeout } = self;
        flags
            .with_text("connect-timeout", connect_timeout)
            .with_text("idle-timeout", idle_timeout)
            .with_text("confirm-timeout", confirm_timeout)
    }
}

impl Reboot {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        flags.with_text("boot-timeout", &self.boot_timeout)
    }
}

impl Absence {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { connect_timeout } = self;
        flags.with_text("connect-timeout", connect_timeout)
    }
}

impl BootTimeout {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { boot_timeout } = self;
        flags.with_text("boot-timeout", boot_timeout)
    }
}

impl LeastRate {
    pub(crate) fn add_to(&self, flags: Flags) -> Flags {
        let Self { min_rate } = self;
        flags.with_text("min-rate", min_rate)
    }
}

fn settle(text: &str) -> Result<Duration, String> {
    crate::settings::duration(text).map_err(|error| error.to_string())
}

/// Parses a keeper's name. The name is a level of a topic, so the rules are those of a device name.
pub(super) fn topic_level(text: &str) -> Result<String, mqtt_ota::wire::NameError> {
    text.parse::<mqtt_ota::DeviceName>().map(|name| name.to_string())
}
