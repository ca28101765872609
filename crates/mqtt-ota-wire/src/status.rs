use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use core::fmt;
use core::time::Duration;

use crate::fields::SEPARATOR;
use crate::fields::decimal;
use crate::{DevicePath, Digest, MAX_MESSAGE, OfferId};

/// What an offer's id follows at the end of a detail.
const ID: &str = "id=";

/// What a device says it did with an offer: `state|file|hash|detail`, whose detail may end in ` id=…`.
///
/// `file` and `hash` repeat the offer's fields, so they stay plain text here: a device that was sent
/// nonsense answers with that nonsense. Everything in a status came from a peer; make it safe before it
/// reaches a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What happened.
    pub state: State,
    /// The offer's file.
    pub path: String,
    /// The offer's hash.
    pub digest: String,
    /// More about it: a reason code and free text for [`State::Failed`], `unchanged` for a file that was
    /// already there, what hides the file ([`Status::hidden_by`]), else mostly empty. Without the offer's id.
    pub detail: String,
    /// The id of the extended offer that it answers, where the device names it.
    pub offer: Option<OfferId>,
}

impl Status {
    /// The detail of [`State::Installed`] where the file already had the offered hash.
    pub const UNCHANGED: &'static str = "unchanged";

    /// The detail of [`State::Receiving`] where the device has noted the offer, reboots, and fetches it then.
    const AT_BOOT: &'static str = "at-boot";

    /// How the detail of [`State::Installed`] begins where MicroPython imports another file instead of this one.
    const HIDDEN: &'static str = "hidden by ";

    /// How long something is postponed where the device does not say it.
    const POSTPONED: Duration = Duration::from_secs(30);

    /// The shortest time for which something is postponed, whatever the device says.
    const LEAST_POSTPONED: Duration = Duration::from_secs(1);

    /// The longest one: who has waited for so long may as well ask again.
    const MOST_POSTPONED: Duration = Duration::from_secs(3600);

    /// The longest detail that is written, in bytes, with the offer's id; the rest of the words is cut off.
    pub const MAX_DETAIL: usize = 256;

    /// The status of an offer that was valid.
    pub fn new(state: State, path: &DevicePath, digest: &Digest, detail: impl Into<String>) -> Self {
        let (path, digest) = (path.to_string(), digest.to_string());
        Self { state, path, digest, detail: detail.into(), offer: None }
    }

    /// The same status, which names the extended offer that it answers; `None` names none.
    pub fn answering(self, offer: Option<OfferId>) -> Self {
        Self { offer, ..self }
    }

    /// Reads a status as it came off the wire. The detail may be missing, and may contain anything.
    ///
    /// # Errors
    /// The first field that breaks its rule, and the rule.
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

    /// Whether this answers an offer of that file with that hash.
    pub fn answers(&self, path: &DevicePath, digest: &Digest) -> bool {
        self.path == path.as_str() && self.digest.parse() == Ok(*digest)
    }

    /// The path of what MicroPython imports instead of the file that was installed, where the device says so.
    pub fn hidden_by(&self) -> Option<&str> {
        if self.state == State::Installed { self.detail.strip_prefix(Self::HIDDEN) } else { None }
    }

    /// Whether the device has noted the offer, reboots, and fetches it before its application is imported. It has no
    /// connection to the broker then.
    pub fn is_at_boot(&self) -> bool {
        self.state == State::Receiving && self.detail == Self::AT_BOOT
    }

    /// How long the device asks to be left alone before this is offered again, and why. Nothing where it does not ask
    /// for that.
    pub fn postponed(&self) -> Option<(Duration, &str)> {
        let (Reason::Postponed, text) = self.reason() else { return None };
        let (first, why) = text.split_once(' ').unwrap_or((text, ""));
        let named =
            first.strip_prefix("after=").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(digits) = named.filter(|digits| !digits.is_empty()) else {
            return Some((Self::POSTPONED, text));
        };
        // A number that is too long for one is too long a time as well.
        let after = Duration::from_secs(decimal(digits).unwrap_or(u64::MAX));
        Some((after.clamp(Self::LEAST_POSTPONED, Self::MOST_POSTPONED), why.trim()))
    }

    /// The reason code and the free text of a detail that has them: `connect 192.168.1.10:40123 refused`.
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

/// What a device did with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It takes the offer and connects next.
    Receiving,
    /// The file is in place and has the offered hash.
    Installed,
    /// It is not, and the old file is untouched.
    Failed,
    /// A dry run is over: the device has said what it would do, and done nothing.
    Planned,
    /// After the boot: what was installed runs.
    Running,
    /// After the boot: what was installed did not work and the old state is back.
    RolledBack,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Receiving, Self::Installed, Self::Failed, Self::Planned, Self::Running, Self::RolledBack];

    /// The word on the wire.
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

/// Why a device did not install a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The bytes that came have another hash.
    HashMismatch,
    /// No connection to the offered address; the text has the address and the error.
    Connect,
    /// The sender stopped sending.
    Timeout,
    /// The stream broke before its end.
    Short,
    /// The file does not fit.
    NoSpace,
    /// The message is no offer.
    BadOffer,
    /// The file's name is refused.
    BadName,
    /// The flash or the file system refused.
    Write,
    /// The device has a key and the offer is not signed with it.
    Unauthorised,
    /// A set is on trial on the device, and has first to be confirmed or taken back.
    Busy,
    /// The set cannot be taken back: what it replaced is no longer kept.
    Gone,
    /// The device has too little memory for the offer.
    NoMemory,
    /// The device does not want it now, and says when to offer it again ([`Status::postponed`]).
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

    /// The word on the wire.
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

    /// Whether the same offer may succeed a moment later: what the link did, or what the device is about to
    /// be done with, not what it decided. What it has postponed has a time of its own.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect | Self::Timeout | Self::Short | Self::HashMismatch | Self::Busy)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a message is not a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Over [`MAX_MESSAGE`].
    #[error("a status has at most {MAX_MESSAGE} bytes, this one has more")]
    TooLong {
        /// The length found. The link cuts a message off one byte above the limit.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("a status is UTF-8 text")]
    NotText,
    /// Fewer than three.
    #[error("a status has four fields (state|file|hash|detail), this one has {count}")]
    Fields {
        /// How many there are.
        count: usize,
    },
    /// The first field.
    #[error("the status' state is none of receiving, installed, failed, planned, running, rolled-back")]
    State,
}

/// A detail, and the id at its end. The detail of `receiving` is the bare id, where a device does not name it otherwise.
fn split_id(state: State, detail: &str) -> (&str, Option<OfferId>) {
    let (words, last) = detail.rsplit_once(' ').unwrap_or(("", detail));
    let id = match last.strip_prefix(ID) {
        None if state == State::Receiving && words.is_empty() => last.parse(),
        named => named.unwrap_or_default().parse(),
    };
    id.map_or((detail, None), |id| (words, Some(id)))
}

/// At most `limit` bytes of `text`, whole characters only.
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
