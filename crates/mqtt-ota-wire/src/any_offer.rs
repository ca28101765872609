use alloc::string::String;
use core::fmt;

use crate::{DevicePath, Digest, ExtendedOffer, ExtendedOfferError, Offer, OfferError, State, Status};

/// An offer of either kind, as received by a device that understands both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AnyOffer {
    /// Offer that every device understands.
    Plain(Offer),
    /// Offer for a device that has announced that it understands extended offers.
    Extended(ExtendedOffer),
}

impl AnyOffer {
    /// Reads an offer as received from the broker. A message with more than five fields is an extended offer.
    ///
    /// # Errors
    /// Returns the first rule that the message breaks, with the field concerned.
    pub fn parse(message: &[u8]) -> Result<Self, AnyOfferError> {
        if ExtendedOffer::is_meant(message) {
            Ok(Self::Extended(ExtendedOffer::parse(message)?))
        } else {
            Ok(Self::Plain(Offer::parse(message)?))
        }
    }

    /// Returns the file name, or its placeholder if the offer is not of a single file.
    pub fn path(&self) -> DevicePath {
        match self {
            Self::Plain(offer) => offer.path.clone(),
            Self::Extended(offer) => offer.path(),
        }
    }

    /// Creates a status that answers this offer, with the offer's id if the offer asks for that.
    pub fn answer(&self, state: State, detail: impl Into<String>) -> Status {
        match self {
            Self::Plain(offer) => Status::new(state, &offer.path, &offer.digest, detail),
            Self::Extended(offer) => offer.answer(state, detail),
        }
    }

    /// Returns the offered hash.
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

/// Error returned for a message that is not an [`AnyOffer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnyOfferError {
    /// Invalid message with the number of fields of a plain offer.
    #[error(transparent)]
    Plain(#[from] OfferError),
    /// Invalid message with the number of fields of an extended offer.
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
