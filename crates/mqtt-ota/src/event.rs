use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Advertised;
use crate::check::Finding;
use crate::outcome::Outcome;
use crate::serve::DropCause;
use crate::wire::{Announcement, AnyOffer, Crash, DevicePath};

/// Progress event while a file is sent. Events come in the order in which they happen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The device has announced itself, and therefore reports its progress.
    Announced(Announcement),
    /// The check of the files has a warning for this device.
    Noticed(Finding),
    /// The port is open.
    Listening {
        /// Local address and port.
        local: SocketAddr,
        /// Address in the offer, and the reason for choosing it.
        advertised: Advertised,
    },
    /// The offer is published next.
    Offered {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Offer that is published.
        offer: AnyOffer,
    },
    /// The device reports that it takes the offer.
    Receiving,
    /// The device has noted the offer, reboots, and fetches the file before its application is imported.
    ///
    /// Until then it has no connection to the broker.
    AtBoot,
    /// A client connected.
    Connected {
        /// Address of the client.
        peer: SocketAddr,
    },
    /// The device asks for files of an extended offer. It already has the files that it does not ask for.
    Asked {
        /// Address of the client.
        peer: SocketAddr,
        /// First file that the device asks for. `set` is the list of the set's files.
        path: DevicePath,
        /// Number of files, including the first.
        files: usize,
        /// Offset in the first file, in bytes. The device has the bytes before it.
        offset: u64,
    },
    /// A client has taken bytes, as far as the operating system can tell.
    Progress {
        /// Address of the client.
        peer: SocketAddr,
        /// Bytes of `total` that the device has by now. They include bytes that it need not take, when it resumes or
        /// takes a set.
        sent: u64,
        /// Length of the file, or of all files of the set, in bytes.
        total: u64,
    },
    /// A client connected and did not take the whole file. The offer stands.
    Dropped {
        /// Address of the client.
        peer: SocketAddr,
        /// Bytes that the client took until then.
        sent: u64,
        /// Reason for which the connection ended.
        cause: DropCause,
    },
    /// Connections from clients other than the device were turned away, such as port scans. Reported once, when the
    /// offer ends.
    TurnedAway {
        /// Number of connections.
        count: u64,
        /// Address of the last client.
        last: SocketAddr,
        /// Reason for which the last connection ended.
        cause: DropCause,
    },
    /// Nobody is subscribed to the device's topic. The sender waits for a device that has announced itself or was here
    /// before.
    WaitingForDevice {
        /// Longest time to wait.
        limit: Duration,
    },
    /// A client took the whole file. The port closes, unless the device is expected to confirm the file itself.
    Delivered {
        /// Address of the client.
        peer: SocketAddr,
    },
    /// The attempt failed for a reason that may be transient, and is repeated.
    Retrying {
        /// Number of the next attempt, from 2.
        attempt: u32,
        /// Largest number of attempts, unless the device gets further than before.
        of: u32,
        /// Pause before the next attempt.
        after: Duration,
        /// Outcome of the last attempt.
        because: Outcome,
    },
    /// The device asks for the offer at a later time, and the sender waits.
    Postponed {
        /// Time after which the offer is repeated.
        after: Duration,
        /// Text from the device, which may be empty. Escape it before it reaches a terminal.
        why: String,
    },
    /// The device has too little memory for an offer that resumes. The file is offered plainly next, which needs less.
    TooLittleMemory {
        /// Text from the device. Escape it before it reaches a terminal.
        text: String,
    },
    /// The device has the file, or a file of the set, but imports a different one, which it had before.
    Hidden {
        /// Path of the imported file on the device.
        by: String,
    },
    /// The device's application has failed with an exception since the offer.
    Crashed(Crash),
    /// The device confirms that the file is in place.
    Installed,
    /// The device reboots. The sender waits for its next announcement.
    WaitingForBoot,
}

/// Count of connections from clients other than the device. There may be thousands.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    count: u64,
    last: Option<(SocketAddr, DropCause)>,
}

impl Strangers {
    /// Counts a connection that was turned away.
    pub(crate) fn add(&mut self, peer: SocketAddr, cause: DropCause) {
        tracing::trace!(%peer, %cause, "a stranger was turned away");
        self.count += 1;
        self.last = Some((peer, cause));
    }

    /// Returns the event that reports all of them, if there were any.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let (last, cause) = self.last.take()?;
        Some(Event::TurnedAway { count: self.count, last, cause })
    }
}

/// Callback for progress events. Cloning is cheap.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Event) + Send + Sync>, Interest);

/// Kind of events that an observer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Everything,
    /// Events that show whether the device is there.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper is"))]
    Contact,
}

impl Observer {
    /// Creates an observer that calls `tell` with every event. `tell` must not block, because it is called during the
    /// transfer.
    pub fn new(tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell), Interest::Everything)
    }

    /// Creates an observer for events of the device alone.
    ///
    /// In an update of thousands of devices, reporting the other events takes some time.
    #[cfg(feature = "keeper")]
    pub(crate) fn of_contact(tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell), Interest::Contact)
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }

    /// Returns true if the observer wants the events of the sender itself.
    pub(crate) fn is_curious(&self) -> bool {
        self.1 == Interest::Everything
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
