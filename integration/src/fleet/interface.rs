use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

/// The first of the devices' own addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// What a device reaches others from: as in a house, an address of its own. Those of one address have 28,000 ports
/// together, and one that a connection has had is taken for a minute more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interface(IpAddr);

impl Interface {
    /// That of the device `index` of a fleet whose broker is at `broker`. The devices share an address where the
    /// system has but one of loopback.
    pub(super) fn of(broker: IpAddr, index: usize) -> Self {
        match broker {
            IpAddr::V4(address) if address.is_loopback() && cfg!(target_os = "linux") => {
                let index = u32::try_from(index).expect("a few thousand devices");
                Self(Ipv4Addr::from_bits(FIRST.to_bits() + index).into())
            }
            _ => Self(broker),
        }
    }

    pub(super) fn address(self) -> IpAddr {
        self.0
    }

    pub(super) async fn connect(self, to: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let mut refused = io::ErrorKind::AddrNotAvailable.into();
        for to in lookup_host(to).await? {
            match self.connect_to(to).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    async fn connect_to(self, to: SocketAddr) -> io::Result<TcpStream> {
        if !(self.0.is_ipv4() && to.is_ipv4() && self.0.is_loopback() && to.ip().is_loopback()) {
            return TcpStream::connect(to).await;
        }
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.0, 0))?;
        socket.connect(to).await
    }
}
