use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::endpoint::Endpoint;
use crate::runtime::{runtime, within};

/// The protocol level of MQTT 5 in a CONNECT packet.
const LEVEL_5: u8 = 5;
/// CONNACK with return code 1, "unacceptable protocol version", as a 3.1.1 broker sends it.
const UNACCEPTABLE_VERSION: [u8; 4] = [0x20, 2, 0, 1];
/// The longest CONNECT packet that passes, in bytes.
const MAX_CONNECT: usize = 65_536;

/// Whom a [`Gate`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// Everybody.
    All,
    /// MQTT 3.1.1 only; MQTT 5 is answered as the specification of 3.1.1 wants it.
    Mqtt311,
    /// MQTT 3.1.1 only; a connection that speaks MQTT 5 is closed without an answer, as some brokers do.
    Mqtt311OrSilence,
}

/// Stands between a client and a broker: makes a 3.1.1 broker of one that also speaks MQTT 5, and can
/// cut every connection, as a network does.
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
    if passes != Passes::All {
        let (packet, level) = read_connect(&mut client).await?;
        if level >= LEVEL_5 {
            if passes == Passes::Mqtt311 {
                client.write_all(&UNACCEPTABLE_VERSION).await?;
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
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// Reads a whole CONNECT packet; returns it and its protocol level.
async fn read_connect(client: &mut TcpStream) -> io::Result<(Vec<u8>, u8)> {
    let mut packet = vec![client.read_u8().await?];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = client.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    // Two bytes of length, "MQTT", the level.
    let header = packet.len();
    let level = header + 6;
    if !(7..=MAX_CONNECT).contains(&length) {
        return Err(io::Error::other("not a CONNECT packet"));
    }
    packet.resize(header + length, 0);
    client.read_exact(&mut packet[header..]).await?;
    let level = packet[level];
    Ok((packet, level))
}
