use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::fields::SEPARATOR;
use crate::fields::decimal;
use crate::{DevicePath, Digest, DigestError, Host, HostError, MAX_MESSAGE, PathError};

/// A plain offer of one file: `host|port|file|hash`, followed by `|0` if the device must not reboot afterwards.
///
/// Every device ever built to this protocol can read the four fields. The fifth is written only when it is `0`. An
/// absent fifth field means reboot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Host that serves the file.
    pub host: Host,
    /// TCP port of the host.
    pub port: NonZeroU16,
    /// File name on the device.
    pub path: DevicePath,
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// True if the device reboots once the file is in place.
    pub reboot: bool,
}

impl Offer {
    /// Reads an offer as received from the broker.
    ///
    /// # Errors
    /// Returns the first rule that the message breaks, with the field concerned.
    pub fn parse(message: &[u8]) -> Result<Self, OfferError> {
        if message.len() > MAX_MESSAGE {
            return Err(OfferError::TooLong { bytes: message.len() });
        }
        let text = core::str::from_utf8(message).map_err(|_| OfferError::NotText)?;
        let mut fields = text.split(SEPARATOR);
        let mut next = || fields.next();
        let (Some(host), Some(port), Some(path), Some(digest), reboot, None) =
            (next(), next(), next(), next(), next(), next())
        else {
            return Err(OfferError::Fields { count: text.split(SEPARATOR).count() });
        };
        let Plain { host, port, path, digest, reboot } = Plain::of(host, port, path, digest, reboot)?;
        Ok(Self { host, port, path, digest, reboot })
    }

    /// Returns the file and hash fields of a message that is not a valid offer, so that the answer can name them.
    ///
    /// A field is empty if it is missing, is not UTF-8, or is too long: more than [`DevicePath::MAX_LEN`] bytes for the
    /// file, or more than [`Digest::MAX_LEN`] for the hash.
    pub fn fields_of_invalid(message: &[u8]) -> (&str, &str) {
        let field = |index: usize, limit: usize| {
            message
                .split(|byte| *byte == SEPARATOR as u8)
                .nth(index)
                .and_then(|bytes| core::str::from_utf8(bytes).ok())
                .filter(|text| text.len() <= limit)
                .unwrap_or_default()
        };
        (field(2, DevicePath::MAX_LEN), field(3, Digest::MAX_LEN))
    }
}

/// Fields that plain and extended offers share.
pub(crate) struct Plain {
    pub(crate) host: Host,
    pub(crate) port: NonZeroU16,
    pub(crate) path: DevicePath,
    pub(crate) digest: Digest,
    pub(crate) reboot: bool,
}

impl Plain {
    pub(crate) fn of(
        host: &str,
        port: &str,
        path: &str,
        digest: &str,
        reboot: Option<&str>,
    ) -> Result<Self, OfferError> {
        Ok(Self {
            host: host.parse().map_err(OfferError::Host)?,
            port: decimal(port).ok_or(OfferError::Port)?,
            path: path.parse().map_err(OfferError::Path)?,
            digest: digest.parse().map_err(OfferError::Digest)?,
            reboot: match reboot {
                None | Some("1") => true,
                Some("0") => false,
                Some(_) => return Err(OfferError::Reboot),
            },
        })
    }
}

impl FromStr for Offer {
    type Err = OfferError;

    fn from_str(text: &str) -> Result<Self, OfferError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path, digest, reboot } = self;
        write!(f, "{host}|{port}|{path}|{digest}")?;
        if *reboot { Ok(()) } else { f.write_str("|0") }
    }
}

/// Error returned for a message that is not an [`Offer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// Message longer than [`MAX_MESSAGE`].
    #[error("an offer has at most {MAX_MESSAGE} bytes, this one has more")]
    TooLong {
        /// Length found, in bytes. The link cuts a message off one byte above the limit.
        bytes: usize,
    },
    /// Message that is not UTF-8.
    #[error("an offer is UTF-8 text")]
    NotText,
    /// Neither four nor five fields.
    #[error("an offer has four fields (host|port|file|hash) or five (|reboot), this one has {count}")]
    Fields {
        /// Number of fields found.
        count: usize,
    },
    /// Invalid host, the first field.
    #[error("the offer's host is not valid")]
    Host(#[source] HostError),
    /// Invalid port, the second field.
    #[error("the offer's port is not a decimal number from 1 to 65535")]
    Port,
    /// Invalid file name, the third field.
    #[error("the offer's file is not valid")]
    Path(#[source] PathError),
    /// Invalid hash, the fourth field.
    #[error("the offer's hash is not valid")]
    Digest(#[source] DigestError),
    /// Fifth field that is neither `0` nor `1`.
    #[error("the offer's fifth field is neither 0 nor 1")]
    Reboot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA1: &str = "819d7bf839af03c912af6e81f65ab404e5915ab5";

    #[test]
    fn four_fields_mean_reboot_and_a_zero_means_none() {
        let four = format!("192.168.1.10|40123|main.py|{SHA1}");
        let offer: Offer = four.parse().unwrap();
        assert!(offer.reboot);
        assert_eq!(offer.to_string(), four);
        assert_eq!(format!("{four}|1").parse::<Offer>().unwrap(), offer);
        let five = format!("{four}|0");
        let quiet: Offer = five.parse().unwrap();
        assert!(!quiet.reboot);
        assert_eq!(quiet.to_string(), five);
    }

    #[test]
    fn an_ipv6_host_is_bare() {
        let offer: Offer = format!("fe80::1|1|f|{SHA1}").parse().unwrap();
        assert_eq!(offer.host.address(), Some("fe80::1".parse().unwrap()));
        assert!(format!("[fe80::1]|1|f|{SHA1}").parse::<Offer>().is_err());
    }

    #[test]
    fn an_error_names_the_field_and_the_rule() {
        for (text, words) in [
            (String::new(), "this one has 1"),
            (format!("h|1|f|{SHA1}|1|id=1"), "this one has 6"),
            (format!("|1|f|{SHA1}"), "host"),
            (format!("h|0|f|{SHA1}"), "port"),
            (format!("h|65536|f|{SHA1}"), "port"),
            (format!("h|+80|f|{SHA1}"), "port"),
            (format!("h||f|{SHA1}"), "port"),
            (format!("h|1|../f|{SHA1}"), "file"),
            ("h|1|f|abc".to_owned(), "hash"),
            (format!("h|1|f|{SHA1}|2"), "fifth"),
            (format!("h|1|f|{SHA1}|"), "fifth"),
        ] {
            let error = text.parse::<Offer>().unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(Offer::parse(b"h|1|\xff|x"), Err(OfferError::NotText));
        assert_eq!(Offer::parse(&[b'x'; 1025]), Err(OfferError::TooLong { bytes: 1025 }));
    }

    #[test]
    fn the_fields_of_an_invalid_offer_are_bounded() {
        assert_eq!(Offer::fields_of_invalid(b"h|x|main.py|zz|9"), ("main.py", "zz"));
        assert_eq!(Offer::fields_of_invalid(b"garbage"), ("", ""));
        assert_eq!(Offer::fields_of_invalid(format!("||{}|", "x".repeat(129)).as_bytes()), ("", ""));
    }

    fn any_offer() -> impl Strategy<Value = Offer> {
        let host = prop_oneof![
            any::<std::net::IpAddr>().prop_map(Host::from),
            "[a-z0-9._-]{1,40}".prop_filter_map("reserved", |name| name.parse().ok()),
        ];
        let path =
            "[a-zA-Z0-9é ~-]?[a-z.]{0,9}[a-z~](/[a-z]{1,9}){0,3}".prop_map(|path| path.parse().unwrap());
        let digest = (any::<Vec<u8>>(), proptest::sample::select(&super::super::Algorithm::ALL[..]))
            .prop_map(|(bytes, algorithm)| Digest::of(algorithm, &bytes));
        (host, any::<NonZeroU16>(), path, digest, any::<bool>())
            .prop_map(|(host, port, path, digest, reboot)| Offer { host, port, path, digest, reboot })
    }

    proptest! {
        #[test]
        fn property_an_offer_round_trips(offer in any_offer()) {
            prop_assert_eq!(Offer::parse(offer.to_string().as_bytes()), Ok(offer));
        }

        #[test]
        fn property_any_bytes_are_an_offer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(offer) = Offer::parse(&bytes) {
                prop_assert_eq!(Offer::parse(offer.to_string().as_bytes()), Ok(offer));
            }
        }

        #[test]
        fn property_a_damaged_offer_is_an_offer_or_an_error(
            offer in any_offer(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
        ) {
            let mut bytes = offer.to_string().into_bytes();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let (path, digest) = Offer::fields_of_invalid(&bytes);
            prop_assert!(path.len() <= DevicePath::MAX_LEN && digest.len() <= Digest::MAX_LEN);
            if let Ok(read) = Offer::parse(&bytes) {
                prop_assert!(read.path.as_str().parse::<DevicePath>().is_ok());
                prop_assert_eq!(Offer::parse(read.to_string().as_bytes()), Ok(read));
            }
        }
    }
}
