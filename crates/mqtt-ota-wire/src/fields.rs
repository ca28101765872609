//! Separator and numbers, which the fields of all messages share.

use core::str::FromStr;

/// Separator of the fields of every message.
pub const SEPARATOR: char = '|';

/// Reads decimal digits, with or without leading zeros. Refuses a sign, which `str::parse` would accept.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads a number in its only valid form, without leading zeros.
pub(crate) fn canonical<T: FromStr>(text: &str) -> Option<T> {
    if text.len() > 1 && text.starts_with('0') { None } else { decimal(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_alone() {
        for bad in ["", "+1", "-1", " 1", "1 ", "0x1", "1.0", "٣", "18446744073709551616"] {
            assert_eq!(decimal::<u64>(bad), None, "{bad:?}");
        }
        assert_eq!((decimal("007"), canonical::<u64>("007"), canonical("0")), (Some(7), None, Some(0)));
    }
}
