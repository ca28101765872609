use core::fmt;
use core::str::FromStr;

/// Random identifier of an extended offer: 16 lower-case hexadecimal digits, different for each offer.
///
/// Every request for the offer's bytes begins with the id, so only a peer that has read the offer gets them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OfferId(u64);

impl OfferId {
    /// Length as text, in bytes.
    pub const LEN: usize = 16;

    /// Creates an id from bytes, which have to be random.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

impl FromStr for OfferId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != Self::LEN || !text.bytes().all(is_digit) {
            return Err(IdError { bytes: text.len() });
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| IdError { bytes: text.len() })
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferId({self})")
    }
}

/// Error returned for a text that is not an [`OfferId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id has 16 lower-case hexadecimal digits, this one is none of {bytes} bytes")]
pub struct IdError {
    /// Length found, in bytes.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_sixteen_lower_case_digits_are_an_id() {
        let id: OfferId = "0123456789abcdef".parse().unwrap();
        assert_eq!(id, OfferId::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]));
        for bad in
            ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "+123456789abcdef", "ééééééé01"]
        {
            assert!(bad.parse::<OfferId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn property_an_id_round_trips(bytes in any::<[u8; 8]>()) {
            let id = OfferId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().len(), OfferId::LEN);
            prop_assert_eq!(id.to_string().parse::<OfferId>(), Ok(id));
        }
    }
}
