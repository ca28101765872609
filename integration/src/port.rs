use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// A port of the loopback address that was free a moment ago.
///
/// For programs that have to be told a port. Another process may be faster: where that matters, the
/// caller tries again.
pub fn free_port() -> u16 {
    TakenPort::take().free().port()
}

/// A port that somebody listens on, and will not give up while this lives.
#[derive(Debug)]
pub struct TakenPort {
    listener: TcpListener,
}

impl TakenPort {
    /// Listens on any port of the loopback address.
    pub fn take() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free") }
    }

    /// Gives it up; returns where nobody listens now.
    pub fn free(self) -> SocketAddr {
        self.address()
    }

    /// Waits until somebody connects; nobody answers while the connection is held.
    pub fn accept(&self) -> TcpStream {
        self.listener.accept().expect("a client connects").0
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
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
