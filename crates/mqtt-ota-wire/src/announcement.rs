use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::fields::SEPARATOR;
use crate::{Algorithm, Digest, HardwareAddress, MAX_MESSAGE};

/// Known keys, in the order of [`Announcement`]'s fields.
const KEYS: [&str; 17] = [
    "v",
    "client",
    "sys",
    "addr",
    "free",
    "hash",
    "set",
    "boots",
    "rolled-back",
    "error",
    "ask",
    "fold",
    "extended",
    "answers",
    "hw",
    "safe",
    "log",
];

/// First word of the error of a set that was taken back because the device never had its network.
const NO_NETWORK: &str = "no-network";

/// Message on a device's offer topic that asks the device to announce itself.
const REQUEST: &str = "announce";

/// A device's retained description of itself: `v=1|client=…|sys=…|addr=…|free=…|hash=…|set=…|boots=…|…`.
///
/// The fields are `key=value` in any order. Unknown keys are ignored. The first value of a repeated key counts. Only
/// `v` is required. Any other value that cannot be read counts as missing, except that of `set`, whose key alone has a
/// meaning. Texts came from a peer: escape them before they reach a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Announcement {
    /// `v`: version of the announcement, 1 or higher. Higher versions only add fields.
    pub version: u32,
    /// `client`: name and version of the device's client.
    pub client: Option<String>,
    /// `sys`: port and version of the device's system, such as `esp8266 1.25.0`.
    pub system: Option<String>,
    /// `addr`: address of the device in its own network.
    pub address: Option<IpAddr>,
    /// `free`: free space on the device's file system, in bytes.
    pub free: Option<u64>,
    /// `hash`: hash functions that the device has. Empty if the device names none.
    pub algorithms: Vec<Algorithm>,
    /// `set`: installed set of files. A device that announces this key understands sets and extended offers.
    pub set: Option<InstalledSet>,
    /// `boots`: number of times that the device has booted the set on trial. `None` if no set is on trial.
    pub boots: Option<u32>,
    /// `rolled-back`: set that the device has taken back last, unless another set was installed since.
    pub rolled_back: Option<Digest>,
    /// `error`: reason for which the set was taken back, if known.
    pub error: Option<String>,
    /// `ask=1`: the device answers [`Announcement::REQUEST`] with a new announcement, at most once in 5 s.
    pub asks: bool,
    /// `fold=1`: the device's file system does not distinguish names that differ only in case.
    pub folds_case: bool,
    /// `extended=1`: the device understands extended offers of single files, even if it does not understand sets.
    pub extends: bool,
    /// `answers=1`: the device names the offer in each status, if the offer asks for that.
    pub answers: bool,
    /// `hw`: hardware address of the device's Wi-Fi.
    pub hardware: Option<HardwareAddress>,
    /// `safe=1`: the device runs only its Wi-Fi, MQTT and the client until an update comes, because its application
    /// failed three times in a row.
    pub is_safe: bool,
    /// `log=1`: the device can publish its log.
    pub logs: bool,
}

/// Set that is installed on a device that understands sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InstalledSet {
    /// No set, or a file was changed on its own since the set was installed: `-`.
    #[default]
    Nothing,
    /// Set whose manifest has this digest.
    Set(Digest),
}

impl InstalledSet {
    /// Returns the digest of the set's manifest, or `None` for [`InstalledSet::Nothing`].
    pub fn digest(self) -> Option<Digest> {
        match self {
            Self::Nothing => None,
            Self::Set(digest) => Some(digest),
        }
    }
}

impl fmt::Display for InstalledSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("-"),
            Self::Set(digest) => digest.fmt(f),
        }
    }
}

impl Announcement {
    /// Version that this library writes.
    pub const VERSION: u32 = 1;

    /// Message on a device's offer topic that asks the device to announce itself.
    ///
    /// Only for devices that have announced `ask=1`. Other devices answer it with a failure.
    pub const REQUEST: &'static str = REQUEST;

    /// Returns true if a message on the offer topic is a [`REQUEST`](Self::REQUEST), and therefore not an offer.
    ///
    /// A request may have further fields.
    pub fn is_request(message: &[u8]) -> bool {
        message
            .strip_prefix(REQUEST.as_bytes())
            .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == SEPARATOR as u8))
    }

    /// Creates an announcement with a version and no other field.
    pub fn new() -> Self {
        Self { version: Self::VERSION, ..Self::default() }
    }

    /// Reads an announcement as received from the broker.
    ///
    /// # Errors
    /// Returns an error if the message is longer than [`MAX_MESSAGE`], is not UTF-8, or has no valid field `v`.
    pub fn parse(message: &[u8]) -> Result<Self, AnnouncementError> {
        if message.len() > MAX_MESSAGE {
            return Err(AnnouncementError::TooLong { bytes: message.len() });
        }
        let text = core::str::from_utf8(message).map_err(|_| AnnouncementError::NotText)?;
        let mut values = [None; KEYS.len()];
        for (name, value) in text.split(SEPARATOR).filter_map(|field| field.split_once('=')) {
            if let Some((_, first)) = KEYS.iter().zip(&mut values).find(|(key, _)| **key == name) {
                first.get_or_insert(value);
            }
        }
        let [version, client, system, address, free, hash, set, boots, rolled_back, error, rest @ ..] =
            values;
        let [ask, fold, extended, answers, hardware, safe, log] = rest;
        Ok(Self {
            version: version
                .ok_or(AnnouncementError::NoVersion)?
                .parse()
                .ok()
                .filter(|version| *version > 0)
                .ok_or(AnnouncementError::Version)?,
            client: client.map(str::to_owned),
            system: system.map(str::to_owned),
            address: address.and_then(|value| value.parse().ok()),
            free: free.and_then(|value| value.parse().ok()),
            algorithms: hash.unwrap_or_default().split(',').filter_map(Algorithm::from_code).collect(),
            // The presence of the key tells that the device understands sets, whatever the value.
            set: set.map(|value| value.parse().map_or(InstalledSet::Nothing, InstalledSet::Set)),
            boots: boots.and_then(|value| value.parse().ok()),
            rolled_back: rolled_back.and_then(|value| value.parse().ok()),
            error: error.filter(|value| !value.is_empty()).map(str::to_owned),
            asks: ask == Some("1"),
            folds_case: fold == Some("1"),
            extends: extended == Some("1"),
            answers: answers == Some("1"),
            hardware: hardware.and_then(|value| value.parse().ok()),
            is_safe: safe == Some("1"),
            logs: log == Some("1"),
        })
    }

    /// Returns true if the device understands extended offers: files that resume, and sets if it [understands
    /// those](Self::understands_sets).
    pub fn understands_extended(&self) -> bool {
        self.extends || self.understands_sets()
    }

    /// Returns true if the device understands offers of sets.
    pub fn understands_sets(&self) -> bool {
        self.set.is_some()
    }

    /// Returns true if the device has taken its last set back because it never had its network.
    ///
    /// The set itself need not be at fault.
    pub fn had_no_network(&self) -> bool {
        self.rolled_back.is_some() && self.error.as_deref().is_some_and(Self::is_no_network)
    }

    /// Returns the hash function for a file that is sent to this device: the best one announced, or SHA-1 if none is.
    pub fn file_algorithm(&self) -> Algorithm {
        self.algorithms.iter().copied().max().unwrap_or_default()
    }

    /// Returns true if the announced reason for taking a set back is that the device never had its network.
    pub fn is_no_network(reason: &str) -> bool {
        reason.split(' ').next() == Some(NO_NETWORK)
    }

    /// Returns the hash function for a set that is sent to this device.
    ///
    /// Never BLAKE3, so that a whole fleet knows a set by one digest, whatever other hash functions its devices have.
    pub fn set_algorithm(&self) -> Algorithm {
        self.algorithms.iter().copied().filter(|algorithm| algorithm.is_of_sets()).max().unwrap_or_default()
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Replaces characters that would end the field, and control characters, which no line of text contains.
        fn clean(text: &str) -> String {
            text.replace(|c: char| c == SEPARATOR || c.is_control(), " ")
        }
        write!(f, "v={}", self.version)?;
        if let Some(client) = &self.client {
            write!(f, "|client={}", clean(client))?;
        }
        if let Some(system) = &self.system {
            write!(f, "|sys={}", clean(system))?;
        }
        if let Some(address) = self.address {
            write!(f, "|addr={address}")?;
        }
        if let Some(free) = self.free {
            write!(f, "|free={free}")?;
        }
        if !self.algorithms.is_empty() {
            let codes: Vec<_> = self.algorithms.iter().map(|a| a.code()).collect();
            write!(f, "|hash={}", codes.join(","))?;
        }
        for (key, is_so) in [
            ("ask", self.asks),
            ("fold", self.folds_case),
            ("extended", self.extends),
            ("answers", self.answers),
            ("safe", self.is_safe),
            ("log", self.logs),
        ] {
            if is_so {
                write!(f, "|{key}=1")?;
            }
        }
        if let Some(hardware) = self.hardware {
            write!(f, "|hw={hardware}")?;
        }
        if let Some(set) = &self.set {
            write!(f, "|set={set}")?;
        }
        if let Some(boots) = self.boots {
            write!(f, "|boots={boots}")?;
        }
        if let Some(digest) = self.rolled_back {
            write!(f, "|rolled-back={digest}")?;
        }
        if let Some(error) = &self.error {
            write!(f, "|error={}", clean(error))?;
        }
        Ok(())
    }
}

/// Error returned for a message that is not an [`Announcement`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Message longer than [`MAX_MESSAGE`].
    #[error("an announcement has at most {MAX_MESSAGE} bytes, this one has more")]
    TooLong {
        /// Length found, in bytes. The link cuts a message off one byte above the limit.
        bytes: usize,
    },
    /// Message that is not UTF-8.
    #[error("an announcement is UTF-8 text")]
    NotText,
    /// Missing `v`, the only required field.
    #[error("an announcement has a field v=1")]
    NoVersion,
    /// Value of `v` that is not a number from 1.
    #[error("the announcement's field v is not a number from 1")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fields_come_in_any_order_and_unknown_ones_are_ignored() {
        let text = "hash=md5,sha1,sha256|new=x|free=1265664|junk|v=1|addr=192.168.1.7|client=mqtt_ota 0.1.0|sys=esp8266 1.25.0|boots=1|set=|free=7";
        let read = Announcement::parse(text.as_bytes()).unwrap();
        assert_eq!(read.address, Some("192.168.1.7".parse().unwrap()));
        assert_eq!(read.free, Some(1_265_664));
        assert_eq!(read.algorithms, [Algorithm::Sha1, Algorithm::Sha256]);
        assert_eq!(read.file_algorithm(), Algorithm::Sha256);
        assert_eq!(read.system.as_deref(), Some("esp8266 1.25.0"));
        assert_eq!((read.set, read.boots), (Some(InstalledSet::Nothing), Some(1)));
        assert_eq!(Announcement::parse(b"v=1").unwrap().file_algorithm(), Algorithm::Sha1);
    }

    #[test]
    fn a_file_is_hashed_with_the_best_that_the_device_has_and_a_set_never_with_blake3() {
        for (codes, of_a_file, of_a_set) in [
            ("blake3,sha1,sha256", Algorithm::Blake3, Algorithm::Sha256),
            ("blake3", Algorithm::Blake3, Algorithm::Sha1),
            ("sha256", Algorithm::Sha256, Algorithm::Sha256),
            ("", Algorithm::Sha1, Algorithm::Sha1),
        ] {
            let read = Announcement::parse(format!("v=1|hash={codes}").as_bytes()).unwrap();
            assert_eq!((read.file_algorithm(), read.set_algorithm()), (of_a_file, of_a_set), "{codes}");
        }
    }

    #[test]
    fn an_error_names_the_field() {
        for (message, error) in [
            (&b""[..], AnnouncementError::NoVersion),
            (b"online", AnnouncementError::NoVersion),
            (b"v=0", AnnouncementError::Version),
            (b"v=x", AnnouncementError::Version),
            (b"v=1|\xff", AnnouncementError::NotText),
        ] {
            assert_eq!(Announcement::parse(message), Err(error), "{message:?}");
        }
    }

    #[test]
    fn an_optional_value_that_cannot_be_read_counts_as_missing() {
        let read = Announcement::parse(b"v=1|addr=fe80::1%wlan0|free=-1|boots=|client=x").unwrap();
        assert_eq!((read.address, read.free, read.boots), (None, None, None));
        assert_eq!(read.client.as_deref(), Some("x"));
    }

    #[test]
    fn the_set_on_trial_and_the_one_that_was_taken_back_are_named() {
        let hash = "819d7bf839af03c912af6e81f65ab404e5915ab5";
        let text = format!("v=1|set={hash}|boots=2|rolled-back={hash}|error=ImportError: no module 'x=y'");
        let read = Announcement::parse(text.as_bytes()).unwrap();
        let digest = Some(hash.parse().unwrap());
        assert_eq!((read.set.and_then(InstalledSet::digest), read.rolled_back), (digest, digest));
        assert_eq!((read.boots, read.error.as_deref()), (Some(2), Some("ImportError: no module 'x=y'")));
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn a_device_understands_sets_if_it_has_the_key_whatever_its_value_and_single_files_extended_besides() {
        for (text, extended, sets) in [
            ("v=1", false, false),
            ("v=1|set=-", true, true),
            ("v=1|set=", true, true),
            ("v=1|set=x", true, true),
            ("v=1|extended=1", true, false),
            ("v=1|extended=1|set=-", true, true),
            ("v=1|extended=0|set=-", true, true),
            ("v=1|extended=yes", false, false),
        ] {
            let read = Announcement::parse(text.as_bytes()).unwrap();
            assert_eq!((read.understands_extended(), read.understands_sets()), (extended, sets), "{text}");
        }
    }

    #[test]
    fn what_a_device_says_of_itself_beyond_files_is_read_and_written_alike() {
        let text = "v=1|extended=1|answers=1|safe=1|log=1|hw=a4:cf:12:0b:ff:01";
        let read = Announcement::parse(text.as_bytes()).unwrap();
        assert!(read.extends && read.answers && read.is_safe && read.logs);
        assert_eq!(read.hardware.unwrap().to_string(), "a4:cf:12:0b:ff:01");
        assert_eq!(read.to_string(), text);
        let read = Announcement::parse(b"v=1|answers=0|safe=yes|log=|hw=a4:cf:12:0b:ff").unwrap();
        assert_eq!(read, Announcement::new());
    }

    #[test]
    fn a_device_answers_a_request_and_folds_case_only_if_it_says_so() {
        for (text, asks, folds) in [
            ("v=1", false, false),
            ("v=1|ask=1", true, false),
            ("v=1|fold=1|ask=1", true, true),
            ("v=1|ask=0|fold=yes", false, false),
            ("v=1|ask=|ask=1", false, false),
        ] {
            let read = Announcement::parse(text.as_bytes()).unwrap();
            assert_eq!((read.asks, read.folds_case), (asks, folds), "{text}");
        }
        let text = "v=1|hash=sha1|ask=1|fold=1|set=-";
        assert_eq!(Announcement::parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn a_set_that_was_taken_back_for_want_of_a_network_is_told_apart() {
        let hash = "819d7bf839af03c912af6e81f65ab404e5915ab5";
        for (error, had_none) in [
            ("no-network in 3 boots", true),
            ("no-network", true),
            ("no-networking module", false),
            ("ImportError: no-network", false),
        ] {
            let text = format!("v=1|set=-|rolled-back={hash}|error={error}");
            assert_eq!(Announcement::parse(text.as_bytes()).unwrap().had_no_network(), had_none, "{error}");
        }
        assert!(!Announcement::parse(b"v=1|set=-|error=no-network").unwrap().had_no_network());
    }

    #[test]
    fn a_request_to_announce_is_never_an_offer() {
        for (message, is_request) in [
            (&b"announce"[..], true),
            (b"announce|0123456789abcdef", true),
            (b"announce|a|b|c", true),
            (b"announcer", false),
            (b"announce ", false),
            (b"announc", false),
            (b"announce.local|1|f|819d7bf839af03c912af6e81f65ab404e5915ab5", false),
            (b"", false),
        ] {
            assert_eq!(Announcement::is_request(message), is_request, "{message:?}");
        }
    }

    #[test]
    fn a_value_cannot_add_a_field() {
        let mut announcement = Announcement::new();
        announcement.client = Some("x|free=1\n".to_owned());
        let read = Announcement::parse(announcement.to_string().as_bytes()).unwrap();
        assert_eq!((read.free, read.client.as_deref()), (None, Some("x free=1 ")));
    }

    proptest! {
        #[test]
        fn property_any_bytes_are_an_announcement_or_an_error(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "v=1(\\|(client|sys|addr|free|hash|set|boots|rolled-back|error|ask|fold|extended|answers|hw|safe|log|x)=.{0,12}){0,8}".prop_map(String::into_bytes),
            ]
        ) {
            if let Ok(read) = Announcement::parse(&bytes) {
                let again = Announcement::parse(read.to_string().as_bytes());
                prop_assert!(again.is_ok());
            }
        }
    }
}
