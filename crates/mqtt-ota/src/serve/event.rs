use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::drop_cause::DropCause;
use crate::payload::PayloadError;
use crate::wire::Ask;

/// Largest number of events that wait to be read.
const BACKLOG: usize = 64;

/// Event of a connection to the port of a plain offer.
#[derive(Debug)]
pub(crate) enum ServeEvent {
    /// A client is being served from now on.
    Connected {
        peer: SocketAddr,
        /// True if the client may be the device.
        is_device: bool,
    },
    /// A client has taken `sent` bytes so far.
    Progress {
        peer: SocketAddr,
        sent: u64,
    },
    /// Everything was handed to the system for a client.
    Written {
        peer: SocketAddr,
        /// Time of that. The device may be heard of before the event is read.
        at: Instant,
    },
    Dropped {
        peer: SocketAddr,
        sent: u64,
        cause: DropCause,
    },
    /// A client that had to wait has gone. Nothing was sent to it.
    TurnedAway {
        peer: SocketAddr,
        cause: DropCause,
    },
    /// A client took the whole file. The last event, unless the device reports.
    Delivered {
        peer: SocketAddr,
    },
    /// The file cannot be read or has changed. The last event.
    Spoilt(PayloadError),
}

impl ServeEvent {
    /// Creates a channel for the events of one offer.
    pub(crate) fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(BACKLOG)
    }
}

/// Event of a connection to the port of extended offers.
#[derive(Debug)]
pub(crate) enum RangeEvent {
    Connected {
        peer: SocketAddr,
    },
    /// A client that knows the offer asks for something, or says what it would ask for.
    Asked {
        peer: SocketAddr,
        ask: Ask,
    },
    /// A client has taken bytes of an item. Some of these events may be left out, but not the last of an item.
    Progress {
        peer: SocketAddr,
        item: u32,
        offset: u64,
    },
    /// A client has taken everything that it asked for. `last` is the last item of it.
    Sent {
        peer: SocketAddr,
        last: u32,
    },
    Dropped {
        peer: SocketAddr,
        /// True if the client knew the offer.
        known: bool,
        cause: DropCause,
    },
    /// A file cannot be read or has changed. The last event.
    Spoilt(PayloadError),
}

impl RangeEvent {
    /// Creates a channel for the events of one offer.
    pub(crate) fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(BACKLOG)
    }
}
