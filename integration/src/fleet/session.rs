use std::io;

use bytes::Bytes;

use super::at::At;
use super::connection::Connection;
use super::interface::Interface;
use super::seat::Seat;

/// Session of a device at the broker, from its boot or its waking to its end. Dropping it ends it as a power cut does.
#[derive(Debug)]
pub(super) enum Session {
    Own(Connection),
    Shared(Seat),
}

impl Session {
    /// Joins as the device `id`, whose offers come on `topic`. Returns when the broker has acknowledged both.
    pub(super) async fn open(at: &At, from: Interface, id: &str, topic: &str) -> io::Result<Self> {
        if at.hubs.is_empty() {
            return Connection::open(at, from, id, topic).await.map(Self::Own);
        }
        Ok(Self::Shared(Seat::take(&at.hubs, topic).await))
    }

    /// Publishes a message. It goes out with whatever waits next.
    pub(super) fn publish(&mut self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.publish(topic, payload, retain),
            Self::Shared(seat) => seat.publish(topic, payload, retain),
        }
    }

    /// Waits until the broker has acknowledged all publications.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.settle().await,
            Self::Shared(seat) => seat.settle().await,
        }
    }

    /// Waits for the next message. Cancel safe: nothing is lost.
    pub(super) async fn message(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Own(connection) => connection.message().await,
            Self::Shared(seat) => seat.message().await,
        }
    }

    /// Ends the session, and tells the broker that the end is intended. A shared connection stays.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::Own(connection) => connection.close().await,
            Self::Shared(_) => Ok(()),
        }
    }
}
