use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
                relays.spawn(relay(device, sender, limit));
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

async fn relay(mut device: TcpStream, sender: u16, limit: Option<usize>) -> io::Result<()> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, sender)).await?;
    device.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let Some(mut left) = limit else {
        return tokio::io::copy_bidirectional(&mut device, &mut upstream).await.map(drop);
    };
    let (mut asked, mut sent) = ([0; 512], [0; 4096]);
    while left > 0 {
        let most = left.min(sent.len());
        tokio::select! {
            read = device.read(&mut asked) => match read? {
                0 => return Ok(()),
                read => upstream.write_all(&asked[..read]).await?,
            },
            read = upstream.read(&mut sent[..most]) => match read? {
                0 => return Ok(()),
                read => {
                    device.write_all(&sent[..read]).await?;
                    left -= read;
                }
            },
        }
    }
    socket2::SockRef::from(&device).set_linger(Some(std::time::Duration::ZERO))
}
