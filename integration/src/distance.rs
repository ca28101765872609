use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::runtime::{runtime, within};

/// Maximum number of pieces under way at once, each of at most 16 KiB.
const UNDER_WAY: usize = 1024;

/// Link with a delay: everything that goes through it arrives later, and nothing is lost. The connection itself is not
/// delayed.
#[derive(Debug)]
pub struct Distance {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Distance {
    /// Starts a link to the port `sender` of this machine, with a round trip of `round_trip`.
    pub fn to(sender: u16, round_trip: Duration) -> Self {
        let listener =
            within("a long link", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let task = runtime().spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((device, _)) = listener.accept().await {
                relays.spawn(relay(device, sender, round_trip / 2));
            }
        });
        Self { address, task }
    }

    /// Returns the address that a sender advertises to be reached by this link.
    pub fn advertised(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(device: TcpStream, sender: u16, delay: Duration) -> io::Result<()> {
    let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, sender)).await?;
    device.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let ((from_device, to_device), (from_sender, to_sender)) = (device.into_split(), upstream.into_split());
    let (asked, answered) =
        tokio::join!(later(from_device, to_sender, delay), later(from_sender, to_device, delay));
    asked.and(answered)
}

async fn later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        loop {
            let mut piece = vec![0; 16 * 1024];
            let read = from.read(&mut piece).await?;
            piece.truncate(read);
            // The end of the stream is delayed like everything else.
            if pieces.send((Instant::now() + delay, piece)).await.is_err() || read == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = arriving.recv().await {
            sleep_until(at).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}
