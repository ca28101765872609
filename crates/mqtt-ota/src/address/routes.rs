use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

/// Time for which an answer is reused. After it, the next attempt finds a machine that has changed its network.
const LASTS: Duration = Duration::from_secs(1);

/// Routing table, with its last answer.
///
/// Devices that have not announced an address are all reached by the route to the broker, so the same question often
/// comes twice in a row.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<Option<Answer>>);

#[derive(Debug, Clone, Copy)]
struct Answer {
    to: IpAddr,
    local: IpAddr,
    until: Instant,
}

impl Routes {
    /// Returns the result of [`route_to`], or a recent one.
    pub(crate) fn local(&self, to: IpAddr) -> io::Result<IpAddr> {
        self.known_or(to, route_to)
    }

    fn known_or(&self, to: IpAddr, ask: impl FnOnce(IpAddr) -> io::Result<IpAddr>) -> io::Result<IpAddr> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(answer) = last.filter(|answer| answer.to == to && now < answer.until) {
            return Ok(answer.local);
        }
        let local = ask(to)?;
        *last = Some(Answer { to, local, until: now + LASTS });
        Ok(local)
    }
}

/// Returns the local address that faces `to`. Asks the operating system, and sends nothing.
pub(crate) fn route_to(to: IpAddr) -> io::Result<IpAddr> {
    let to = SocketAddr::new(to, 9);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.connect(&to.into())?;
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn the_route_to_loopback_is_loopback() {
        assert!(route_to("127.0.0.1".parse().unwrap()).unwrap().is_loopback());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_not_asked_twice_in_a_row_but_again_after_a_moment() {
        let (routes, local) = (Routes::default(), "192.0.2.1".parse().unwrap());
        let asked = |to: &str| {
            let mut asked = false;
            let answer = routes.known_or(to.parse().unwrap(), |_| {
                asked = true;
                Ok(local)
            });
            assert_eq!(answer.unwrap(), local);
            asked
        };
        assert!(asked("192.0.2.7"));
        assert!(!asked("192.0.2.7"));
        assert!(asked("192.0.2.8"));
        assert!(asked("192.0.2.7"));
        advance(LASTS).await;
        assert!(asked("192.0.2.7"));
        assert!(!asked("192.0.2.7"));
    }

    #[test]
    fn an_error_is_not_remembered() {
        let (routes, to) = (Routes::default(), "192.0.2.7".parse().unwrap());
        assert!(routes.known_or(to, |_| Err(io::ErrorKind::NetworkUnreachable.into())).is_err());
        assert_eq!(routes.known_or(to, |_| Ok(to)).unwrap(), to);
    }
}
