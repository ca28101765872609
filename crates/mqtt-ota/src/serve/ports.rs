use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};

use super::client::SEND_BUFFER;
use super::shared::SharedPort;
use crate::address::Listen;

/// Ports that a sender may listen on.
///
/// A plain offer needs a port of its own, because its client does not say what it came for. All extended offers at one
/// address share a port.
pub(crate) struct Ports {
    listen: Listen,
    /// Permits, one for each port.
    free: Arc<Semaphore>,
    /// Number of plain offers that wait for a port.
    waiting: AtomicUsize,
    /// Shared ports, by the address that they are bound to.
    shared: Mutex<HashMap<IpAddr, Weak<SharedPort>>>,
    /// Notified when another shared port is opened.
    opened: Notify,
}

impl Ports {
    /// Creates the ports of `listen`. With `is_only_one`, only the first free one is used, by one offer or by all
    /// extended offers at a time, because all offers name the same port.
    pub(crate) fn new(listen: Listen, is_only_one: bool) -> Self {
        let count = match listen.ports() {
            _ if is_only_one => 1,
            _ if listen.any_port() => Semaphore::MAX_PERMITS,
            ports => ports.len(),
        };
        Self {
            listen,
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
            shared: Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// Acquires the right to a port for one plain offer. Waits until a port is free. Cancel safe.
    pub(crate) async fn own(&self) -> io::Result<OwnedSemaphorePermit> {
        let _waiting = Waiting::at(&self.waiting);
        self.permit().await
    }

    /// Returns the port of all extended offers, for clients that connect to `advertised` if that is an address.
    ///
    /// Waits until a port is free, or another caller has opened the shared port. Cancel safe.
    ///
    /// # Errors
    /// Returns an error if no port can be bound.
    pub(crate) async fn shared(&self, advertised: Option<IpAddr>) -> io::Result<Arc<SharedPort>> {
        let address = address(&self.listen, advertised);
        loop {
            let mut opened = pin!(self.opened.notified());
            opened.as_mut().enable();
            // A shared port that more and more offers join would never be free for a plain one.
            if self.waiting.load(Ordering::Relaxed) == 0 {
                let known = self.shared.lock().await.get(&address).and_then(Weak::upgrade);
                if let Some(port) = known {
                    return Ok(port);
                }
            }
            let permit = tokio::select! {
                permit = self.permit() => permit?,
                () = opened => continue,
            };
            let mut shared = self.shared.lock().await;
            if let Some(port) = shared.get(&address).and_then(Weak::upgrade) {
                return Ok(port);
            }
            let port = Arc::new(SharedPort::open(bind(&self.listen, advertised).await?, permit)?);
            shared.insert(address, Arc::downgrade(&port));
            self.opened.notify_waiters();
            return Ok(port);
        }
    }

    async fn permit(&self) -> io::Result<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)
    }
}

/// Entry in the number of waiting offers. Removed when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn at(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds the first free port of `listen`, for clients that connect to `advertised` if that is an address.
///
/// # Errors
/// Returns the error of the last port if none can be bound.
pub(super) async fn bind(listen: &Listen, advertised: Option<IpAddr>) -> io::Result<TcpListener> {
    let address = address(listen, advertised);
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for port in listen.ports() {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => {
                // The listener's connections inherit both options.
                let socket = SockRef::from(&listener);
                let _ = socket.set_send_buffer_size(SEND_BUFFER);
                let _ = socket.set_tcp_nodelay(true);
                return Ok(listener);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn address(listen: &Listen, advertised: Option<IpAddr>) -> IpAddr {
    listen.address().unwrap_or(match advertised {
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);

    fn one() -> Ports {
        Ports::new("127.0.0.1:0".parse().unwrap(), true)
    }

    #[tokio::test]
    async fn extended_offers_share_the_only_port_and_a_plain_one_has_it_alone() {
        let ports = one();
        let (first, second) = (ports.shared(None).await.unwrap(), ports.shared(None).await.unwrap());
        assert_eq!(first.local(), second.local());
        assert!(timeout(SOON, ports.own()).await.is_err());
        drop((first, second));
        let own = ports.own().await.unwrap();
        assert!(timeout(SOON, ports.shared(None)).await.is_err());
        drop(own);
        ports.shared(None).await.unwrap();
    }

    #[tokio::test]
    async fn a_plain_offer_that_waits_comes_before_extended_ones_that_come_later_and_these_share_again() {
        let ports = one();
        let first = ports.shared(None).await.unwrap();
        let mut plain = pin!(ports.own());
        assert!(timeout(SOON, &mut plain).await.is_err());
        let (mut one, mut two) = (pin!(ports.shared(None)), pin!(ports.shared(None)));
        assert!(timeout(SOON, &mut one).await.is_err());
        assert!(timeout(SOON, &mut two).await.is_err());
        drop(first);
        let own = plain.await.unwrap();
        assert!(timeout(SOON, &mut one).await.is_err());
        drop(own);
        let (one, two) = tokio::join!(one, two);
        assert_eq!(one.unwrap().local(), two.unwrap().local());
    }
}
