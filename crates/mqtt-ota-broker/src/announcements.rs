use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{limits, topic};

/// Suffix of an announcement's topic, after the device's name.
const SUFFIX: &[u8] = b"/OTA/device";

/// Last announcement of each device, by its name. The text form has one line for each: name, space, message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcements(BTreeMap<String, Box<[u8]>>);

/// Returns the device that announces itself with this message. `None` if the message is not an announcement, or
/// exceeds the limits of the protocol.
pub(crate) fn device_of<'a>(topic: &'a [u8], message: &[u8]) -> Option<&'a str> {
    let name = device_of_topic(topic)?;
    (message.len() <= limits::ANNOUNCEMENT).then_some(name)
}

/// Returns the device whose announcements have this topic.
pub(crate) fn device_of_topic(topic: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(topic.strip_suffix(SUFFIX)?).ok()?;
    is_name(name).then_some(name)
}

fn is_name(name: &str) -> bool {
    (1..=limits::DEVICE_NAME).contains(&name.len())
        && !topic::is_reserved(name.as_bytes())
        && !name.contains(|c: char| matches!(c, '/' | '+' | '#') || c.is_control())
}

impl Announcements {
    /// Stores a device's announcement. Returns false if it is unchanged, or if there are too many devices.
    pub(crate) fn insert(&mut self, name: &str, message: &[u8]) -> bool {
        if self.0.len() >= limits::ANNOUNCEMENTS && !self.0.contains_key(name) {
            return false;
        }
        let known = self.0.insert(name.to_owned(), message.into());
        known.is_none_or(|known| *known != *message)
    }

    /// Removes a device. Returns false if it was not known.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Reads one line of the text form, without its line end. Returns false if the line is damaged.
    pub(crate) fn insert_line(&mut self, line: &[u8]) -> bool {
        let Some((name, message)) = parse_line(line) else { return false };
        self.0.contains_key(&name) || self.insert(&name, &message)
    }

    /// Returns the messages to publish, with their topics.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.0.iter().map(|(name, message)| {
            ([name.as_bytes(), SUFFIX].concat().into(), Bytes::copy_from_slice(message))
        })
    }

    /// Returns the text form.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, message) in &self.0 {
            escape(name.as_bytes(), |byte| byte == b' ', &mut text);
            text.push(b' ');
            // Bytes that are not UTF-8 are escaped, so that the file stays text.
            let binary = std::str::from_utf8(message).is_err();
            escape(message, |byte| binary && !byte.is_ascii(), &mut text);
            text.push(b'\n');
        }
        text
    }
}

fn parse_line(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let name = String::from_utf8(unescape(line.get(..space)?)?).ok()?;
    let message = unescape(line.get(space + 1..)?)?;
    let sound = is_name(&name) && (1..=limits::ANNOUNCEMENT).contains(&message.len());
    sound.then_some((name, message))
}

/// Appends bytes to `text`. Control characters, percent signs and bytes for which `also` returns true become `%` and
/// two hexadecimal digits.
fn escape(bytes: &[u8], also: impl Fn(u8) -> bool, text: &mut Vec<u8>) {
    for &byte in bytes {
        if byte.is_ascii_control() || byte == b'%' || also(byte) {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            text.push(byte);
        }
    }
}

fn unescape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match byte {
            b'%' => {
                let (digits, rest) = text.split_at_checked(2)?;
                // `from_str_radix` would accept a sign.
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                text = rest;
            }
            // Unescaped control characters occur only in a damaged file.
            byte if byte.is_ascii_control() => return None,
            byte => bytes.push(byte),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_said_comes_back_from_the_text() {
        let mut announcements = Announcements::default();
        for (name, message) in [
            ("LAMP", &b"v=1|sys=esp8266 1.25.0|addr=10.0.0.7"[..]),
            ("nacht licht 100%", "v=1|error=größe\r\n%0A".as_bytes()),
            ("été", b"\xff\x00 \n"),
        ] {
            assert!(announcements.insert(name, message));
            assert!(!announcements.insert(name, message));
        }
        let text = announcements.to_text();
        assert!(text.starts_with(b"LAMP v=1|sys=esp8266 1.25.0|addr=10.0.0.7\n"));
        let mut again = Announcements::default();
        for line in text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
            assert!(again.insert_line(line), "{line:?}");
        }
        assert_eq!(again, announcements);
    }

    #[test]
    fn a_damaged_line_is_refused_and_no_panic() {
        let long_name = format!("{} v=1", "n".repeat(65)).into_bytes();
        let long_message = format!("LAMP {}", "x".repeat(1_025)).into_bytes();
        for line in [
            &b""[..],
            b" ",
            b"LAMP",
            b"LAMP ",
            b" v=1",
            b"LAMP\0v=1",
            b"LAMP v=\0",
            b"LAMP v=%",
            b"LAMP v=%1",
            b"LAMP v=%+1",
            b"LAMP v=%\xc3\xa9",
            b"a/b v=1",
            b"%2B v=1",
            b"$SYS v=1",
            b"\xff v=1",
            &long_name,
            &long_message,
        ] {
            assert!(!Announcements::default().insert_line(line), "{line:?}");
        }
    }

    #[test]
    fn only_a_device_announces_a_device() {
        assert_eq!(device_of(b"LAMP/OTA/device", b"v=1"), Some("LAMP"));
        for topic in ["LAMP/OTA", "/OTA/device", "a/b/OTA/device", "$SYS/OTA/device", "LAMP/OTA/device/x"] {
            assert_eq!(device_of(topic.as_bytes(), b"v=1"), None, "{topic}");
        }
        assert_eq!(device_of(b"LAMP/OTA/device", &[b'x'; 1_025]), None);
        assert_eq!(device_of_topic(b"LAMP/OTA/device"), Some("LAMP"));
    }
}
