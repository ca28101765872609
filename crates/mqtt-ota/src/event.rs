use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Advertised;
use crate::check::Finding;
use crate::outcome::Outcome;
use crate::serve::DropCause;
use crate::wire::{Announcement, AnyOffer, Crash, DevicePath};

/// What happens while a file is sent, in order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The device has announced itself: it reports what it does.
    Announced(Announcement),
    /// The check of the files has a warning for this device.
    Noticed(Finding),
    /// The port is open.
    Listening {
        /// The local address and port.
        local: SocketAddr,
        /// What the offer says, and why.
        advertised: Advertised,
    },
    /// The offer is published next.
    Offered {
        /// 1 for the first.
        attempt: u32,
        /// The offer as it stands on the wire.
        offer: AnyOffer,
    },
    /// The device says that it takes the offer.
    Receiving,
    /// The device has noted the offer, reboots, and fetches it before its application is imported. Until then it has no
    /// connection to the broker.
    AtBoot,
    /// Somebody connected.
    Connected {
        /// Who.
        peer: SocketAddr,
    },
    /// The device asks for files of an extended offer; it has what it does not ask for.
    Asked {
        /// Who.
        peer: SocketAddr,
        /// The first of them; `set` is the list of the set's files.
        path: DevicePath,
        /// How many, with the first.
        files: usize,
        /// Where the first begins, in bytes: what comes before, it has.
        offset: u64,
    },
    /// This client has taken bytes, as far as the system can tell.
    Progress {
        /// Who takes them.
        peer: SocketAddr,
        /// How far it is, of `total`: with what it need not take, where it resumes or takes a set.
        sent: u64,
        /// The length in bytes of the file, or of all files of the set.
        total: u64,
    },
    /// Somebody connected and did not take the whole file; the offer stands.
    Dropped {
        /// Who.
        peer: SocketAddr,
        /// Bytes that it took until then.
        sent: u64,
        /// How it ended.
        cause: DropCause,
    },
    /// Connections of others than the device were turned away: scans, or whatever else looks at ports. Told once, when
    /// the offer ends.
    TurnedAway {
        /// How many.
        count: u64,
        /// The last of them.
        last: SocketAddr,
        /// How that one ended.
        cause: DropCause,
    },
    /// Nobody is subscribed to the device's topic; a device that has announced itself, or was here before, is waited for.
    WaitingForDevice {
        /// For how long.
        limit: Duration,
    },
    /// Somebody took the whole file. The port is closed, unless the device will say itself that it has the file.
    Delivered {
        /// Who.
        peer: SocketAddr,
    },
    /// It did not work, may pass by itself, and is offered again.
    Retrying {
        /// The next attempt, from 2.
        attempt: u32,
        /// How many there are at most.
        of: u32,
        /// The pause before it.
        after: Duration,
        /// What the last one came to.
        because: Outcome,
    },
    /// The device asks to be offered it again later, and is waited for.
    Postponed {
        /// After which time it is offered again.
        after: Duration,
        /// The device's own words; may be empty. Make them safe before they reach a terminal.
        why: String,
    },
    /// The device has too little memory for an offer that resumes; the file is offered plainly next, which needs less.
    TooLittleMemory {
        /// The device's own words. Make them safe before they reach a terminal.
        text: String,
    },
    /// The device has the file, or one of the set, and imports another one instead, which it had before.
    Hidden {
        /// The path of that one on the device.
        by: String,
    },
    /// The device's application has died of an exception since it was offered this.
    Crashed(Crash),
    /// The device says that the file is in place.
    Installed,
    /// The device reboots; its next announcement is waited for.
    WaitingForBoot,
}

/// Connections of others than the device, counted: there may be thousands.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    count: u64,
    last: Option<(SocketAddr, DropCause)>,
}

impl Strangers {
    /// One more was turned away.
    pub(crate) fn add(&mut self, peer: SocketAddr, cause: DropCause) {
        tracing::trace!(%peer, %cause, "a stranger was turned away");
        self.count += 1;
        self.last = Some((peer, cause));
    }

    /// Returns the event that tells of all of them, if there were any.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let (last, cause) = self.last.take()?;
        Some(Event::TurnedAway { count: self.count, last, cause })
    }
}

/// Who is told what happens. Cloning is cheap.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Event) + Send + Sync>, Interest);

/// In what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Everything,
    /// In whether the device is there.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper is"))]
    Contact,
}

impl Observer {
    /// Calls `tell` with every event. It is called in between, so it must not block.
    pub fn new(tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell), Interest::Everything)
    }

    /// One that wants to know of the device's own doing alone: of an update to thousands, the rest takes some time to
    /// tell.
    #[cfg(feature = "keeper")]
    pub(crate) fn of_contact(tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell), Interest::Contact)
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }

    /// Whether it wants to know what the sender itself does.
    pub(crate) fn is_curious(&self) -> bool {
        self.1 == Interest::Everything
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
