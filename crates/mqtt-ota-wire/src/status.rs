use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use core::fmt;
use core::time::Duration;

use crate::fields::SEPARATOR;
use crate::fields::decimal;
use crate::{DevicePath, Digest, MAX_MESSAGE, OfferId};

/// Prefix of the offer's id at the end of a detail.
const ID: &str = "id=";

/// A device's report on an offer: `state|file|hash|detail`. The detail may end in ` id=…`.
///
/// `file` and `hash` repeat the offer's fields. They stay plain text here, because a device that was sent nonsense
/// repeats that nonsense in its answer. Everything in a status came from a peer: escape it before it reaches a
/// terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// State of the offer on the device.
    pub state: State,
    /// File name from the offer.
    pub path: String,
    /// Hash from the offer.
    pub digest: String,
    /// Further information, without the offer's id.
    ///
    /// For [`State::Failed`] a reason code and free text. For [`State::Installed`] `unchanged` if the file was already
    /// there, or the path that hides the file ([`Status::hidden_by`]). Otherwise mostly empty.
    pub detail: String,
    /// Id of the extended offer that this status answers, if the device names it.
    pub offer: Option<OfferId>,
}

impl Status {
    /// Detail of [`State::Installed`] if the file already had the offered hash.
    pub const UNCHANGED: &'static str = "unchanged";

    /// Detail of [`State::Receiving`] if the device has noted the offer, reboots, and fetches the file at that boot.
    const AT_BOOT: &'static str = "at-boot";

    /// Prefix of the detail of [`State::Installed`] if MicroPython imports another file instead of this one.
    const HIDDEN: &'static str = "hidden by ";

    /// Delay of a postponed offer if the device names none.
    const POSTPONED: Duration = Duration::from_secs(30);

    /// Shortest delay of a postponed offer, whatever the device names.
    const LEAST_POSTPONED: Duration = Duration::from_secs(1);

    /// Longest delay of a postponed offer. After an hour, the sender may as well ask again.
    const MOST_POSTPONED: Duration = Duration::from_secs(3600);

    /// Longest detail that is written, in bytes, including the offer's id. Longer text is cut off before the id.
    pub const MAX_DETAIL: usize = 256;

    /// Creates a status for a valid offer.
    pub fn new(state: State, path: &DevicePath, digest: &Digest, detail: impl Into<String>) -> Self {
        let (path, digest) = (path.to_string(), digest.to_string());
        Self { state, path, digest, detail: detail.into(), offer: None }
    }

    /// Sets the extended offer that this status answers. `None` names no offer.
    pub fn answering(self, offer: Option<OfferId>) -> Self {
        Self { offer, ..self }
    }

    /// Reads a status as received from the broker. The detail may be missing, and may contain anything.
    ///
    /// # Errors
    /// Returns the first rule that the message breaks, with the field concerned.
    pub fn parse(message: &[u8]) -> Result<Self, StatusError> {
        if message.len() > MAX_MESSAGE {
            return Err(StatusError::TooLong { bytes: message.len() });
        }
        let text = core::str::from_utf8(message).map_err(|_| StatusError::NotText)?;
        let mut fields = text.splitn(4, SEPARATOR);
        let (Some(state), Some(path), Some(digest)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(StatusError::Fields { count: text.split(SEPARATOR).count() });
        };
        let state = State::from_code(state).ok_or(StatusError::State)?;
        let (detail, offer) = split_id(state, fields.next().unwrap_or_default());
        let (path, digest, detail) = (path.to_owned(), digest.to_owned(), detail.to_owned());
        Ok(Self { state, path, digest, detail, offer })
    }

    /// Returns true if this status answers an offer of this file with this hash.
    pub fn answers(&self, path: &DevicePath, digest: &Digest) -> bool {
        self.path == path.as_str() && self.digest.parse() == Ok(*digest)
    }

    /// Returns the path that MicroPython imports instead of the installed file, if the device reports one.
    pub fn hidden_by(&self) -> Option<&str> {
        if self.state == State::Installed { self.detail.strip_prefix(Self::HIDDEN) } else { None }
    }

    /// Returns true if the device has noted the offer, reboots, and fetches the file before its application is
    /// imported.
    ///
    /// During that boot the device has no connection to the broker.
    pub fn is_at_boot(&self) -> bool {
        self.state == State::Receiving && self.detail == Self::AT_BOOT
    }

    /// Returns the delay after which the device wants the offer again, and its reason. `None` if the offer is not
    /// postponed.
    pub fn postponed(&self) -> Option<(Duration, &str)> {
        let (Reason::Postponed, text) = self.reason() else { return None };
        let (first, why) = text.split_once(' ').unwrap_or((text, ""));
        let named =
            first.strip_prefix("after=").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(digits) = named.filter(|digits| !digits.is_empty()) else {
            return Some((Self::POSTPONED, text));
        };
        // Digits that do not fit a number name too long a delay as well.
        let after = Duration::from_secs(decimal(digits).unwrap_or(u64::MAX));
        Some((after.clamp(Self::LEAST_POSTPONED, Self::MOST_POSTPONED), why.trim()))
    }

    /// Returns the reason code and the free text of a detail such as `connect 192.168.1.10:40123 refused`.
    pub fn reason(&self) -> (Reason, &str) {
        let (code, text) = self.detail.split_once(' ').unwrap_or((&self.detail, ""));
        (Reason::from_code(code), text.trim())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.offer.map(|id| format!("{ID}{id}")).unwrap_or_default();
        let gap = if id.is_empty() || self.detail.is_empty() { "" } else { " " };
        let detail = cut(&self.detail, Self::MAX_DETAIL - id.len() - gap.len());
        write!(f, "{}|{}|{}|{detail}{gap}{id}", self.state.code(), self.path, self.digest)
    }
}

/// State of an offer on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The device takes the offer and connects next.
    Receiving,
    /// The file is in place and has the offered hash.
    Installed,
    /// The file is not in place, and the old file is untouched.
    Failed,
    /// The dry run is over. The device has reported what it would do, and changed nothing.
    Planned,
    /// After the boot, the installed file or set works.
    Running,
    /// After the boot, the installed file or set did not work, and the old state is back.
    RolledBack,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Receiving, Self::Installed, Self::Failed, Self::Planned, Self::Running, Self::RolledBack];

    /// Returns the word on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Installed => "installed",
            Self::Failed => "failed",
            Self::Planned => "planned",
            Self::Running => "running",
            Self::RolledBack => "rolled-back",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// Reason for which a device did not install a file or a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The received bytes have a different hash.
    HashMismatch,
    /// The device could not connect to the offered address. The text has the address and the error.
    Connect,
    /// The sender stopped sending.
    Timeout,
    /// The stream broke before its end.
    Short,
    /// The file does not fit.
    NoSpace,
    /// The message is not an offer.
    BadOffer,
    /// The device refuses the file name.
    BadName,
    /// The flash or the file system refused the write.
    Write,
    /// The device has a key, and the offer is not signed with it.
    Unauthorised,
    /// A set on trial on the device has to be confirmed or taken back first.
    Busy,
    /// The set cannot be taken back, because the files that it replaced are no longer kept.
    Gone,
    /// The device has too little memory for the offer.
    NoMemory,
    /// The device does not want the offer now, and says when to repeat it ([`Status::postponed`]).
    Postponed,
    /// A code that this version does not know.
    Other(String),
}

impl Reason {
    const KNOWN: [Self; 13] = [
        Self::HashMismatch,
        Self::Connect,
        Self::Timeout,
        Self::Short,
        Self::NoSpace,
        Self::BadOffer,
        Self::BadName,
        Self::Write,
        Self::Unauthorised,
        Self::Busy,
        Self::Gone,
        Self::NoMemory,
        Self::Postponed,
    ];

    /// Returns the word on the wire.
    pub fn code(&self) -> &str {
        match self {
            Self::HashMismatch => "hash-mismatch",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Short => "short",
            Self::NoSpace => "no-space",
            Self::BadOffer => "bad-offer",
            Self::BadName => "bad-name",
            Self::Write => "write",
            Self::Unauthorised => "unauthorised",
            Self::Busy => "busy",
            Self::Gone => "gone",
            Self::NoMemory => "no-memory",
            Self::Postponed => "postponed",
            Self::Other(code) => code,
        }
    }

    fn from_code(code: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|reason| reason.code() == code)
            .unwrap_or_else(|| Self::Other(code.to_owned()))
    }

    /// Returns true if the same offer may succeed a moment later.
    ///
    /// True for reasons that lie in the link, or in work that the device is about to finish, rather than in a decision
    /// of the device. A postponed offer has its own delay.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect | Self::Timeout | Self::Short | Self::HashMismatch | Self::Busy)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Error returned for a message that is not a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Message longer than [`MAX_MESSAGE`].
    #[error("a status has at most {MAX_MESSAGE} bytes, this one has more")]
    TooLong {
        /// Length found, in bytes. The link cuts a message off one byte above the limit.
        bytes: usize,
    },
    /// Message that is not UTF-8.
    #[error("a status is UTF-8 text")]
    NotText,
    /// Fewer than three fields. The fourth, the detail, may be missing.
    #[error("a status has four fields (state|file|hash|detail), this one has {count}")]
    Fields {
        /// Number of fields found.
        count: usize,
    },
    /// Unknown state, the first field.
    #[error("the status' state is none of receiving, installed, failed, planned, running, rolled-back")]
    State,
}

/// Splits a detail into its text and the id at its end.
///
/// A detail of `receiving` may be a bare id without `id=`, from devices that do not name the offer otherwise.
fn split_id(state: State, detail: &str) -> (&str, Option<OfferId>) {
    let (words, last) = detail.rsplit_once(' ').unwrap_or(("", detail));
    let id = match last.strip_prefix(ID) {
        None if state == State::Receiving && words.is_empty() => last.parse(),
        named => named.unwrap_or_default().parse(),
    };
    id.map_or((detail, None), |id| (words, Some(id)))
}

/// Returns at most the first `limit` bytes of `text`, without cutting a character.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_read_field_by_field() {
        let status = Status::parse(b"failed|main.py|00ff|connect 192.168.1.10:4|x ECONNREFUSED").unwrap();
        assert_eq!(status.state, State::Failed);
        assert_eq!(status.reason(), (Reason::Connect, "192.168.1.10:4|x ECONNREFUSED"));
        assert_eq!(Status::parse(b"installed|f|h").unwrap().detail, "");
        assert_eq!(Status::parse(b"failed|f|h|low-battery 2.9 V").unwrap().reason().0.code(), "low-battery");
    }

    #[test]
    fn hostile_statuses_are_errors() {
        assert_eq!(Status::parse(b""), Err(StatusError::Fields { count: 1 }));
        assert_eq!(Status::parse(b"installed"), Err(StatusError::Fields { count: 1 }));
        assert_eq!(Status::parse(b"done|f|h|"), Err(StatusError::State));
        assert_eq!(Status::parse(b"installed|\xff|h|"), Err(StatusError::NotText));
        assert_eq!(Status::parse(&vec![b'x'; 1 << 20]), Err(StatusError::TooLong { bytes: 1 << 20 }));
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let status = Status {
            state: State::Failed,
            path: "f".into(),
            digest: "h".into(),
            detail: format!("write {}", "é".repeat(300)),
            offer: None,
        };
        let text = status.to_string();
        assert_eq!(text.len(), "failed|f|h|".len() + 256);
        assert!(Status::parse(text.as_bytes()).is_ok());

        let id = "0123456789abcdef".parse().ok();
        let text = status.answering(id).to_string();
        assert_eq!(text.len(), "failed|f|h|".len() + 256);
        let read = Status::parse(text.as_bytes()).unwrap();
        assert_eq!((read.offer, read.reason().0), (id, Reason::Write));
    }

    #[test]
    fn an_id_ends_the_detail_and_is_no_part_of_it() {
        let id: Option<OfferId> = "0123456789abcdef".parse().ok();
        for (text, detail, offer) in [
            ("failed|f|h|connect 10.0.0.1:4 EIO id=0123456789abcdef", "connect 10.0.0.1:4 EIO", id),
            ("installed|f|h|unchanged id=0123456789abcdef", "unchanged", id),
            ("installed|f|h|id=0123456789abcdef", "", id),
            ("receiving|f|h|0123456789abcdef", "", id),
            ("receiving|f|h|id=0123456789abcdef", "", id),
            ("receiving|f|h|at-boot id=0123456789abcdef", "at-boot", id),
            ("receiving|f|h|at-boot", "at-boot", None),
            ("installed|f|h|0123456789abcdef", "0123456789abcdef", None),
            ("failed|f|h|write id=0123456789abcde", "write id=0123456789abcde", None),
            ("failed|f|h|write id=0123456789abcdef ", "write id=0123456789abcdef ", None),
            ("failed|f|h|write uid=0123456789abcdef", "write uid=0123456789abcdef", None),
            ("installed|f|h|", "", None),
            ("installed|f|h", "", None),
        ] {
            let read = Status::parse(text.as_bytes()).unwrap();
            assert_eq!((read.detail.as_str(), read.offer), (detail, offer), "{text}");
            assert_eq!(read.is_at_boot(), text.contains("at-boot"), "{text}");
            assert_eq!(Status::parse(read.to_string().as_bytes()), Ok(read), "{text}");
        }
    }

    #[test]
    fn a_device_says_until_when_it_postpones_something_within_bounds() {
        let postponed = |detail: &str| {
            let text = format!("failed|f|h|{detail}");
            let status = Status::parse(text.as_bytes()).unwrap();
            status.postponed().map(|(after, why)| (after.as_secs(), why.to_owned()))
        };
        for (detail, after, why) in [
            ("postponed after=60 the lamp is on", 60, "the lamp is on"),
            ("postponed after=60 the lamp is on id=0123456789abcdef", 60, "the lamp is on"),
            ("postponed after=60", 60, ""),
            ("postponed the lamp is on", 30, "the lamp is on"),
            ("postponed", 30, ""),
            ("postponed after=0 soon", 1, "soon"),
            ("postponed after=86400 tomorrow", 3600, "tomorrow"),
            ("postponed after=99999999999999999999999 never", 3600, "never"),
            ("postponed after=-1 x", 30, "after=-1 x"),
            ("postponed after= x", 30, "after= x"),
            ("postponed afternoon", 30, "afternoon"),
        ] {
            assert_eq!(postponed(detail), Some((after, why.to_owned())), "{detail}");
        }
        for detail in ["busy after=60", "Postponed", "unpostponed", ""] {
            assert_eq!(postponed(detail), None, "{detail}");
        }
    }

    #[test]
    fn only_what_the_link_did_and_a_trial_may_pass_by_itself() {
        let passing: Vec<_> = Reason::KNOWN.into_iter().filter(Reason::may_pass).collect();
        let expected = [Reason::HashMismatch, Reason::Connect, Reason::Timeout, Reason::Short, Reason::Busy];
        assert_eq!(passing, expected);
    }

    proptest! {
        #[test]
        fn property_any_bytes_are_a_status_or_an_error(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "(receiving|installed|failed|planned|running)(\\|.{0,40}){0,5}( ?id=[0-9a-f]{16})?".prop_map(String::into_bytes),
            ]
        ) {
            if let Ok(status) = Status::parse(&bytes) {
                let _ = (status.reason(), status.postponed());
                if status.detail.len() + " id=".len() + OfferId::LEN <= Status::MAX_DETAIL {
                    prop_assert_eq!(Status::parse(status.to_string().as_bytes()), Ok(status));
                }
            }
        }
    }
}
