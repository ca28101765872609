use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::string::ToString;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// Names that begin requests on the offer topic. A device does not accept an offer that begins with one of them.
const RESERVED: [&str; 2] = ["announce", "log"];

/// Host that serves an offered file: an IPv4 address, an IPv6 address (bare, without brackets), or a name.
///
/// The device has to be able to resolve the name. `announce` and `log` are reserved.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Longest host name, in bytes (RFC 1035, 2.3.4, less the root's dot).
    pub const MAX_LEN: usize = 253;

    /// Returns the host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address, or `None` if the host is a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(HostError::TooLong { bytes: text.len() });
        }
        if RESERVED.contains(&text) {
            return Err(HostError::Reserved);
        }
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))) {
            Some(character) => Err(HostError::Forbidden { character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Error returned for a text that is not a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Empty text.
    #[error("a host must not be empty")]
    Empty,
    /// Text longer than [`Host::MAX_LEN`].
    #[error("a host has at most {} bytes, this one has {bytes}", Host::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// Reserved word that begins another message.
    #[error("a host must not be \"announce\" or \"log\": a message that begins so is no offer")]
    Reserved,
    /// Neither an address nor a name.
    #[error(
        "a host must not contain {character:?}: it is an IPv4 address, a bare IPv6 address or a name of letters, digits, '.', '-' and '_'"
    )]
    Forbidden {
        /// First forbidden character.
        character: char,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for good in ["192.168.1.10", "fe80::1", "::1", "nas.lan", "my_host-2", "log.lan", "LOG"] {
            assert_eq!(good.parse::<Host>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "[::1]",
            "a b",
            "a|b",
            "fe80::1%eth0",
            "host:80",
            "é.lan",
            "announce",
            "log",
            &"a".repeat(254),
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
    }
}
