use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::runtime::{runtime, within};

/// Number of pieces that a bad link passes on, of which one is delayed on average.
const DELAYED: u32 = 16;
/// Longest delay, in milliseconds.
const DELAY: u64 = 20;
/// Number of connections that break, of which one falls silent on average: nothing more comes.
const STALLED: u32 = 24;

/// Bad link between a device and a sender. A seed decides what the link does to the bytes that pass.
#[derive(Debug)]
pub struct Chaos {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Way in which a connection breaks.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The device's side gets a reset.
    Reset,
    /// The device's side gets an end of the stream, as if the sender had closed the connection.
    Close,
    /// The device's side gets nothing, for ever.
    Stall,
}

impl End {
    fn any(rng: &mut Rng) -> Self {
        if rng.u32(0..STALLED) == 0 {
            Self::Stall
        } else if rng.bool() {
            Self::Reset
        } else {
            Self::Close
        }
    }
}

impl Chaos {
    /// Starts a link to the port `sender` of this machine that splits what passes, and delays some of it. Each of its
    /// first `breaks` connections is reset, closed or left silent after at most `most` bytes from the sender.
    pub fn to(sender: u16, seed: u64, breaks: usize, most: usize) -> Self {
        let mut all = Rng::with_seed(seed);
        Self::with(move |device, number| {
            let mut rng = all.fork();
            let end = (number < breaks).then(|| (rng.usize(0..=most), End::any(&mut rng)));
            async move { relay(device, sender, &mut rng, end).await }
        })
    }

    /// Starts a link to the port `sender` of this machine. The first connection that has brought `after` bytes from the
    /// sender brings no more, and stays open.
    pub fn that_stalls(sender: u16, after: usize) -> Self {
        let has_stalled = Arc::<AtomicBool>::default();
        Self::with(move |device, _| {
            let has_stalled = Arc::clone(&has_stalled);
            async move {
                let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, sender)).await?;
                let mut device = device;
                if has_stalled.load(Ordering::Relaxed) {
                    return tokio::io::copy_bidirectional(&mut device, &mut upstream).await.map(drop);
                }
                let (mut answers, mut asks) = upstream.into_split();
                let (mut from_device, mut to_device) = device.into_split();
                let asking = async { tokio::io::copy(&mut from_device, &mut asks).await.map(drop) };
                let answering = async {
                    tokio::io::copy(&mut (&mut answers).take(after as u64), &mut to_device).await?;
                    has_stalled.store(true, Ordering::Relaxed);
                    std::future::pending().await
                };
                tokio::select! { ended = asking => ended, ended = answering => ended }
            }
        })
    }

    fn with<F>(mut relay: impl FnMut(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener =
            within("a bad link", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let task = runtime().spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((device, _)) = listener.accept().await {
                relays.spawn(relay(device, counted.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Self { address, connections, task }
    }

    /// Returns the address that a sender advertises to be reached by this link.
    pub fn advertised(&self) -> String {
        self.address.to_string()
    }

    /// Returns the number of connections that devices have made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Relays until one side closes, or until the connection is to break.
async fn relay(device: TcpStream, sender: u16, rng: &mut Rng, end: Option<(usize, End)>) -> io::Result<()> {
    let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, sender)).await?;
    device.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let ((from_device, to_device), (from_sender, to_sender)) = (device.into_split(), upstream.into_split());
    let (limit, end) = end.unzip();
    let mut asking = rng.fork();
    let broke = tokio::select! {
        broke = pass(from_sender, &to_device, 4096, rng, limit.unwrap_or(usize::MAX)) => broke?,
        closed = pass(from_device, &to_sender, 24, &mut asking, usize::MAX) => closed?,
    };
    match end.filter(|_| broke) {
        Some(End::Reset) => socket2::SockRef::from(to_device.as_ref()).set_linger(Some(Duration::ZERO)),
        Some(End::Stall) => std::future::pending().await,
        Some(End::Close) | None => Ok(()),
    }
}

/// Passes bytes on, in pieces of at most `most` bytes. Returns true once `limit` bytes have passed, and false if the
/// side that they come from has closed.
async fn pass(
    mut from: OwnedReadHalf,
    to: &OwnedWriteHalf,
    most: usize,
    rng: &mut Rng,
    limit: usize,
) -> io::Result<bool> {
    let (mut piece, mut left) = (vec![0; most], limit);
    while left > 0 {
        let len = rng.usize(1..=most).min(left);
        let read = from.read(&mut piece[..len]).await?;
        if read == 0 {
            return Ok(false);
        }
        if rng.u32(0..DELAYED) == 0 {
            sleep(Duration::from_millis(rng.u64(0..=DELAY))).await;
        }
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        left -= read;
    }
    Ok(true)
}
