use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use crate::status::cut;

/// The last exception that a device's application did not catch, retained on `NAME/OTA/crash`.
///
/// The text has one or more lines. It came from a peer: escape it before it reaches a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash(String);

impl Crash {
    /// Longest text, in bytes.
    pub const MAX: usize = 512;

    /// Topic filter that matches the messages of all devices.
    pub const TOPIC_FILTER: &'static str = "+/OTA/crash";

    /// Returns true for the topic, or the topic filter, of crash messages.
    pub fn is_topic(topic: &str) -> bool {
        topic.ends_with("/OTA/crash")
    }

    /// Reads a message as received from the broker. `None` if it is blank, which means that there is no exception.
    ///
    /// Bytes that are not UTF-8 are replaced. Text beyond [`Crash::MAX`] is cut off.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(message);
        let text = cut(&text, Self::MAX);
        (!text.trim().is_empty()).then(|| Self(text.to_owned()))
    }

    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last line that is not blank, which names the exception in MicroPython's output.
    pub fn summary(&self) -> &str {
        self.0.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default()
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_exception_is_named_in_its_last_line() {
        let text = "Traceback (most recent call last):\n  File \"main.py\", line 3\nValueError: x\n\n";
        let crash = Crash::parse(text.as_bytes()).unwrap();
        assert_eq!((crash.as_str(), crash.summary()), (text, "ValueError: x"));
        for nothing in [&b""[..], b"\n", b"  \r\n"] {
            assert_eq!(Crash::parse(nothing), None);
        }
    }

    proptest! {
        #[test]
        fn property_any_bytes_are_a_short_text_or_nothing(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..1100),
                ".{0,600}".prop_map(String::into_bytes),
            ]
        ) {
            if let Some(crash) = Crash::parse(&bytes) {
                prop_assert!(crash.as_str().len() <= Crash::MAX && !crash.summary().is_empty());
                prop_assert_eq!(Crash::parse(crash.as_str().as_bytes()), Some(crash.clone()));
            }
        }
    }
}
