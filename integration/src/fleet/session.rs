use std::io;

use bytes::Bytes;

use super::at::At;
use super::connection::Connection;
use super::interface::Interface;
use super::seat::Seat;

/// What a device has at the broker, from its boot or its waking to its end. Dropped, it ends as by a power cut.
#[derive(Debug)]
pub(super) enum Session {
    Own(Connection),
    Shared(Seat),
}

impl Session {
    /// Joins as the device `id`, whose offers come on `topic`; returns when the broker has said that it has both.
    pub(super) async fn open(at: &At, from: Interface, id: &str, topic: &str) -> io::Result<Self> {
        if at.hubs.is_empty() {
            return Connection::open(at, from, id, topic).await.map(Self::Own);
        }
        Ok(Self::Shared(Seat::take(&at.hubs, topic).await))
    }

    /// Publishes a message; it goes out with whatever waits next.
    pub(super) fn publish(&mut self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.publish(topic, payload, retain),
            Self::Shared(seat) => seat.publish(topic, payload, retain),
        }
    }

    /// Waits until the broker has acknowledged whatever was published.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.settle().await,
            Self::Shared(seat) => seat.settle().await,
        }
    }

    /// Waits for the next message. Cancellation: nothing is lost.
    pub(super) async fn message(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Own(connection) => connection.message().await,
            Self::Shared(seat) => seat.message().await,
        }
    }

    /// Says goodbye, so that the broker knows that it is meant; a shared connection stays.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.close().await,
            Self::Shared(_) => Ok(()),
        }
    }
}
