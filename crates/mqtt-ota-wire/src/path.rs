use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::fields::SEPARATOR;

/// The folder below a device's root that belongs to its client: temporary files and state. No offer may
/// name a file in it.
pub const STATE_FOLDER: &str = ".mqtt-ota";

/// A file's path on the device, relative to the device's root.
///
/// 1 to 128 bytes of UTF-8, `/` between the parts. Refused, by sender and device alike: an absolute path,
/// a part that is empty, `.` or `..`, the characters `|` and `\`, control characters, and a first part
/// that is the client's own [`STATE_FOLDER`] (in any case of letters, as FAT does not tell them apart). Also refused,
/// since FAT takes such a name for another one: a part that ends in a dot or a blank, and a part with `~` before a digit.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevicePath(Arc<str>);

impl DevicePath {
    /// The longest path, in bytes.
    pub const MAX_LEN: usize = 128;

    /// A path that is known to be one.
    pub(crate) fn from_constant(text: &'static str) -> Self {
        Self(text.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes, at least one.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for DevicePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(PathError::TooLong { bytes: text.len() });
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if let Some(character) = text.chars().find(|c| matches!(*c, SEPARATOR | '\\') || c.is_control()) {
            return Err(PathError::Forbidden { character });
        }
        for (index, part) in text.split('/').enumerate() {
            match part {
                "" => return Err(PathError::EmptyPart),
                "." | ".." => return Err(PathError::DotPart),
                _ if index == 0 && part.eq_ignore_ascii_case(STATE_FOLDER) => {
                    return Err(PathError::StateFolder);
                }
                _ if part.ends_with(['.', ' ']) => return Err(PathError::End { part: part.to_owned() }),
                _ if has_short_name(part) => return Err(PathError::ShortName { part: part.to_owned() }),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }
}

/// Whether FAT could have given this name, such as `PROGRA~1`, to a file that has a longer one.
fn has_short_name(part: &str) -> bool {
    part.as_bytes().windows(2).any(|pair| matches!(pair, [b'~', b'0'..=b'9']))
}

impl fmt::Display for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is not a [`DevicePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing there.
    #[error("a file name on the device must not be empty")]
    Empty,
    /// Over [`DevicePath::MAX_LEN`].
    #[error("a file name on the device has at most {} bytes, this one has {bytes}", DevicePath::MAX_LEN)]
    TooLong {
        /// The length found.
        bytes: usize,
    },
    /// A `/` in front.
    #[error("a file name on the device is relative to the device's root: no '/' in front")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("a file name on the device must not have an empty part: no '//', no '/' at the end")]
    EmptyPart,
    /// `.` or `..`.
    #[error("a file name on the device must not have a part '.' or '..'")]
    DotPart,
    /// A dot or a blank at the end of a part.
    #[error("{part:?} must not end in a dot or a blank: FAT leaves them out, so it could be another file")]
    End {
        /// The first such part.
        part: String,
    },
    /// `~` before a digit, as in the short names that FAT gives to files with long ones.
    #[error("{part:?} must not have '~' before a digit: on FAT it could be another file's short name")]
    ShortName {
        /// The first such part.
        part: String,
    },
    /// A character with a meaning of its own.
    #[error(
        "a file name on the device must not contain {character:?}: no '|', no backslash, no control characters"
    )]
    Forbidden {
        /// The first such character.
        character: char,
    },
    /// The client's own folder.
    #[error("the folder {STATE_FOLDER:?} on the device belongs to its client")]
    StateFolder,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_stays_below_the_root_and_out_of_the_state_folder() {
        for (text, error) in [
            ("", PathError::Empty),
            ("/main.py", PathError::Absolute),
            ("lib//x.py", PathError::EmptyPart),
            ("lib/", PathError::EmptyPart),
            ("..", PathError::DotPart),
            ("a/../b", PathError::DotPart),
            ("./main.py", PathError::DotPart),
            ("a|b", PathError::Forbidden { character: '|' }),
            ("a\\b", PathError::Forbidden { character: '\\' }),
            ("a\nb", PathError::Forbidden { character: '\n' }),
            ("a\u{7f}", PathError::Forbidden { character: '\u{7f}' }),
            (".mqtt-ota/x", PathError::StateFolder),
            (".MQTT-OTA", PathError::StateFolder),
        ] {
            assert_eq!(text.parse::<DevicePath>().unwrap_err(), error, "{text:?}");
        }
        for good in ["main.py", "lib/umqtt/simple.py", "..a", "x/.mqtt-ota", "Größe.bin", "a b"] {
            assert_eq!(good.parse::<DevicePath>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_fat_takes_for_another_name_is_refused_in_every_part() {
        for text in [
            ".mqtt-ota./set",
            ".mqtt-ota /set",
            ".mqtt-ota. ./set",
            "main.py.",
            "lib/a ",
            "lib /a",
            "...",
            " ",
        ] {
            assert!(matches!(text.parse::<DevicePath>(), Err(PathError::End { .. })), "{text:?}");
        }
        for text in [".MQTT-O~1/set", "MQTT-O~1/set", "lib/A~2.PY", "~0", "a~~9b/c"] {
            assert!(matches!(text.parse::<DevicePath>(), Err(PathError::ShortName { .. })), "{text:?}");
        }
        for good in ["main.py~", "a~b", "~/1", "1~", "~\u{663}", " a", "a. b", "a.b c"] {
            assert_eq!(good.parse::<DevicePath>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn the_length_limit_is_128_bytes() {
        assert!("x".repeat(128).parse::<DevicePath>().is_ok());
        let error = "x".repeat(129).parse::<DevicePath>().unwrap_err();
        assert_eq!(error, PathError::TooLong { bytes: 129 });
    }

    proptest! {
        #[test]
        fn property_an_accepted_path_never_leaves_its_root(text in "[./a~1|\\\\\u{0}-\u{20}]{0,12}|.{0,140}") {
            if let Ok(path) = text.parse::<DevicePath>() {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(path.parts().all(|p| !p.is_empty() && p != "." && p != ".."));
                prop_assert!(!text.contains(['|', '\\', '\0']));
                // What FAT makes of it: the ends of the parts are left out, and no short name is meant.
                prop_assert!(path.parts().all(|p| p == p.trim_end_matches(['.', ' '])));
                let has_short_name = (0..10).any(|digit| text.contains(&format!("~{digit}")));
                prop_assert!(!has_short_name);
            }
        }
    }
}
