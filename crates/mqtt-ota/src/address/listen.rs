use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Address and ports that the sender listens on: `ADDR`, `ADDR:PORT`, `ADDR:FIRST-LAST`, `PORT` or `FIRST-LAST`.
///
/// An IPv6 address stands in brackets. The default is any address and any free port. A fixed port or a range is for
/// firewalls and containers. All extended offers share one port. A range limits the number of plain offers at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    address: Option<IpAddr>,
    ports: RangeInclusive<u16>,
}

impl Listen {
    /// Listens on this port at any address.
    pub fn on_port(port: NonZeroU16) -> Self {
        Self { address: None, ports: port.get()..=port.get() }
    }

    /// Returns the local address, or `None` for any address.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the ports to try in turn, or `0..=0` for any free port.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    pub(crate) fn any_port(&self) -> bool {
        self.ports == (0..=0)
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: None, ports: 0..=0 }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let invalid = || ListenError { text: text.to_owned() };
        let ports = |ports: &str| -> Option<RangeInclusive<u16>> {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            // `str::parse` would accept a sign.
            let number = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?
            };
            let (first, last) = (number(first)?, number(last)?);
            (first <= last && (first > 0 || last == 0)).then_some(first..=last)
        };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self { address: Some(address), ports: 0..=0 });
        }
        match text.rsplit_once(':') {
            None => Ok(Self { address: None, ports: ports(text).ok_or_else(invalid)? }),
            Some((address, range)) => {
                let address = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
                    Some(v6) => v6.parse().map(IpAddr::V6),
                    None => address.parse().map(IpAddr::V4),
                };
                let address = Some(address.map_err(|_| invalid())?);
                Ok(Self { address, ports: ports(range).ok_or_else(invalid)? })
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// Error returned for a text that is not a [`Listen`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address to listen on: give ADDR:PORT, ADDR:FIRST-LAST, PORT or FIRST-LAST")]
pub struct ListenError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_addresses_ports_and_ranges() {
        for (text, shown) in [
            ("8266", "8266"),
            ("8266-8270", "8266-8270"),
            ("0.0.0.0", "0.0.0.0:0"),
            ("192.168.1.10:8266", "192.168.1.10:8266"),
            ("192.168.1.10:8266-8270", "192.168.1.10:8266-8270"),
            ("[::]:8266", "[::]:8266"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), shown, "{text:?}");
        }
        for bad in
            ["", "x", "lan:1", "::1:8266-1", "70000", "9-8", "0-5", "1.2.3.4:", "1.2.3.4:x", "-1", "+80"]
        {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?}");
        }
    }
}
