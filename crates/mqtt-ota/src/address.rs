mod advertise;
mod listen;
mod routes;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

pub use self::advertise::{Advertise, AdvertiseError};
pub use self::listen::{Listen, ListenError};
pub(crate) use self::routes::{Routes, route_to};
use crate::wire::Host;

/// Address that an offer gives for the file, and the reason for choosing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Host in the offer.
    pub host: Host,
    /// Port in the offer.
    pub port: NonZeroU16,
    /// Reason for choosing this host.
    pub why: Why,
}

impl Advertised {
    /// Returns true if a device's text about a failed connection concerns this address.
    ///
    /// The text begins with the address that the device tried. `None` if it begins with no address.
    pub(crate) fn is_named_in(&self, words: &str) -> Option<bool> {
        let tried = words.split_whitespace().next()?;
        let tried = tried.strip_suffix(':').unwrap_or(tried);
        let (host, port) = tried.rsplit_once(':')?;
        let port: NonZeroU16 = port.parse().ok()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(port == self.port && host == self.host.as_str())
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(f, &self.host, self.port.get())
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &Host, port: u16) -> fmt::Result {
    match host.address() {
        Some(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
        _ => write!(f, "{host}:{port}"),
    }
}

/// Reason for choosing an address. The variants are in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The user named the address.
    Told,
    /// The user named the address as the local one to listen on.
    Listening,
    /// Local address of the route to the address that the device announced.
    RouteToDevice(IpAddr),
    /// Local address of the route to the broker.
    RouteToBroker(IpAddr),
    /// Local address of the default route.
    DefaultRoute,
    /// The loopback address, because this machine has no other network.
    OnlyLoopback,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told => f.write_str("as it was told to"),
            Self::Listening => f.write_str("the address it listens on"),
            Self::RouteToDevice(address) => {
                write!(f, "the local address of the route to the device, which announced {address}")
            }
            Self::RouteToBroker(address) => {
                write!(f, "the local address of the route to the broker at {address}")
            }
            Self::DefaultRoute => f.write_str("the local address of the default route"),
            Self::OnlyLoopback => f.write_str("this machine has no route to any other"),
        }
    }
}

/// Chooses the host to advertise. `route` is [`Routes::local`], or a table in a test.
pub(crate) fn choose(
    advertise: Option<&Advertise>,
    listen: &Listen,
    device: Option<IpAddr>,
    broker: Option<IpAddr>,
    route: impl Fn(IpAddr) -> io::Result<IpAddr>,
) -> (Host, Why) {
    if let Some(advertise) = advertise {
        return (advertise.host.clone(), Why::Told);
    }
    if let Some(address) = listen.address().filter(|address| !address.is_unspecified()) {
        return (address.into(), Why::Listening);
    }
    let usable = |address: IpAddr| !address.is_unspecified() && !address.is_multicast();
    let local = |to: IpAddr| route(to).ok().filter(|local| usable(*local));
    if let Some((to, local)) = device.filter(|a| usable(*a)).and_then(|to| Some((to, local(to)?))) {
        return (local.into(), Why::RouteToDevice(to));
    }
    if let Some((to, local)) = broker.filter(|a| !a.is_loopback()).and_then(|to| Some((to, local(to)?))) {
        return (local.into(), Why::RouteToBroker(to));
    }
    // Any address beyond this machine's own networks shows the default route. These two are reserved for documentation
    // (RFC 5737, RFC 3849).
    let beyond =
        [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    match beyond.into_iter().filter_map(local).find(|local| !local.is_loopback()) {
        Some(local) => (local.into(), Why::DefaultRoute),
        None => (IpAddr::V4(Ipv4Addr::LOCALHOST).into(), Why::OnlyLoopback),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Routes of a machine in two networks, with a default route through the second.
    fn two_networks(to: IpAddr) -> io::Result<IpAddr> {
        Ok(match to {
            IpAddr::V4(v4) if v4.is_loopback() => ip("127.0.0.1"),
            IpAddr::V4(v4) if v4.octets().starts_with(&[192, 168, 1]) => ip("192.168.1.10"),
            IpAddr::V4(_) => ip("10.0.2.15"),
            IpAddr::V6(_) => return Err(io::ErrorKind::NetworkUnreachable.into()),
        })
    }

    #[test]
    fn what_a_device_says_that_it_tried_is_this_address_or_another_or_none() {
        let offered = |host: &str| {
            let port = 4000.try_into().unwrap();
            Advertised { host: host.parse().unwrap(), port, why: Why::DefaultRoute }
        };
        for (host, words, expected) in [
            ("192.168.1.10", "192.168.1.10:4000 ECONNREFUSED", Some(true)),
            ("192.168.1.10", "192.168.1.10:4000: no answer in 10s", Some(true)),
            ("192.168.1.10", "192.168.1.10:4001 ECONNREFUSED", Some(false)),
            ("192.168.1.10", "192.168.1.1:4000 ECONNREFUSED", Some(false)),
            ("fd00::1", "fd00::1:4000 [Errno 113]", Some(true)),
            ("fd00::1", "[fd00::1]:4000 [Errno 113]", Some(true)),
            ("nas.lan", "nas.lan:4000 -2", Some(true)),
            ("nas.lan", "the network is unreachable", None),
            ("nas.lan", "error: -2", None),
            ("nas.lan", "", None),
        ] {
            assert_eq!(offered(host).is_named_in(words), expected, "{words}");
        }
    }

    #[test]
    fn the_address_is_the_first_that_somebody_knows() {
        let any = Listen::default();
        let (device, broker) = (Some(ip("192.168.1.7")), Some(ip("172.16.0.1")));
        let told: Advertise = "nas.lan:1".parse().unwrap();
        let bound: Listen = "192.168.9.1:1".parse().unwrap();
        for (advertise, listen, device, broker, host, why) in [
            (Some(&told), &bound, device, broker, "nas.lan", Why::Told),
            (None, &bound, device, broker, "192.168.9.1", Why::Listening),
            (None, &any, device, broker, "192.168.1.10", Why::RouteToDevice(ip("192.168.1.7"))),
            (None, &any, None, broker, "10.0.2.15", Why::RouteToBroker(ip("172.16.0.1"))),
            (None, &any, Some(ip("0.0.0.0")), broker, "10.0.2.15", Why::RouteToBroker(ip("172.16.0.1"))),
            (None, &any, Some(ip("fe80::1")), Some(ip("127.0.0.1")), "10.0.2.15", Why::DefaultRoute),
            (None, &any, None, None, "10.0.2.15", Why::DefaultRoute),
            (None, &any, Some(ip("127.0.0.1")), None, "127.0.0.1", Why::RouteToDevice(ip("127.0.0.1"))),
        ] {
            let chosen = choose(advertise, listen, device, broker, two_networks);
            assert_eq!(chosen, (host.parse().unwrap(), why));
        }
    }

    #[test]
    fn with_a_broker_in_this_process_the_device_decides_and_else_the_default_route() {
        let in_process = None;
        for (device, host, why) in [
            (Some(ip("192.168.1.7")), "192.168.1.10", Why::RouteToDevice(ip("192.168.1.7"))),
            (Some(ip("127.0.0.1")), "127.0.0.1", Why::RouteToDevice(ip("127.0.0.1"))),
            (None, "10.0.2.15", Why::DefaultRoute),
        ] {
            let chosen = choose(None, &Listen::default(), device, in_process, two_networks);
            assert_eq!(chosen, (host.parse().unwrap(), why));
        }
        let no_network = |to: IpAddr| match to {
            to if to.is_loopback() => Ok(to),
            _ => Err(io::ErrorKind::NetworkUnreachable.into()),
        };
        let chosen = choose(None, &Listen::default(), None, in_process, no_network);
        assert_eq!(chosen, ("127.0.0.1".parse().unwrap(), Why::OnlyLoopback));
    }

    #[test]
    fn a_machine_without_a_network_still_serves_itself() {
        let none = |_| Err(io::ErrorKind::NetworkUnreachable.into());
        let chosen = choose(None, &Listen::default(), None, Some(ip("127.0.0.1")), none);
        assert_eq!(chosen, ("127.0.0.1".parse().unwrap(), Why::OnlyLoopback));
    }
}
