use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

/// A device's name, the first level of its topics.
///
/// A name has 1 to 64 bytes of UTF-8 and is one MQTT topic level: no `/`, `+`, `#` or control character, and no `$` in
/// front (MQTT 3.1.1, 4.7.2, keeps those topics for the broker). Names are case-sensitive. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `NAME/OTA`, on which a sender publishes offers.
    pub fn offer_topic(&self) -> String {
        format!("{self}/OTA")
    }

    /// Returns `NAME/OTA/device`, on which the device keeps its retained announcement.
    pub fn announcement_topic(&self) -> String {
        format!("{self}/OTA/device")
    }

    /// Returns `NAME/OTA/status`, on which the device reports its progress with an offer.
    pub fn status_topic(&self) -> String {
        format!("{self}/OTA/status")
    }

    /// Returns `NAME/OTA/keeper`, on which a keeper saves its memory of the device.
    pub fn memory_topic(&self) -> String {
        format!("{self}/OTA/keeper")
    }

    /// Returns `NAME/OTA/log`, on which the device publishes the output and the log of its application.
    pub fn log_topic(&self) -> String {
        format!("{self}/OTA/log")
    }

    /// Returns `NAME/OTA/crash`, on which the device keeps the last exception that its application did not catch.
    pub fn crash_topic(&self) -> String {
        format!("{self}/OTA/crash")
    }

    /// Topic filter that matches the announcements of all devices.
    pub const ANNOUNCEMENT_FILTER: &'static str = "+/OTA/device";

    /// Returns the device that a topic `NAME/OTA/…` belongs to, and the topic's last level.
    pub fn from_topic(topic: &str) -> Option<(Self, &str)> {
        let (rest, last) = topic.rsplit_once('/')?;
        Some((rest.strip_suffix("/OTA")?.parse().ok()?, last))
    }
}

impl FromStr for DeviceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        if text.starts_with('$') {
            return Err(NameError::Reserved);
        }
        match text.chars().find(|c| matches!(c, '/' | '+' | '#') || c.is_control()) {
            Some(character) => Err(NameError::Forbidden { character }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Error returned for a text that is not a [`DeviceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty text.
    #[error("a device name must not be empty")]
    Empty,
    /// Text longer than [`DeviceName::MAX_LEN`].
    #[error("a device name has at most {} bytes, this one has {bytes}", DeviceName::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// Name that begins with `$`.
    #[error("a device name must not begin with '$': such topics belong to the broker")]
    Reserved,
    /// Control character, or a character with a meaning in MQTT.
    #[error(
        "a device name must not contain {character:?}: it is one MQTT topic level, without '/', '+', '#' or control characters"
    )]
    Forbidden {
        /// First forbidden character.
        character: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_one_topic_level() {
        for good in ["NIGHTLAMP", "a", "Küche 1", "lamp-2_b.x", &"x".repeat(64)] {
            assert_eq!(good.parse::<DeviceName>().unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "+", "lamp#", "a\0", "a\nb", "$SYS", &"x".repeat(65)] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_length_limit_counts_bytes_not_characters() {
        let error = "ü".repeat(33).parse::<DeviceName>().unwrap_err();
        assert_eq!(error, NameError::TooLong { bytes: 66 });
    }

    proptest! {
        #[test]
        fn property_any_text_is_a_name_or_an_error_and_a_name_round_trips(text in "\\PC{0,70}|.{0,70}") {
            if let Ok(name) = text.parse::<DeviceName>() {
                prop_assert_eq!(name.as_str(), &text);
                let topic = name.announcement_topic();
                prop_assert_eq!(topic.matches('/').count(), 2);
                prop_assert_eq!(DeviceName::from_topic(&topic), Some((name, "device")));
            }
        }
    }
}
