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

/// The longest packet that is read, in bytes: far above what the protocol allows.
pub(super) const MAX_PACKET: usize = 256 * 1024;
/// How much is read at once, in bytes: a few messages. There are ten thousand of these buffers.
const READ: usize = 512;

/// A device's own connection to a broker, over MQTT 3.1.1 and with a clean session, as lean as ten thousand of them
/// have to be. Dropped, it closes as after a power cut.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    outgoing: BytesMut,
    messages: VecDeque<Bytes>,
    last_id: u16,
    /// Publications that the broker has not acknowledged.
    unsettled: usize,
}

impl Connection {
    /// Connects `from` there as the client `id`, and subscribes to `topic`; returns when the broker has said that it has
    /// both.
    pub(super) async fn open(at: &At, from: Interface, id: &str, topic: &str) -> io::Result<Self> {
        let stream = from.connect(at.address).await?;
        stream.set_nodelay(true)?;
        let (received, outgoing, messages) = (BytesMut::new(), BytesMut::new(), VecDeque::new());
        let mut connection = Self { stream, received, outgoing, messages, last_id: 0, unsettled: 0 };
        // Both at once, as MQTT allows: thousands of round trips less.
        connection.queue(&at.connect(id))?;
        let mut subscribe = Subscribe::new(topic, QoS::AtLeastOnce);
        subscribe.pkid = connection.next_id();
        connection.queue(&Packet::Subscribe(subscribe))?;
        match connection.packet().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
            other => return Err(io::Error::other(format!("the broker refuses {id}: {other:?}"))),
        }
        // Or the other answer would wait. What comes later is confirmed by what the device says to it.
        confirm(&connection.stream);
        while !matches!(connection.packet().await?, Packet::SubAck(_)) {}
        Ok(connection)
    }

    /// Publishes a message; it goes out with whatever waits next.
    pub(super) fn publish(&mut self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        (publish.pkid, publish.retain) = (self.next_id(), retain);
        self.unsettled += 1;
        self.queue(&Packet::Publish(publish))
    }

    /// Waits until the broker has acknowledged whatever was published.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        while self.unsettled > 0 {
            self.packet().await?;
        }
        Ok(())
    }

    /// Waits for the next message. Cancellation: nothing is lost.
    pub(super) async fn message(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            self.packet().await?;
        }
    }

    /// Says goodbye, so that the broker knows that it is meant.
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

    /// Cancellation: the rest goes out with the next call.
    async fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        Ok(())
    }

    /// Reads one packet, and does with it what has to be done in any case.
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

/// Confirms to the broker's system what was read, now rather than up to 40 ms later. Mosquitto leaves Nagle's algorithm
/// on, and would hold its next small packet until then: over a connection that devices share, another one's offer.
pub(super) fn confirm(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = stream.set_quickack(true);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stream;
}
