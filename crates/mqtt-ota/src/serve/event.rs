use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::drop_cause::DropCause;
use crate::payload::PayloadError;
use crate::wire::Ask;

/// Progress reports that wait to be read.
const BACKLOG: usize = 64;

/// Event of a connection to the port of a plain offer.
#[derive(Debug)]
pub(crate) enum ServeEvent {
    /// A client is served from now on.
    Connected {
        peer: SocketAddr,
        /// Whether it may be the device: others come from another address than the announced one.
        is_device: bool,
    },
    /// A client has taken so many bytes.
    Progress {
        peer: SocketAddr,
        sent: u64,
    },
    /// Everything was handed to the system for a client.
    Written {
        peer: SocketAddr,
        /// When: the device may be heard of before this is read.
        at: Instant,
    },
    Dropped {
        peer: SocketAddr,
        sent: u64,
        cause: DropCause,
    },
    /// A client has gone that was sent nothing, as it had to wait.
    TurnedAway {
        peer: SocketAddr,
        cause: DropCause,
    },
    /// A client took the whole file. The last event, unless the device reports.
    Delivered {
        peer: SocketAddr,
    },
    /// The last event: the file is not what it was.
    Spoilt(PayloadError),
}

impl ServeEvent {
    /// Makes a channel for the events of one offer.
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
    /// A client that knows the offer asks, or says what it would ask for.
    Asked {
        peer: SocketAddr,
        ask: Ask,
    },
    /// It has taken bytes. Some of these may be left out, but not an item's last.
    Progress {
        peer: SocketAddr,
        item: u32,
        offset: u64,
    },
    /// It has taken all that it asked for; the last item of it.
    Sent {
        peer: SocketAddr,
        last: u32,
    },
    Dropped {
        peer: SocketAddr,
        /// Whether it knew the offer.
        known: bool,
        cause: DropCause,
    },
    /// The last event: a file is not what it was.
    Spoilt(PayloadError),
}

impl RangeEvent {
    /// Makes a channel for the events of one offer.
    pub(crate) fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(BACKLOG)
    }
}
