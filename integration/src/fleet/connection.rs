use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};
use rumqttc::QoS;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, PubAck, Publish, Subscribe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::at::At;
use super::interface::Interface;

/// Longest packet that is read, in bytes: far more than the protocol allows.
pub(super) const MAX_PACKET: usize = 256 * 1024;
/// Number of bytes that are read at once: a few messages. There are ten thousand of these buffers.
const READ: usize = 512;

/// Connection of one device to a broker, over MQTT 3.1.1 with a clean session. It is lean, as there are ten thousand of
/// them. Dropping it closes the connection as a power cut does.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    outgoing: BytesMut,
    messages: VecDeque<Bytes>,
    last_id: u16,
    /// Number of publications that the broker has not acknowledged.
    unsettled: usize,
}

impl Connection {
    /// Connects `from` to the broker as the client `id`, and subscribes to `topic`. Returns when the broker has
    /// acknowledged both.
    pub(super) async fn open(at: &At, from: Interface, id: &str, topic: &str) -> io::Result<Self> {
        let stream = from.connect(at.address).await?;
        stream.set_nodelay(true)?;
        let (received, outgoing, messages) = (BytesMut::new(), BytesMut::new(), VecDeque::new());
        let mut connection = Self { stream, received, outgoing, messages, last_id: 0, unsettled: 0 };
        // MQTT allows sending both packets at once, which saves thousands of round trips.
        connection.queue(&at.connect(id))?;
        let mut subscribe = Subscribe::new(topic, QoS::AtLeastOnce);
        subscribe.pkid = connection.next_id();
        connection.queue(&Packet::Subscribe(subscribe))?;
        match connection.packet().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
            other => return Err(io::Error::other(format!("the broker refuses {id}: {other:?}"))),
        }
        // Otherwise the second answer would wait. Later packets are acknowledged by the device's answers to them.
        confirm(&connection.stream);
        while !matches!(connection.packet().await?, Packet::SubAck(_)) {}
        Ok(connection)
    }

    /// Publishes a message. It goes out with whatever waits next.
    pub(super) fn publish(&mut self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        (publish.pkid, publish.retain) = (self.next_id(), retain);
        self.unsettled += 1;
        self.queue(&Packet::Publish(publish))
    }

    /// Waits until the broker has acknowledged all publications.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        while self.unsettled > 0 {
            self.packet().await?;
        }
        Ok(())
    }

    /// Waits for the next message. Cancel safe: nothing is lost.
    pub(super) async fn message(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            self.packet().await?;
        }
    }

    /// Sends a DISCONNECT, so that the broker knows that the end is intended.
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.queue(&Packet::Disconnect)?;
        self.flush().await
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn queue(&mut self, packet: &Packet) -> io::Result<()> {
        packet.write(&mut self.outgoing, MAX_PACKET).map(drop).map_err(io::Error::other)
    }

    /// Writes all outgoing bytes. Cancel safe: the rest goes out with the next call.
    async fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        Ok(())
    }

    /// Reads one packet, and handles what is the same for all callers.
    async fn packet(&mut self) -> io::Result<Packet> {
        loop {
            self.flush().await?;
            match Packet::read(&mut self.received, MAX_PACKET) {
                Ok(Packet::Publish(publish)) => {
                    self.messages.push_back(publish.payload.clone());
                    if publish.pkid > 0 {
                        self.queue(&Packet::PubAck(PubAck::new(publish.pkid)))?;
                    }
                    return Ok(Packet::Publish(publish));
                }
                Ok(packet) => {
                    if matches!(packet, Packet::PubAck(_)) {
                        self.unsettled = self.unsettled.saturating_sub(1);
                    }
                    return Ok(packet);
                }
                Err(Error::InsufficientBytes(_)) => {
                    self.received.reserve(READ);
                    if self.stream.read_buf(&mut self.received).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Acknowledges to the broker's system what was read, at once rather than up to 40 ms later. Mosquitto leaves Nagle's
/// algorithm on, and would hold its next small packet until then. On a shared connection that may be another device's
/// offer.
pub(super) fn confirm(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = stream.set_quickack(true);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stream;
}
