use std::io;

use bytes::BytesMut;
use rumqttd::protocol::{Error, Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::codec::{self, MessageId, Received};
use crate::limits;

/// A client's connection, as packets.
pub(crate) struct PacketStream<S> {
    socket: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    max_packet: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    pub(crate) fn new(socket: S, max_packet: usize) -> Self {
        Self { socket, incoming: BytesMut::new(), outgoing: BytesMut::new(), max_packet }
    }

    /// The next packet; `None` where the client closed the connection.
    ///
    /// Cancellation safe: what was read so far stays for the next call.
    pub(crate) async fn receive(&mut self) -> Result<Option<Received>, StreamError> {
        loop {
            if let Some(received) = codec::decode(&mut self.incoming, self.max_packet)? {
                return Ok(Some(received));
            }
            if self.socket.read_buf(&mut self.incoming).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The first byte of the next packet; `None` where the client closed the connection.
    ///
    /// Cancellation safe.
    pub(crate) async fn peek(&mut self) -> Result<Option<u8>, StreamError> {
        if self.incoming.is_empty() {
            self.socket.read_buf(&mut self.incoming).await?;
        }
        Ok(self.incoming.first().copied())
    }

    /// Adds a packet to those that the next flush writes.
    pub(crate) fn queue(&mut self, packet: Packet) -> Result<Option<MessageId>, StreamError> {
        Ok(codec::encode(packet, &mut self.outgoing)?)
    }

    /// Adds bytes to those that the next flush writes.
    pub(crate) fn queue_bytes(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Whether enough has been queued to be worth a write.
    pub(crate) fn is_full(&self) -> bool {
        self.outgoing.len() >= limits::BATCH
    }

    /// Writes what is queued. Not cancellation safe: the connection has to end where it was cancelled.
    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        if !self.outgoing.is_empty() {
            match timeout(limits::WRITE_TIMEOUT, self.socket.write_all(&self.outgoing)).await {
                Ok(written) => written?,
                Err(_) => return Err(StreamError::NotRead),
            }
            self.outgoing.clear();
        }
        Ok(())
    }

    /// Writes one packet.
    pub(crate) async fn send(&mut self, packet: Packet) -> Result<(), StreamError> {
        self.queue(packet)?;
        self.flush().await
    }

    /// Ends the connection after what was written. Closing it with unread bytes would take those back.
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
    #[error("the client does not follow MQTT 3.1.1")]
    Protocol(#[from] Error),
}
