use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::endpoint::Endpoint;
use crate::runtime::GUARD;

/// Broker that a test plays, packet by packet. It refuses what no real broker can be made to refuse.
///
/// Each connection is played by the same function, in a thread of its own, until the function returns or the client
/// goes.
#[derive(Debug)]
pub struct PlayedBroker {
    address: SocketAddr,
    connected: Arc<Mutex<Vec<Instant>>>,
}

impl PlayedBroker {
    /// Listens on any port of the loopback address.
    pub fn start(play: impl Fn(&mut PlayedClient) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connected = Arc::<Mutex<Vec<Instant>>>::default();
        let (times, play) = (Arc::clone(&connected), Arc::new(play));
        // The thread ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                times.lock().expect("no player panics with this").push(Instant::now());
                let play = Arc::clone(&play);
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(GUARD));
                    // A client that has gone ends the play.
                    let _ = PlayedClient::read_connect(stream).and_then(|mut client| play(&mut client));
                });
            }
        });
        Self { address, connected }
    }

    /// Accepts clients with this CONNACK, and answers their subscriptions and publications with these reason codes.
    pub fn answering(connack: Vec<u8>, suback: u8, puback: u8) -> Self {
        Self::start(move |client| {
            client.say(&connack)?;
            client.serve(suback, puback)
        })
    }

    /// Returns the times at which clients have connected.
    pub fn connected(&self) -> Vec<Instant> {
        self.connected.lock().expect("no player panics with this").clone()
    }
}

impl Endpoint for PlayedBroker {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Client of a [`PlayedBroker`].
#[derive(Debug)]
pub struct PlayedClient {
    stream: TcpStream,
    /// Version of MQTT in the CONNECT packet: 4 is MQTT 3.1.1.
    pub level: u8,
}

impl PlayedClient {
    fn read_connect(stream: TcpStream) -> io::Result<Self> {
        let mut client = Self { stream, level: 0 };
        let (_, connect) = client.read()?;
        // The level follows two bytes of length and "MQTT".
        client.level = connect.get(6).copied().unwrap_or_default();
        Ok(client)
    }

    /// Accepts the client with a CONNACK. To a client of MQTT 5 it carries these properties.
    pub fn accept(&mut self, properties: &[u8]) -> io::Result<()> {
        let connack = if self.level == 5 { connack(0, properties) } else { vec![0x20, 2, 0, 0] };
        self.say(&connack)
    }

    /// Sends these bytes to the client.
    pub fn say(&mut self, packet: &[u8]) -> io::Result<()> {
        self.stream.write_all(packet)
    }

    /// Reads the client's next packet: the first byte, and what follows the length.
    pub fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        let kind = byte[0];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest)?;
        Ok((kind, rest))
    }

    /// Answers subscriptions and messages with these reason codes, and pings, until the client goes.
    pub fn serve(&mut self, suback: u8, puback: u8) -> io::Result<()> {
        loop {
            self.serve_one(suback, puback)?;
        }
    }

    /// Answers the client's next packet.
    pub fn serve_one(&mut self, suback: u8, puback: u8) -> io::Result<()> {
        let (kind, packet) = self.read()?;
        let is_5 = self.level == 5;
        match kind & 0xf0 {
            0x80 => {
                let id = &packet[..2];
                let body = if is_5 { vec![id[0], id[1], 0, suback] } else { vec![id[0], id[1], suback] };
                self.packet(0x90, &body)
            }
            0xa0 => {
                let id = &packet[..2];
                let body = if is_5 { vec![id[0], id[1], 0, 0] } else { vec![id[0], id[1]] };
                self.packet(0xb0, &body)
            }
            0x30 if kind & 0x06 != 0 => {
                let topic = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
                let id = &packet[2 + topic..4 + topic];
                let body = if is_5 { vec![id[0], id[1], puback] } else { vec![id[0], id[1]] };
                self.packet(0x40, &body)
            }
            0xc0 => self.packet(0xd0, &[]),
            _ => Ok(()),
        }
    }

    /// Sends a packet of fewer than 128 bytes.
    pub fn packet(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.say(&packet(kind, body))
    }
}

/// Returns a CONNACK of MQTT 5 with this reason code, and with these properties in their wire format.
pub fn connack(code: u8, properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).expect("few properties");
    packet(0x20, &[&[0, code, length], properties].concat())
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("a short packet");
    assert!(length < 0x80, "a short packet");
    [&[kind, length], body].concat()
}
