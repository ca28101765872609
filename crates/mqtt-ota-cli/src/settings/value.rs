//! Parsing and display of the values of settings.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use mqtt_ota::{Broker, BrokerUrlError, Listen, Protocol};

use crate::problem::Problem;

/// Longest accepted time: one week. A longer one is most likely a typo.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const DEFAULT_BROKER: &str = "mqtt://localhost";

pub(super) fn default_broker() -> Result<Broker, Problem> {
    Broker::parse(DEFAULT_BROKER).map_err(|error| Problem::failed("no default broker").caused_by(error))
}

/// Parses a broker: a URL, or a host alone, as people write it.
pub(super) fn broker(text: &str) -> Result<Broker, BrokerUrlError> {
    if text.contains("://") { Broker::parse(text) } else { Broker::parse(&format!("mqtt://{text}")) }
}

/// Parses a version of MQTT, as people write it.
pub(super) fn protocol(text: &str) -> Result<Protocol, ProtocolError> {
    match text.trim().trim_start_matches(['v', 'V']) {
        "5" | "5.0" => Ok(Protocol::V5),
        "3.1.1" | "3" | "311" => Ok(Protocol::V311),
        _ => Err(ProtocolError),
    }
}

pub(crate) fn show_protocol(protocol: &Protocol) -> String {
    if *protocol == Protocol::V5 { "5" } else { "3.1.1" }.to_owned()
}

/// Returns true if a broker's URL contains a password.
pub(super) fn has_password(url: &OsStr) -> bool {
    let url = url.to_string_lossy();
    let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'))
}

pub(super) fn text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

pub(super) fn count(text: &str) -> Result<u32, NumberError> {
    text.parse().map_err(|_| NumberError { least: 0 })
}

pub(super) fn at_least_one(text: &str) -> Result<usize, NumberError> {
    text.parse().map(|number: NonZeroU16| number.get().into()).map_err(|_| NumberError { least: 1 })
}

/// Parses yes or no, as people write it.
pub(super) fn switch(text: &str) -> Result<bool, SwitchError> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(SwitchError),
    }
}

pub(super) fn show_switch(switch: &bool) -> String {
    if *switch { "yes" } else { "no" }.to_owned()
}

/// Parses a duration that may be zero. A number alone is in seconds.
pub(super) fn pause(text: &str) -> Result<Duration, DurationError> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(DurationError::Syntax)?,
    };
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    pause(text).and_then(|duration| if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) })
}

pub(super) fn show_duration(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}

/// Parses a rate in bytes per second. `K` or `M` behind the number multiplies it by 1024 or 1024².
pub(super) fn rate(text: &str) -> Result<u64, RateError> {
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |number| (number, 1 << 20)),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(RateError)
}

pub(super) fn show_rate(rate: &u64) -> String {
    match rate {
        0 => "0".to_owned(),
        rate if rate % (1 << 20) == 0 => format!("{}M", rate >> 20),
        rate if rate % (1 << 10) == 0 => format!("{}K", rate >> 10),
        rate => rate.to_string(),
    }
}

pub(super) fn show_listen(listen: &Listen) -> String {
    if *listen == Listen::default() { "any free port".to_owned() } else { listen.to_string() }
}

/// Parses groups that are written in one line: `lamps=NIGHTLAMP,HALL;plugs=P1`.
pub(super) fn groups(text: &str) -> Result<Vec<(String, Vec<String>)>, GroupsError> {
    let one = |group: &str| {
        let (name, members) = group.split_once('=')?;
        let members = members.split(',').map(|member| member.trim().to_owned()).collect();
        Some((name.trim().to_owned(), members))
    };
    text.split(';')
        .filter(|group| !group.trim().is_empty())
        .map(|group| one(group).ok_or(GroupsError))
        .collect()
}

/// Error of a text that is no version of MQTT.
#[derive(Debug)]
pub(super) struct ProtocolError;

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the versions of MQTT are 5 and 3.1.1")
    }
}

impl std::error::Error for ProtocolError {}

/// Error of a text that is neither yes nor no.
#[derive(Debug)]
pub(super) struct SwitchError;

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("yes or no is wanted")
    }
}

impl std::error::Error for SwitchError {}

/// Error of a text that is no rate.
#[derive(Debug)]
pub(super) struct RateError;

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of bytes a second is wanted, with K or M behind it for multiples of 1024")
    }
}

impl std::error::Error for RateError {}

/// Error of a text that names no groups.
#[derive(Debug)]
pub(super) struct GroupsError;

impl fmt::Display for GroupsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group is written as NAME=DEVICE,DEVICE, several with a semicolon in between")
    }
}

impl std::error::Error for GroupsError {}

/// Error of a text that is not a number.
#[derive(Debug)]
pub(super) struct NumberError {
    least: u8,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number is wanted, {} or more", self.least)
    }
}

impl std::error::Error for NumberError {}

/// Error of a text that is not a time to wait.
#[derive(Debug)]
pub(crate) enum DurationError {
    Syntax(humantime::DurationError),
    Zero,
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(_) => f.write_str("a time is written as 500ms, 30s or 2m"),
            Self::Zero => f.write_str("nothing happens in no time at all"),
            Self::TooLong => write!(f, "the longest time is {}", humantime::format_duration(LONGEST)),
        }
    }
}

impl std::error::Error for DurationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Syntax(source) => Some(source),
            Self::Zero | Self::TooLong => None,
        }
    }
}
