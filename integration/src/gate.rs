use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::endpoint::Endpoint;
use crate::runtime::{runtime, within};

/// Protocol level of MQTT 5 in a CONNECT packet.
const LEVEL_5: u8 = 5;
/// CONNACK with return code 1, "unacceptable protocol version", as a 3.1.1 broker sends it.
const UNACCEPTABLE_VERSION: [u8; 4] = [0x20, 2, 0, 1];
/// Longest packet that is read as a whole, in bytes.
const MAX_PACKET: usize = 65_536;

/// Connections that a [`Gate`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// All connections.
    All,
    /// MQTT 3.1.1 only. MQTT 5 is answered as the specification of 3.1.1 requires.
    Mqtt311,
    /// MQTT 3.1.1 only. A connection that speaks MQTT 5 is closed without an answer, as some brokers do.
    Mqtt311OrSilence,
    /// MQTT 3.1.1 only. A connection that speaks MQTT 5 is held and never answered, as amqtt does.
    Mqtt311OrNoAnswer,
    /// All connections, without the first retained announcement of each device. Mosquitto drops announcements in this
    /// way if a network is too slow for all of them at once.
    AllButAnnouncements,
}

/// Relay between a client and a broker. It can make a broker that speaks MQTT 5 a 3.1.1 broker, and can cut every
/// connection, as a network does.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    broker: SocketAddr,
    login: Option<(String, String)>,
    passes: Passes,
    task: Option<JoinHandle<()>>,
}

impl Gate {
    /// Opens a gate, on a port of its own, to `broker`.
    pub fn to(broker: &impl Endpoint, passes: Passes) -> Self {
        let login = broker.login().map(|(user, password)| (user.to_owned(), password.to_owned()));
        let mut gate = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            broker: broker.address(),
            login,
            passes,
            task: None,
        };
        gate.open();
        gate
    }

    /// Closes every connection, and refuses new ones.
    pub fn cut(&mut self) {
        let task = self.task.take().expect("an open gate");
        task.abort();
        let _ = within("the end of a gate", task);
    }

    /// Takes connections again, on the same port, after [`Self::cut`].
    pub fn open(&mut self) {
        assert!(self.task.is_none(), "the gate is open");
        let listener = within("a gate", TcpListener::bind(self.address)).expect("the gate's port is free");
        self.address = listener.local_addr().expect("a bound listener has an address");
        self.task = Some(runtime().spawn(serve(listener, self.broker, self.passes)));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Endpoint for Gate {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

async fn serve(listener: TcpListener, broker: SocketAddr, passes: Passes) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(relay(client, broker, passes));
    }
}

async fn relay(mut client: TcpStream, broker: SocketAddr, passes: Passes) -> io::Result<()> {
    let mut first = Vec::new();
    if matches!(passes, Passes::Mqtt311 | Passes::Mqtt311OrSilence | Passes::Mqtt311OrNoAnswer) {
        let (packet, level) = read_connect(&mut client).await?;
        if level >= LEVEL_5 {
            match passes {
                Passes::Mqtt311 => client.write_all(&UNACCEPTABLE_VERSION).await?,
                // The client is held until it gives up.
                Passes::Mqtt311OrNoAnswer => drop(client.read_u8().await?),
                _ => {}
            }
            return client.shutdown().await;
        }
        first = packet;
    }
    let mut upstream = TcpStream::connect(broker).await?;
    // Without this the broker's short answers wait for the client's delayed acknowledgements.
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    upstream.write_all(&first).await?;
    if passes != Passes::AllButAnnouncements {
        return copy_bidirectional(&mut client, &mut upstream).await.map(drop);
    }
    let ((mut from_client, to_client), (from_broker, mut to_broker)) =
        (client.into_split(), upstream.into_split());
    tokio::select! {
        said = copy(&mut from_client, &mut to_broker) => said.map(drop),
        answered = forget(from_broker, to_client) => answered,
    }
}

/// Passes on what the broker sends, except the first retained announcement of each device.
async fn forget(broker: OwnedReadHalf, mut client: OwnedWriteHalf) -> io::Result<()> {
    // Type PUBLISH, with the retain flag.
    const KEPT: u8 = 0x31;
    let (mut broker, mut forgotten) = (BufReader::new(broker), BTreeSet::new());
    loop {
        let (packet, header) = read_packet(&mut broker).await?;
        if packet[0] & 0xf1 == KEPT {
            let topic = &packet[header + 2..];
            let length = usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
            let topic = topic[..length].to_vec();
            if topic.ends_with(b"/OTA/device") && forgotten.insert(topic) {
                continue;
            }
        }
        client.write_all(&packet).await?;
    }
}

/// Reads a whole packet. Returns the packet, and the length of its header.
async fn read_packet(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<(Vec<u8>, usize)> {
    let mut packet = vec![stream.read_u8().await?];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let header = packet.len();
    if length > MAX_PACKET {
        return Err(io::Error::other("too long a packet"));
    }
    packet.resize(header + length, 0);
    stream.read_exact(&mut packet[header..]).await?;
    Ok((packet, header))
}

/// Reads a whole CONNECT packet. Returns the packet, and its protocol level.
async fn read_connect(client: &mut TcpStream) -> io::Result<(Vec<u8>, u8)> {
    let (packet, header) = read_packet(client).await?;
    // The level follows two bytes of length and "MQTT".
    let level = packet.get(header + 6).copied();
    level.map(|level| (packet, level)).ok_or_else(|| io::Error::other("not a CONNECT packet"))
}
