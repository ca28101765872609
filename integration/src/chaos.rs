use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime::{runtime, within};

/// A bad link between a device and a sender: it breaks at random offsets, as a seed has it.
#[derive(Debug)]
pub struct Chaos {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Chaos {
    /// A link to the port `sender` of this machine. Each of its first `breaks` connections is reset after at most
    /// `most` bytes from the sender.
    pub fn to(sender: u16, seed: u64, breaks: usize, most: usize) -> Self {
        let listener =
            within("a bad link", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let task = runtime().spawn(async move {
            let mut relays = JoinSet::new();
            let mut state = seed;
            while let Ok((device, _)) = listener.accept().await {
                let limit =
                    (counted.fetch_add(1, Ordering::Relaxed) < breaks).then(|| next(&mut state) % (most + 1));
                relays.spawn(async move {
                    match relay(device, sender, limit).await? {
                        Some(device) => socket2::SockRef::from(&device).set_linger(Some(Duration::ZERO)),
                        None => Ok(()),
                    }
                });
            }
        });
        Self { address, connections, task }
    }

    /// A link to the port `sender` of this machine. The first connection that has brought `after` bytes from the
    /// sender brings no more, and stays open.
    pub fn that_stalls(sender: u16, after: usize) -> Self {
        let listener =
            within("a bad link", TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Arc::<AtomicUsize>::default();
        let (counted, stalled) = (Arc::clone(&connections), Arc::<AtomicBool>::default());
        let task = runtime().spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((device, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let limit = (!stalled.load(Ordering::Relaxed)).then_some(after);
                let stalled = Arc::clone(&stalled);
                relays.spawn(async move {
                    let device = relay(device, sender, limit).await?;
                    if device.is_some() {
                        stalled.store(true, Ordering::Relaxed);
                        std::future::pending::<()>().await;
                    }
                    io::Result::Ok(())
                });
            }
        });
        Self { address, connections, task }
    }

    /// What a sender advertises to be reached by it.
    pub fn advertised(&self) -> String {
        self.address.to_string()
    }

    /// How often a device has connected.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize >> 1
}

/// Relays until one side closes, or the limit is reached: then the connection to the device is left.
async fn relay(mut device: TcpStream, sender: u16, limit: Option<usize>) -> io::Result<Option<TcpStream>> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, sender)).await?;
    device.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let Some(mut left) = limit else {
        return tokio::io::copy_bidirectional(&mut device, &mut upstream).await.map(|_| None);
    };
    let (mut asked, mut sent) = ([0; 512], [0; 4096]);
    while left > 0 {
        let most = left.min(sent.len());
        tokio::select! {
            read = device.read(&mut asked) => match read? {
                0 => return Ok(None),
                read => upstream.write_all(&asked[..read]).await?,
            },
            read = upstream.read(&mut sent[..most]) => match read? {
                0 => return Ok(None),
                read => {
                    device.write_all(&sent[..read]).await?;
                    left -= read;
                }
            },
        }
    }
    Ok(Some(device))
}
