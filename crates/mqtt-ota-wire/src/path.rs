use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::fields::SEPARATOR;

/// Folder below a device's root that belongs to its client, for temporary files and state. No offer may name a file in
/// it.
pub const STATE_FOLDER: &str = ".mqtt-ota";

/// A file's path on the device, relative to the device's root.
///
/// A path has 1 to 128 bytes of UTF-8, with `/` between the parts. Sender and device alike refuse:
///
/// - an absolute path,
/// - a part that is empty, `.` or `..`,
/// - the characters `|` and `\`, and control characters,
/// - a first part that is the client's own [`STATE_FOLDER`], in any case of letters, because FAT ignores case,
/// - a part that ends in a dot or a blank, because FAT drops them and takes the name for another one,
/// - a part with `~` before a digit, because FAT may take it for the short name of another file.
///
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevicePath(Arc<str>);

impl DevicePath {
    /// Longest path, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Creates a path from a text that is known to be valid.
    pub(crate) fn from_constant(text: &'static str) -> Self {
        Self(text.into())
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parts between the slashes, at least one.
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

/// Returns true if FAT could have given this name, such as `PROGRA~1`, to a file that has a longer one.
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

/// Error returned for a text that is not a [`DevicePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Empty text.
    #[error("a file name on the device must not be empty")]
    Empty,
    /// Text longer than [`DevicePath::MAX_LEN`].
    #[error("a file name on the device has at most {} bytes, this one has {bytes}", DevicePath::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// Path that begins with `/`.
    #[error("a file name on the device is relative to the device's root: no '/' in front")]
    Absolute,
    /// Empty part: two slashes in a row, or a slash at the end.
    #[error("a file name on the device must not have an empty part: no '//', no '/' at the end")]
    EmptyPart,
    /// Part that is `.` or `..`.
    #[error("a file name on the device must not have a part '.' or '..'")]
    DotPart,
    /// Part that ends in a dot or a blank.
    #[error("{part:?} must not end in a dot or a blank: FAT leaves them out, so it could be another file")]
    End {
        /// First part that does.
        part: String,
    },
    /// Part with `~` before a digit, as in the short names that FAT gives to files with long ones.
    #[error("{part:?} must not have '~' before a digit: on FAT it could be another file's short name")]
    ShortName {
        /// First part that has it.
        part: String,
    },
    /// Forbidden character: `|`, a backslash or a control character.
    #[error(
        "a file name on the device must not contain {character:?}: no '|', no backslash, no control characters"
    )]
    Forbidden {
        /// First forbidden character.
        character: char,
    },
    /// Path in the client's own [`STATE_FOLDER`].
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
                // FAT drops dots and blanks at the end of a part, and no part is a short name.
                prop_assert!(path.parts().all(|p| p == p.trim_end_matches(['.', ' '])));
                let has_short_name = (0..10).any(|digit| text.contains(&format!("~{digit}")));
                prop_assert!(!has_short_name);
            }
        }
    }
}
