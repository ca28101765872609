use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

/// First of the devices' own addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// Local address that a device connects from. As in a house, each device has its own. All connections from one address
/// share 28,000 ports, and a port stays taken for a minute after its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interface(IpAddr);

impl Interface {
    /// Returns the interface of the device `index` of a fleet whose broker is at `broker`. The devices share an address
    /// if the system has only one loopback address.
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
