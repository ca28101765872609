use alloc::string::String;
use core::fmt;

use crate::{DevicePath, Digest, ExtendedOffer, ExtendedOfferError, Offer, OfferError, State, Status};

/// An offer of either kind, as it comes to a device that understands both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AnyOffer {
    /// One that every device understands.
    Plain(Offer),
    /// One for a device that has announced that it understands more.
    Extended(ExtendedOffer),
}

impl AnyOffer {
    /// Reads an offer as it came off the wire: an extended one has more than five fields.
    ///
    /// # Errors
    /// The first field that breaks its rule, and the rule.
    pub fn parse(message: &[u8]) -> Result<Self, AnyOfferError> {
        if ExtendedOffer::is_meant(message) {
            Ok(Self::Extended(ExtendedOffer::parse(message)?))
        } else {
            Ok(Self::Plain(Offer::parse(message)?))
        }
    }

    /// What stands in it for the file's name.
    pub fn path(&self) -> DevicePath {
        match self {
            Self::Plain(offer) => offer.path.clone(),
            Self::Extended(offer) => offer.path(),
        }
    }

    /// A status that answers it, and names its id if the offer asks for that.
    pub fn answer(&self, state: State, detail: impl Into<String>) -> Status {
        match self {
            Self::Plain(offer) => Status::new(state, &offer.path, &offer.digest, detail),
            Self::Extended(offer) => offer.answer(state, detail),
        }
    }

    /// The hash in it.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Plain(offer) => offer.digest,
            Self::Extended(offer) => offer.digest,
        }
    }
}

impl fmt::Display for AnyOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(offer) => offer.fmt(f),
            Self::Extended(offer) => offer.fmt(f),
        }
    }
}

/// Why a message is an offer of neither kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnyOfferError {
    /// It has the fields of a plain one.
    #[error(transparent)]
    Plain(#[from] OfferError),
    /// It has the fields of an extended one.
    #[error(transparent)]
    Extended(#[from] ExtendedOfferError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_are_a_plain_offer_and_six_an_extended_one() {
        let five = "h|1|f|819d7bf839af03c912af6e81f65ab404e5915ab5|0";
        assert!(matches!(AnyOffer::parse(five.as_bytes()), Ok(AnyOffer::Plain(_))));
        let seven = format!("{five}|id=0123456789abcdef|size=1");
        let offer = AnyOffer::parse(seven.as_bytes()).unwrap();
        assert!(matches!(offer, AnyOffer::Extended(_)));
        assert_eq!((offer.to_string(), offer.path().as_str()), (seven, "f"));
        assert!(matches!(AnyOffer::parse(format!("{five}|").as_bytes()), Err(AnyOfferError::Extended(_))));
    }
}
