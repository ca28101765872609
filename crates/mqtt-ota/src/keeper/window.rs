use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Time;

/// The hours of the day in which devices are updated, in local time: `02:00-05:00`. It may go past midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    until: Time,
}

impl Window {
    /// Whether `time` lies in it. The first minute does, and the last one does not.
    pub(super) fn contains(self, time: Time) -> bool {
        if self.from <= self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }

    /// Whether it is open now, by this machine's clock and time zone.
    pub(super) fn is_open(self) -> bool {
        self.contains(jiff::Zoned::now().time())
    }

    /// How soon a window that opens or closes is noticed.
    pub(super) const TICK: Duration = Duration::from_secs(10);
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

/// What is not a [`Window`].
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
