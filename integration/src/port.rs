use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports that are given out. No system gives these to its clients.
const PORTS: Range<u16> = 10_000..32_000;

/// Returns a port of the loopback address that was free a moment ago, and that this process does not give out again
/// soon.
///
/// For programs that have to be told a port. Another process may be faster. A caller for whom this matters tries again.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let next = || PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    iter::repeat_with(next).take(PORTS.len()).find(is_free).expect("a port is free")
}

/// Port that is listened on as long as this value lives.
#[derive(Debug)]
pub struct TakenPort {
    listener: TcpListener,
}

impl TakenPort {
    /// Listens on any port of the loopback address.
    pub fn take() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free") }
    }

    /// Gives the port up, and returns its address, where nobody listens now.
    pub fn free(self) -> SocketAddr {
        self.address()
    }

    /// Waits for a connection, and returns it. Nobody answers the client while it is held.
    pub fn accept(&self) -> TcpStream {
        self.listener.accept().expect("a client connects").0
    }

    /// Returns the address of the port.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }
}

/// Address that never answers, as behind a firewall. On Linux, this is a port whose queue of connections is full.
#[derive(Debug)]
pub struct SilentPort {
    listener: socket2::Socket,
    _queued: [TcpStream; 1],
}

impl SilentPort {
    /// Listens on any port of the loopback address, and accepts nobody.
    pub fn take() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        listener.bind(&any.into()).expect("a port is free");
        listener.listen(0).expect("a bound socket can listen");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        Self { listener, _queued: [TcpStream::connect(address).expect("the queue has room for one")] }
    }

    /// Returns the number of the port.
    pub fn port(&self) -> u16 {
        let address = self.listener.local_addr().expect("a bound listener has an address");
        address.as_socket().expect("an internet address").port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_taken_until_it_is_freed() {
        let taken = TakenPort::take();
        TcpListener::bind(taken.address()).unwrap_err();
        TcpListener::bind(taken.free()).unwrap();
    }
}
