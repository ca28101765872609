use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::write_host_port;
use crate::wire::{Host, HostError};

/// Host that an offer names instead of an address of this machine: `HOST` or `HOST:PORT`.
///
/// For a container, or a router that forwards the port. An IPv6 address with a port stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Host that devices connect to.
    pub host: Host,
    /// Port that devices connect to. `None` for the port that the sender listens on.
    pub port: Option<NonZeroU16>,
}

impl FromStr for Advertise {
    type Err = AdvertiseError;

    fn from_str(text: &str) -> Result<Self, AdvertiseError> {
        let error = |source| AdvertiseError { text: text.to_owned(), source };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self { host: address.into(), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((host, port)) => {
                let port = port.parse().map_err(|_| error(None))?;
                (host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host), Some(port))
            }
        };
        Ok(Self { host: host.parse().map_err(|source| error(Some(source)))?, port })
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write_host_port(f, &self.host, port.get()),
            None => self.host.fmt(f),
        }
    }
}

/// Error returned for a text that is not an [`Advertise`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be advertised: give HOST or HOST:PORT")]
pub struct AdvertiseError {
    text: String,
    source: Option<HostError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertise_takes_a_host_and_maybe_a_port() {
        for text in ["nas.lan", "nas.lan:8266", "192.168.1.10:1", "[fe80::1]:8266", "fe80::1"] {
            assert_eq!(text.parse::<Advertise>().unwrap().to_string(), text);
        }
        for bad in ["", ":80", "nas.lan:0", "nas.lan:x", "a b", "nas.lan:70000"] {
            assert!(bad.parse::<Advertise>().is_err(), "{bad:?}");
        }
    }
}
