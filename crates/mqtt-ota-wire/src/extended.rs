use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::fields::SEPARATOR;
use crate::fields::decimal;
use crate::offer::{OfferError, Plain};
use crate::{DevicePath, Digest, Host, IdError, MAX_MESSAGE, OfferId, State, Status};

/// Placeholder for the file name in the offer of a set.
const SET: &str = "set";

/// An offer that does more than send one file plainly: `host|port|file|hash|reboot|id=…|size=…`, and further fields.
///
/// Only for devices whose announcement says that they understand extended offers. The fields from the sixth on are
/// `key=value` in any order. Unknown keys are ignored. The last value of a repeated key counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExtendedOffer {
    /// Host that serves the file or set. Without meaning for a rollback, like the port.
    pub host: Host,
    /// TCP port of the host.
    pub port: NonZeroU16,
    /// Object that the digest names.
    pub content: Content,
    /// Digest of the file's bytes or of the manifest's text.
    pub digest: Digest,
    /// True if the device reboots once the file or set is in place.
    pub reboot: bool,
    /// `id`: prefix of every request for this offer.
    pub id: OfferId,
    /// `size`: length of the object that the digest names, in bytes.
    pub size: u64,
    /// `answers=1`: every status that answers this offer must name its id.
    pub answers: bool,
}

/// Object that an extended offer's digest names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A single file with this name on the device.
    File(DevicePath),
    /// `set=1`: a manifest. The device puts all files that it lists in place at once.
    Set(SetTerms),
    /// `rollback=1`: an installed set that the device must take back.
    Rollback,
}

/// Terms on which a set is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SetTerms {
    /// `delete`: files outside the set that the device deletes.
    pub delete: Delete,
    /// `dry=1`: the device reports what it would do, and changes nothing.
    pub dry_run: bool,
    /// `trial`: number of boots within which the set has to be confirmed. `None` leaves it to the device, which allows
    /// three.
    pub trial: Option<Trial>,
}

impl SetTerms {
    /// Returns the placeholder for the file name in the offer of a set and in each status that answers it.
    pub fn path() -> DevicePath {
        DevicePath::from_constant(SET)
    }
}

/// Files that a set deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delete {
    /// No files.
    #[default]
    Nothing,
    /// `set`: files of the previous set that this set lacks.
    FormerSet,
    /// `all`: every file that this set lacks, except those that the device needs to be updated again.
    Everything,
}

impl Delete {
    /// Returns the value on the wire. `None` for [`Delete::Nothing`], for which the key is left out.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::FormerSet => Some("set"),
            Self::Everything => Some("all"),
        }
    }
}

/// Number of boots within which a set has to be confirmed: 1 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Trial(NonZeroU16);

impl Trial {
    /// Largest number of boots.
    pub const MAX: u16 = 999;

    /// Returns a trial of `boots` boots, or `None` if that is zero or more than [`Trial::MAX`].
    pub fn new(boots: u16) -> Option<Self> {
        NonZeroU16::new(boots).filter(|boots| boots.get() <= Self::MAX).map(Self)
    }

    /// Returns the number of boots.
    pub fn boots(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ExtendedOffer {
    /// Creates an offer that asks the device to take back the set whose manifest has this digest.
    pub fn rollback(digest: Digest, id: OfferId) -> Self {
        let host = core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED).into();
        let (port, content) = (NonZeroU16::MIN, Content::Rollback);
        Self { host, port, content, digest, reboot: true, id, size: 0, answers: true }
    }

    /// Returns the offer's file name, which each status that answers it repeats. For a set and a rollback it is a
    /// placeholder.
    pub fn path(&self) -> DevicePath {
        match &self.content {
            Content::File(path) => path.clone(),
            Content::Set(_) | Content::Rollback => SetTerms::path(),
        }
    }

    /// Creates a status that answers this offer, with the offer's id if the offer asks for that.
    pub fn answer(&self, state: State, detail: impl Into<String>) -> Status {
        Status::new(state, &self.path(), &self.digest, detail).answering(self.named())
    }

    /// Returns the id that a status answering this offer has to name, or `None` if it has to name none.
    pub fn named(&self) -> Option<OfferId> {
        self.answers.then_some(self.id)
    }

    /// Returns true if a message has more fields than a plain offer. Such a message is an extended offer or invalid.
    pub fn is_meant(message: &[u8]) -> bool {
        message.iter().filter(|byte| **byte == SEPARATOR as u8).count() > 4
    }

    /// Reads an extended offer as received from the broker.
    ///
    /// # Errors
    /// Returns the first rule that the message breaks, with the field concerned.
    pub fn parse(message: &[u8]) -> Result<Self, ExtendedOfferError> {
        if message.len() > MAX_MESSAGE {
            return Err(OfferError::TooLong { bytes: message.len() }.into());
        }
        let text = core::str::from_utf8(message).map_err(|_| OfferError::NotText)?;
        let mut fields = text.split(SEPARATOR);
        let mut next = || fields.next();
        let (Some(host), Some(port), Some(path), Some(digest), Some(reboot)) =
            (next(), next(), next(), next(), next())
        else {
            return Err(ExtendedOfferError::Fields { count: text.split(SEPARATOR).count() });
        };
        let Plain { host, port, path, digest, reboot } = Plain::of(host, port, path, digest, Some(reboot))?;
        let options: Vec<_> = fields.filter_map(|field| field.split_once('=')).collect();
        let option = |key: &str| options.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let flag = |key: &'static str| match option(key) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(ExtendedOfferError::Flag { key }),
        };
        let id = option("id").ok_or(ExtendedOfferError::Missing { key: "id" })?;
        let size = option("size").ok_or(ExtendedOfferError::Missing { key: "size" })?;
        let (id, size) =
            (id.parse().map_err(ExtendedOfferError::Id)?, decimal(size).ok_or(ExtendedOfferError::Size)?);
        let content = match (flag("rollback")?, flag("set")?) {
            (false, false) => Content::File(path),
            _ if path.as_str() != SET => return Err(ExtendedOfferError::NotNamedSet),
            (true, _) => Content::Rollback,
            (false, true) => Content::Set(SetTerms {
                delete: match option("delete") {
                    None => Delete::Nothing,
                    Some(word) => [Delete::FormerSet, Delete::Everything]
                        .into_iter()
                        .find(|delete| delete.code() == Some(word))
                        .ok_or(ExtendedOfferError::Delete)?,
                },
                dry_run: flag("dry")?,
                trial: match option("trial") {
                    None => None,
                    Some(boots) => {
                        Some(decimal(boots).and_then(Trial::new).ok_or(ExtendedOfferError::Trial)?)
                    }
                },
            }),
        };
        let answers = option("answers") == Some("1");
        Ok(Self { host, port, content, digest, reboot, id, size, answers })
    }

    /// Returns the id that each status answering `message` has to name, or `None` if it has to name none.
    ///
    /// The message need not be a valid offer.
    pub fn id_to_name(message: &[u8]) -> Option<OfferId> {
        let fields = message.split(|byte| *byte == SEPARATOR as u8).skip(5);
        let (mut id, mut answers) = (None, false);
        for field in fields.filter_map(|field| core::str::from_utf8(field).ok()) {
            match field.split_once('=') {
                Some(("id", value)) => id = value.parse().ok(),
                Some(("answers", value)) => answers = value == "1",
                _ => {}
            }
        }
        id.filter(|_| answers)
    }
}

impl FromStr for ExtendedOffer {
    type Err = ExtendedOfferError;

    fn from_str(text: &str) -> Result<Self, ExtendedOfferError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for ExtendedOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, content, digest, reboot, id, size, answers } = self;
        let path = self.path();
        write!(f, "{host}|{port}|{path}|{digest}|{}|id={id}|size={size}", u8::from(*reboot))?;
        if *answers {
            f.write_str("|answers=1")?;
        }
        match content {
            Content::File(_) => Ok(()),
            Content::Rollback => f.write_str("|rollback=1"),
            Content::Set(SetTerms { delete, dry_run, trial }) => {
                f.write_str("|set=1")?;
                if let Some(delete) = delete.code() {
                    write!(f, "|delete={delete}")?;
                }
                if *dry_run {
                    f.write_str("|dry=1")?;
                }
                trial.map_or(Ok(()), |trial| write!(f, "|trial={trial}"))
            }
        }
    }
}

/// Error returned for a message that is not an [`ExtendedOffer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendedOfferError {
    /// Invalid field that plain offers have too, or a message that is too long or not UTF-8.
    #[error(transparent)]
    Plain(#[from] OfferError),
    /// Fewer than five fields.
    #[error("an extended offer has five fields and further ones with a key, this one has {count}")]
    Fields {
        /// Number of fields found.
        count: usize,
    },
    /// Missing key that every extended offer has.
    #[error("the offer has no field {key}=")]
    Missing {
        /// Missing key.
        key: &'static str,
    },
    /// Invalid `id`.
    #[error("the offer's id is not valid")]
    Id(#[source] IdError),
    /// Invalid `size`.
    #[error("the offer's size is not a decimal number")]
    Size,
    /// Value of `set`, `dry` or `rollback` that is neither `0` nor `1`.
    #[error("the offer's field {key} is neither 0 nor 1")]
    Flag {
        /// Key of the field.
        key: &'static str,
    },
    /// Set or rollback whose file name is not the placeholder `set`.
    #[error("the offer's file is not {SET:?}, as it is for a set")]
    NotNamedSet,
    /// Invalid `delete`.
    #[error("the offer's field delete is neither set nor all")]
    Delete,
    /// Invalid `trial`.
    #[error("the offer's field trial is not a number from 1 to {}", Trial::MAX)]
    Trial,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Offer};
    use proptest::prelude::*;

    const HASH: &str = "819d7bf839af03c912af6e81f65ab404e5915ab5";

    fn read(path: &str, options: &str) -> Result<ExtendedOffer, ExtendedOfferError> {
        format!("192.168.1.10|40123|{path}|{HASH}|1|{options}").parse()
    }

    #[test]
    fn the_offers_of_the_specification_are_read_and_written_alike() {
        for (path, options, content) in [
            ("main.py", "", Content::File("main.py".parse().unwrap())),
            (
                "set",
                "|set=1|delete=set",
                Content::Set(SetTerms { delete: Delete::FormerSet, ..SetTerms::default() }),
            ),
            (
                "set",
                "|set=1|delete=all|dry=1|trial=999",
                Content::Set(SetTerms { delete: Delete::Everything, dry_run: true, trial: Trial::new(999) }),
            ),
            ("set", "|rollback=1", Content::Rollback),
        ] {
            let text = format!("192.168.1.10|40123|{path}|{HASH}|1|id=0123456789abcdef|size=3891{options}");
            let offer: ExtendedOffer = text.parse().unwrap();
            assert_eq!((&offer.content, offer.size, offer.reboot), (&content, 3891, true));
            assert_eq!(offer.to_string(), text);
            let asking = text.replacen("|size=3891", "|size=3891|answers=1", 1);
            assert_eq!(asking.parse(), Ok(ExtendedOffer { answers: true, ..offer }));
            assert_eq!(asking.parse::<ExtendedOffer>().unwrap().to_string(), asking);
            assert!(ExtendedOffer::is_meant(text.as_bytes()));
            assert!(Offer::parse(text.as_bytes()).is_err());
        }
        let id = "0123456789abcdef".parse().unwrap();
        assert_eq!(
            ExtendedOffer::rollback(HASH.parse().unwrap(), id).to_string(),
            format!("0.0.0.0|1|set|{HASH}|1|id=0123456789abcdef|size=0|answers=1|rollback=1")
        );
    }

    #[test]
    fn an_answer_names_the_id_only_where_the_offer_asks_for_it_even_of_an_invalid_one() {
        let id = "0123456789abcdef".parse().ok();
        for (message, named) in [
            (&b"h|x|f|zz|9|id=0123456789abcdef|answers=1"[..], id),
            (b"h|1|f|zz|1|answers=1|id=x|id=0123456789abcdef", id),
            (b"h|1|\xff|zz|1|\xff|id=0123456789abcdef|answers=1", id),
            (b"h|1|f|zz|1|id=0123456789abcdef|answers=0", None),
            (b"h|1|f|zz|1|id=0123456789abcdef|answers=1|answers=2", None),
            (b"h|1|f|zz|1|id=0123456789abcdef", None),
            (b"h|1|f|zz|1|id=0123456789abcde|answers=1", None),
            (b"h|1|f|id=0123456789abcdef|answers=1", None),
            (b"", None),
        ] {
            assert_eq!(ExtendedOffer::id_to_name(message), named, "{message:?}");
        }
    }

    #[test]
    fn fields_come_in_any_order_unknown_ones_are_ignored_and_the_last_of_a_key_counts() {
        let offer =
            read("set", "new=1|x|size=1|set=0|mac=00|set=1|id=0123456789abcdef|size=2|trial=7").unwrap();
        let trial = Trial::new(7);
        assert_eq!(offer.content, Content::Set(SetTerms { trial, ..SetTerms::default() }));
        assert_eq!(offer.size, 2);
    }

    #[test]
    fn an_error_names_the_field_and_the_rule() {
        let both = "id=0123456789abcdef|size=1";
        for (path, options, words) in [
            ("f", "size=1", "no field id="),
            ("f", "id=0123456789abcdef", "no field size="),
            ("f", "id=x|size=1", "id"),
            ("f", "id=0123456789abcdef|size=-1", "size"),
            ("../f", both, "file"),
            ("f", &format!("{both}|set=1"), "\"set\""),
            ("f", &format!("{both}|rollback=1"), "\"set\""),
            ("set", &format!("{both}|set=yes"), "set is neither"),
            ("set", &format!("{both}|set=1|dry=true"), "dry is neither"),
            ("set", &format!("{both}|set=1|delete=some"), "delete"),
            ("set", &format!("{both}|set=1|trial=0"), "trial"),
            ("set", &format!("{both}|set=1|trial=1000"), "trial"),
        ] {
            let error = read(path, options).unwrap_err().to_string();
            assert!(error.contains(words), "{options:?}: {error}");
        }
        let four = format!("h|1|f|{HASH}").parse::<ExtendedOffer>();
        assert_eq!(four, Err(ExtendedOfferError::Fields { count: 4 }));
        assert!(format!("h|1|f|{HASH}|2|{both}").parse::<ExtendedOffer>().is_err());
    }

    fn any_extended() -> impl Strategy<Value = ExtendedOffer> {
        let delete = prop_oneof![Just(Delete::Nothing), Just(Delete::FormerSet), Just(Delete::Everything)];
        let terms = (delete, any::<bool>(), proptest::option::of(1u16..=Trial::MAX)).prop_map(
            |(delete, dry_run, trial)| {
                Content::Set(SetTerms { delete, dry_run, trial: trial.and_then(Trial::new) })
            },
        );
        let file = "[a-zA-Zé ~-]?[a-z.=]{0,9}[a-z=~](/[a-z]{1,9}){0,3}";
        let content = prop_oneof![
            file.prop_map(|path| Content::File(path.parse().unwrap())),
            terms,
            Just(Content::Rollback)
        ];
        let host = any::<std::net::IpAddr>().prop_map(Host::from);
        let numbers = (any::<[u8; 8]>(), any::<u64>(), any::<[bool; 2]>(), any::<u8>());
        (host, any::<NonZeroU16>(), content, numbers).prop_map(
            |(host, port, content, (id, size, [reboot, answers], seed))| ExtendedOffer {
                host,
                port,
                content,
                digest: Digest::of(Algorithm::Sha256, &[seed]),
                reboot,
                id: OfferId::from_bytes(id),
                size,
                answers,
            },
        )
    }

    proptest! {
        #[test]
        fn property_an_extended_offer_round_trips(offer in any_extended()) {
            let text = offer.to_string();
            prop_assert!(text.len() <= MAX_MESSAGE);
            prop_assert!(ExtendedOffer::is_meant(text.as_bytes()));
            prop_assert_eq!(ExtendedOffer::parse(text.as_bytes()), Ok(offer));
        }

        #[test]
        fn property_a_damaged_extended_offer_is_an_offer_or_an_error(
            offer in any_extended(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
        ) {
            let mut bytes = offer.to_string().into_bytes();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            if let Ok(read) = ExtendedOffer::parse(&bytes) {
                prop_assert_eq!(ExtendedOffer::parse(read.to_string().as_bytes()), Ok(read));
            }
        }

        #[test]
        fn property_any_options_are_an_offer_or_an_error(
            options in "((id|size|answers|set|delete|dry|trial|rollback)=(0123456789abcdef|[0-9]{0,5}|set|all)\\|){0,5}"
        ) {
            if let Ok(offer) = read("set", &options) {
                prop_assert_eq!(ExtendedOffer::parse(offer.to_string().as_bytes()), Ok(offer));
            }
        }
    }
}
