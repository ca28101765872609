use std::io;

use bytes::{Buf, BytesMut};
use rumqttc::v5::mqttbytes::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits;
use crate::packet::{self, Malformed, Packet, Version};

/// Connection of a client, as a stream of packets.
pub(crate) struct PacketStream<S> {
    socket: S,
    version: Version,
    incoming: BytesMut,
    outgoing: BytesMut,
    max_packet: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    pub(crate) fn new(socket: S, max_packet: usize) -> Self {
        let version = Version::V311;
        Self { socket, version, incoming: BytesMut::new(), outgoing: BytesMut::new(), max_packet }
    }

    /// Returns the version of MQTT that the client's first packet asked for.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Waits for the client's first packet and takes the version from it. Returns `None` if the client closed the
    /// connection.
    ///
    /// Cancel safe.
    pub(crate) async fn greet(&mut self) -> Result<Option<Version>, StreamError> {
        loop {
            // Bytes that are not MQTT often look like the beginning of a long packet, whose rest would never come.
            match packet::version(&self.incoming, self.max_packet) {
                Ok(Some(version)) => {
                    self.version = version;
                    return Ok(Some(version));
                }
                Ok(None) => {}
                Err(error) => {
                    if matches!(error, Malformed::Version(level) if level > 5) {
                        self.version = Version::V5;
                    }
                    return Err(error.into());
                }
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns the next packet, or `None` if the client closed the connection.
    ///
    /// Cancel safe: bytes that were read stay for the next call.
    pub(crate) async fn receive(&mut self) -> Result<Option<Packet>, StreamError> {
        loop {
            if let Some(packet) = self.received()? {
                return Ok(Some(packet));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        if self.incoming.capacity() - self.incoming.len() < limits::READ / 4 {
            self.incoming.reserve(limits::READ);
        }
        self.socket.read_buf(&mut self.incoming).await
    }

    /// Returns the next packet if it has already been read.
    pub(crate) fn received(&mut self) -> Result<Option<Packet>, StreamError> {
        Ok(packet::decode(&mut self.incoming, self.version, self.max_packet)?)
    }

    /// Adds a packet to those that the next flush writes.
    pub(crate) fn queue(&mut self, packet: Packet) -> Result<(), StreamError> {
        Ok(packet::encode(packet, self.version, &mut self.outgoing)?)
    }

    /// Returns true if enough is queued to be worth a write.
    pub(crate) fn is_full(&self) -> bool {
        self.outgoing.len() >= limits::BATCH
    }

    /// Writes the queued packets.
    ///
    /// Cancel safe: bytes that were not written stay for the next call.
    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        let write = async {
            while !self.outgoing.is_empty() {
                match self.socket.write(&self.outgoing).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => self.outgoing.advance(written),
                }
            }
            io::Result::Ok(())
        };
        timeout(limits::WRITE_TIMEOUT, write).await.map_err(|_| StreamError::NotRead)??;
        // A client that is mostly silent does not keep the memory of a burst.
        self.outgoing = BytesMut::new();
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
        Ok(())
    }

    /// Writes one packet.
    pub(crate) async fn send(&mut self, packet: Packet) -> Result<(), StreamError> {
        self.queue(packet)?;
        self.flush().await
    }

    /// Ends the connection after the written packets. Closing it with unread bytes could lose those packets.
    pub(crate) async fn close(&mut self) {
        let end = async {
            self.socket.shutdown().await?;
            while self.socket.read_buf(&mut self.incoming).await? > 0 {
                self.incoming.clear();
            }
            io::Result::Ok(())
        };
        let _ = timeout(limits::CLOSE_TIMEOUT, end).await;
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the client does not read what it is sent")]
    NotRead,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a packet cannot be written")]
    Unwritable(#[from] Error),
}
