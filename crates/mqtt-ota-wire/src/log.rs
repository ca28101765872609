use core::fmt;

use crate::fields::SEPARATOR;

/// First field of a request.
const REQUEST: &str = "log";

/// Request on a device's offer topic to publish its log for a while: `log|60`.
///
/// Only for devices that have announced `log=1`. Other devices answer it with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogRequest {
    seconds: u16,
}

impl LogRequest {
    /// Longest time that a request may name, in seconds.
    pub const MAX_SECONDS: u16 = 600;

    /// Request that ends the time of earlier requests at once: `log|0`.
    pub const STOP: Self = Self { seconds: 0 };

    /// Creates a request for `seconds` seconds, or returns `None` unless that is 1 to
    /// [`MAX_SECONDS`](Self::MAX_SECONDS).
    pub fn new(seconds: u16) -> Option<Self> {
        (1..=Self::MAX_SECONDS).contains(&seconds).then_some(Self { seconds })
    }

    /// Returns true if a message on the offer topic is a log request, readable or not, and therefore not an offer.
    pub fn is_meant(message: &[u8]) -> bool {
        message
            .strip_prefix(REQUEST.as_bytes())
            .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == SEPARATOR as u8))
    }
}

impl fmt::Display for LogRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REQUEST}{SEPARATOR}{}", self.seconds)
    }
}

/// Returns the number of lost lines if a line of a log reports them: `... 3 lines lost`.
pub fn lost_lines(line: &str) -> Option<u64> {
    line.strip_prefix("... ")?.strip_suffix(" lines lost")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_seconds_and_is_no_offer() {
        assert_eq!(LogRequest::new(60).unwrap().to_string(), "log|60");
        assert_eq!(LogRequest::STOP.to_string(), "log|0");
        assert_eq!((LogRequest::new(0), LogRequest::new(601)), (None, None));
        for message in ["log", "log|", "log|60", "log|x|y"] {
            assert!(LogRequest::is_meant(message.as_bytes()), "{message}");
        }
        for message in ["", "lo", "logs|1", "LOG|60", "announce", "10.0.0.1|1|log|00"] {
            assert!(!LogRequest::is_meant(message.as_bytes()), "{message}");
        }
    }

    #[test]
    fn a_line_may_say_that_others_are_missing() {
        assert_eq!(lost_lines("... 12 lines lost"), Some(12));
        for line in ["... lines lost", "... -1 lines lost", "12 lines lost", "... 12 lines lost!"] {
            assert_eq!(lost_lines(line), None, "{line}");
        }
    }
}
