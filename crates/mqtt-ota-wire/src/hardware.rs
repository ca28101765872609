use core::fmt;
use core::str::FromStr;

/// The hardware address of a device's Wi-Fi: six bytes, written `a4:cf:12:0b:ff:01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HardwareAddress([u8; 6]);

impl FromStr for HardwareAddress {
    type Err = HardwareAddressError;

    fn from_str(text: &str) -> Result<Self, HardwareAddressError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(HardwareAddressError)?;
            // `from_str_radix` would accept a sign.
            let is_hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex).ok_or(HardwareAddressError)?;
        }
        if parts.next().is_none() { Ok(Self(bytes)) } else { Err(HardwareAddressError) }
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardwareAddress({self})")
    }
}

/// Error returned for a text that is not a [`HardwareAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hardware address has six bytes of two hexadecimal digits, with colons in between")]
#[non_exhaustive]
pub struct HardwareAddressError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_six_bytes_with_colons_in_between_are_a_hardware_address() {
        assert_eq!("A4:cf:12:0B:ff:01".parse::<HardwareAddress>().unwrap().to_string(), "a4:cf:12:0b:ff:01");
        for bad in [
            "",
            "a4:cf:12:0b:ff",
            "a4:cf:12:0b:ff:01:02",
            "a4-cf-12-0b-ff-01",
            "+4:cf:12:0b:ff:01",
            "é:é:é:é:é:é",
        ] {
            assert_eq!(bad.parse::<HardwareAddress>(), Err(HardwareAddressError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn property_a_hardware_address_round_trips(bytes in any::<[u8; 6]>()) {
            let address = HardwareAddress(bytes);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
