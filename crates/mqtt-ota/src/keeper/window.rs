use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

/// File from which Unix systems take their time zone.
const LOCAL: &str = "/etc/localtime";

/// Hours of the day in which devices are updated, in local time, such as `02:00-05:00`. A window may cross midnight.
///
/// Where the clocks are set forward over all of it, the window is open when they would otherwise have shown it. Where
/// they are set back over it, the window is open twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    until: Time,
}

impl Window {
    /// Returns true if `time` lies in the window. The start is included, the end is not.
    pub(super) fn contains(self, time: Time) -> bool {
        if self.from <= self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }

    /// Returns true if the window is open at this time.
    fn is_open_at(self, now: &Zoned) -> bool {
        if self.contains(now.time()) {
            return true;
        }
        // True if the clock is set forward past this time of the day.
        let skipped = |time: Time| {
            let shown = now.date().to_datetime(time);
            match now.time_zone().to_ambiguous_timestamp(shown).offset() {
                AmbiguousOffset::Gap { before, .. } => Some(before),
                _ => None,
            }
        };
        let Some(before) = skipped(self.from) else { return false };
        let last = self.until.checked_sub(jiff::Span::new().nanoseconds(1)).ok().and_then(skipped);
        last.is_some() && self.contains(before.to_datetime(now.timestamp()).time())
    }

    /// Returns true if the window is open now, by this machine's clock and time zone.
    pub(super) fn is_open(self) -> bool {
        // The zone was known at the start. A zone that has disappeared since closes the window.
        zone().is_ok_and(|zone| self.is_open_at(&Timestamp::now().to_zoned(zone)))
    }

    /// Longest delay before the opening or closing of a window is noticed.
    pub(super) const TICK: Duration = Duration::from_secs(10);
}

/// Returns this machine's time zone: the one that `TZ` names, or else the system's, or UTC where none is set.
///
/// # Errors
/// The zone is not known, for example because its name is misspelt.
fn zone() -> Result<TimeZone, ZoneError> {
    let named = std::env::var_os("TZ");
    if cfg!(unix) && named.is_none() && Path::new(LOCAL).symlink_metadata().is_err() {
        return Ok(TimeZone::UTC);
    }
    TimeZone::try_system().map_err(|source| ZoneError {
        named: named.map(|named| named.to_string_lossy().into_owned()),
        source: Box::new(source),
    })
}

/// Returns this machine's time zone and the time in it, for a message: `Asia/Kolkata, where it is 14:03`.
///
/// # Errors
/// The zone is not known.
pub(super) fn local_time() -> Result<String, ZoneError> {
    let now = Timestamp::now().to_zoned(zone()?);
    let name = match now.time_zone().iana_name() {
        Some(name) => name.to_owned(),
        None => format!("UTC{}", now.offset()),
    };
    Ok(format!("{name}, where it is {}", now.strftime("%H:%M")))
}

/// Error for a time zone that is not known, so that no hours of the day can be kept to.
#[derive(Debug, thiserror::Error)]
#[error("{}", match named {
    Some(named) => format!("there is no time zone {named:?}, which TZ names"),
    None => "this machine's time zone is not known".to_owned(),
})]
pub struct ZoneError {
    /// Value of `TZ`.
    named: Option<String>,
    source: Box<jiff::Error>,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let wrong = || WindowError { text: text.to_owned() };
        let time = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            let fits = digits(hour) && digits(minute);
            fits.then(|| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok())?
        };
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (time(from).ok_or_else(wrong)?, time(until).ok_or_else(wrong)?);
        if from == until { Err(wrong()) } else { Ok(Self { from, until }) }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.until.strftime("%H:%M"))
    }
}

/// Error for text that is not a [`Window`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time of the day: give two different times as in 02:00-05:00")]
pub struct WindowError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    #[test]
    fn a_window_is_open_from_its_first_minute_and_closed_from_its_last() {
        let window: Window = "02:00-05:30".parse().unwrap();
        assert_eq!(window.to_string(), "02:00-05:30");
        for (now, is_open) in
            [(time(1, 59, 59, 0), false), (time(2, 0, 0, 0), true), (time(5, 29, 0, 0), true)]
        {
            assert_eq!(window.contains(now), is_open, "{now}");
        }
        assert!(!window.contains(time(5, 30, 0, 0)));
    }

    #[test]
    fn a_window_may_go_past_midnight() {
        let window: Window = "23:00-01:00".parse().unwrap();
        assert!(window.contains(time(23, 30, 0, 0)) && window.contains(time(0, 30, 0, 0)));
        assert!(!window.contains(time(12, 0, 0, 0)) && !window.contains(time(1, 0, 0, 0)));
    }

    /// Returns true if the window is open so many minutes after a UTC time, in a zone.
    fn is_open(window: &str, zone: &str, utc: &str, minutes: i64) -> bool {
        let window: Window = window.parse().unwrap();
        let at = utc.parse::<Timestamp>().unwrap() + Duration::from_secs(60 * minutes.unsigned_abs());
        window.is_open_at(&at.in_tz(zone).unwrap())
    }

    #[test]
    fn a_window_that_the_clocks_jump_over_is_open_when_they_would_have_shown_it() {
        // At this moment 02:00 becomes 03:00 in Berlin.
        let jump = "2026-03-29T01:00:00Z";
        for (minutes, expected) in [(0, true), (29, true), (30, false), (45, false)] {
            assert_eq!(is_open("02:15-02:45", "Europe/Berlin", jump, minutes + 15), expected, "{minutes}");
        }
        assert!(!is_open("02:15-02:45", "Europe/Berlin", jump, 0));
        // Where part of the window exists that day, only that part counts.
        assert!(is_open("01:30-02:30", "Europe/Berlin", "2026-03-29T00:40:00Z", 0));
        assert!(!is_open("01:30-02:30", "Europe/Berlin", jump, 10));
        assert!(is_open("02:30-03:30", "Europe/Berlin", jump, 10));
        assert!(!is_open("02:30-03:30", "Europe/Berlin", jump, 45));
        assert!(!is_open("02:15-02:45", "Europe/Berlin", "2026-03-30T01:00:00Z", 20), "the day after");
    }

    #[test]
    fn a_window_that_the_clocks_come_back_to_is_open_twice() {
        let back = "2026-10-25T00:00:00Z";
        for (minutes, expected) in [(0, true), (59, true), (60, true), (119, true), (120, false)] {
            assert_eq!(is_open("02:00-03:00", "Europe/Berlin", back, minutes), expected, "{minutes}");
        }
    }

    #[test]
    fn a_window_is_in_the_zone_s_own_time_also_where_that_is_half_an_hour_off() {
        // The time is 02:00 in Kolkata.
        assert!(is_open("02:00-02:30", "Asia/Kolkata", "2026-01-01T20:30:00Z", 0));
        assert!(!is_open("02:00-02:30", "Asia/Kolkata", "2026-01-01T02:00:00Z", 0));
    }

    #[test]
    fn what_is_no_window_is_an_error() {
        for bad in [
            "",
            "02:00",
            "02:00-",
            "2:00-5:00",
            "02:00-24:00",
            "02:60-03:00",
            "02:00-02:00",
            "a-b",
            "+2:00-05:00",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad:?}");
        }
    }
}
