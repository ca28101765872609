use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::fields::SEPARATOR;
use crate::fields::decimal;
use crate::offer::{OfferError, Plain};
use crate::{DevicePath, Digest, Host, IdError, MAX_MESSAGE, OfferId, State, Status};

/// What stands for the file's name where a set is offered.
const SET: &str = "set";

/// An offer of more than one plain stream: `host|port|file|hash|reboot|id=…|size=…`, and further fields.
///
/// Only for devices whose announcement says that they understand it. The fields from the sixth on are
/// `key=value` in any order; unknown keys are ignored, of a key that is there twice the last counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExtendedOffer {
    /// Where it is served. Without a meaning for a rollback, as the port.
    pub host: Host,
    /// The TCP port there.
    pub port: NonZeroU16,
    /// What it is that the digest names.
    pub content: Content,
    /// What the file's bytes, or the manifest's, hash to.
    pub digest: Digest,
    /// Whether the device reboots once it is in place.
    pub reboot: bool,
    /// `id`: what each request begins with.
    pub id: OfferId,
    /// `size`: the length of what the digest names, in bytes.
    pub size: u64,
    /// `answers=1`: each status that answers it is to name its id.
    pub answers: bool,
}

/// What an extended offer's digest names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// One file, to be known by this name.
    File(DevicePath),
    /// `set=1`: a manifest; the files that it lists are to be there all at once.
    Set(SetTerms),
    /// `rollback=1`: a set that is installed, and to be taken back.
    Rollback,
}

/// What is to be done with a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SetTerms {
    /// `delete`: which files go that the set does not have.
    pub delete: Delete,
    /// `dry=1`: the device says what it would do, and does nothing.
    pub dry_run: bool,
    /// `trial`: how many boots the set has to be confirmed in; None: as many as the device likes, which are
    /// three.
    pub trial: Option<Trial>,
}

impl SetTerms {
    /// What stands in the offer of a set, and in each status that answers it, for a file's name.
    pub fn path() -> DevicePath {
        DevicePath::from_constant(SET)
    }
}

/// Which files a set deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delete {
    /// None.
    #[default]
    Nothing,
    /// `set`: those that the set before has and this one has not.
    FormerSet,
    /// `all`: every file that this set has not, but what the device needs to be updated again.
    Everything,
}

impl Delete {
    /// The word on the wire, where there is one.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::FormerSet => Some("set"),
            Self::Everything => Some("all"),
        }
    }
}

/// How many boots a set has to be confirmed in: 1 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Trial(NonZeroU16);

impl Trial {
    /// The most boots.
    pub const MAX: u16 = 999;

    /// That many boots; None where it is none, or more than [`Trial::MAX`].
    pub fn new(boots: u16) -> Option<Self> {
        NonZeroU16::new(boots).filter(|boots| boots.get() <= Self::MAX).map(Self)
    }

    /// How many boots.
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
    /// The set with this manifest is to be taken back.
    pub fn rollback(digest: Digest, id: OfferId) -> Self {
        let host = core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED).into();
        let (port, content) = (NonZeroU16::MIN, Content::Rollback);
        Self { host, port, content, digest, reboot: true, id, size: 0, answers: true }
    }

    /// What stands in the offer, and in each status that answers it, for a file's name.
    pub fn path(&self) -> DevicePath {
        match &self.content {
            Content::File(path) => path.clone(),
            Content::Set(_) | Content::Rollback => SetTerms::path(),
        }
    }

    /// A status that answers it, and names its id if the offer asks for that.
    pub fn answer(&self, state: State, detail: impl Into<String>) -> Status {
        Status::new(state, &self.path(), &self.digest, detail).answering(self.named())
    }

    /// The id that a status names that answers it; None where it is to name none.
    pub fn named(&self) -> Option<OfferId> {
        self.answers.then_some(self.id)
    }

    /// Whether a message has more fields than a plain offer, and so is an extended one or none.
    pub fn is_meant(message: &[u8]) -> bool {
        message.iter().filter(|byte| **byte == SEPARATOR as u8).count() > 4
    }

    /// Reads an extended offer as it came off the wire.
    ///
    /// # Errors
    /// The first field that breaks its rule, and the rule.
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

    /// The id that each status names that answers this message, which may be no valid offer; None where an answer is
    /// to name none.
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

/// Why a message is not an [`ExtendedOffer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendedOfferError {
    /// One of the fields that a plain offer has too, or the whole message.
    #[error(transparent)]
    Plain(#[from] OfferError),
    /// Not even five.
    #[error("an extended offer has five fields and further ones with a key, this one has {count}")]
    Fields {
        /// How many there are.
        count: usize,
    },
    /// A key that every extended offer has.
    #[error("the offer has no field {key}=")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// `id`.
    #[error("the offer's id is not valid")]
    Id(#[source] IdError),
    /// `size`.
    #[error("the offer's size is not a decimal number")]
    Size,
    /// `set`, `dry` or `rollback`.
    #[error("the offer's field {key} is neither 0 nor 1")]
    Flag {
        /// The key.
        key: &'static str,
    },
    /// A set, or a rollback, of another name.
    #[error("the offer's file is not {SET:?}, as it is for a set")]
    NotNamedSet,
    /// `delete`.
    #[error("the offer's field delete is neither set nor all")]
    Delete,
    /// `trial`.
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
