use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::event::RangeEvent;
use super::served::Served;
use crate::wire::OfferId;

/// Clients that have not said what they came for, for each offer. They cost a task and the buffer of one line each,
/// and one more takes the place of the one that came first: so many would have to come while a device's first line is
/// on its way.
pub(super) const UNKNOWN: usize = 64;
/// Connections of clients that know an offer. A device has one; others are those of which it knows to be dead and we
/// do not. One more takes the place of the one that was known first.
pub(super) const KNOWN: usize = 4;

/// Who is served, and with what.
pub(super) struct Register(Mutex<Entries>);

struct Entries {
    /// Here, and not in the task that accepts, so that the port is closed at once.
    listener: Option<TcpListener>,
    offers: HashMap<OfferId, Entry>,
    /// In the order in which they came.
    unknown: Vec<Place>,
    /// The number of the next place, and of the next offer.
    next: u64,
    /// How long a client may take to say what it came for: as long as the most patient offer's may take nothing.
    patience: Duration,
}

struct Entry {
    number: u64,
    served: Served,
    /// In the order in which they were known.
    known: Vec<Place>,
}

struct Place {
    number: u64,
    /// Dropped to send the client away.
    _stay: oneshot::Sender<()>,
}

/// The number of a client's place, and what resolves when it has to go.
pub(super) type Stay = (u64, oneshot::Receiver<()>);

impl Register {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self(Mutex::new(Entries {
            listener: Some(listener),
            offers: HashMap::new(),
            unknown: Vec::new(),
            next: 0,
            patience: Duration::ZERO,
        }))
    }

    /// The next client; None once the port is closed.
    pub(super) async fn accepted(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        poll_fn(|context| match &self.lock().listener {
            Some(listener) => listener.poll_accept(context).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    /// A place for a client of which nothing is known, and how long it may take to say what it came for.
    pub(super) fn take(&self) -> (Stay, Duration) {
        let mut entries = self.lock();
        if entries.unknown.len() >= UNKNOWN * entries.offers.len().max(1) {
            entries.unknown.remove(0);
        }
        let (place, stay) = entries.place();
        entries.unknown.push(place);
        (stay, entries.patience)
    }

    /// What a client came for that has a place among the unknown, and its place among those who know it; nothing where
    /// nobody offers it.
    pub(super) fn known(&self, unknown: u64, id: OfferId) -> Option<(Served, Stay)> {
        let mut entries = self.lock();
        entries.unknown.retain(|place| place.number != unknown);
        let (place, stay) = entries.place();
        let entry = entries.offers.get_mut(&id)?;
        if entry.known.len() >= KNOWN {
            entry.known.remove(0);
        }
        entry.known.push(place);
        Some((entry.served.clone(), stay))
    }

    /// A client has gone of which nothing is known. Yields whom to tell: the offer that is open the longest, since the
    /// port is that of all of them.
    pub(super) fn forget(&self, unknown: u64) -> Option<mpsc::Sender<RangeEvent>> {
        let mut entries = self.lock();
        entries.unknown.retain(|place| place.number != unknown);
        let oldest = entries.offers.values().min_by_key(|entry| entry.number);
        oldest.map(|entry| entry.served.events.clone())
    }

    /// An offer stands from now on.
    pub(super) fn add(&self, served: Served) {
        let mut entries = self.lock();
        entries.patience = entries.patience.max(served.idle);
        let number = entries.number();
        entries.offers.insert(served.id, Entry { number, served, known: Vec::new() });
    }

    /// An offer stands no longer: its connections are closed.
    pub(super) fn remove(&self, id: OfferId) {
        self.lock().offers.remove(&id);
    }

    /// Closes the port, and all connections.
    pub(super) fn close(&self) {
        let mut entries = self.lock();
        entries.listener = None;
        entries.unknown.clear();
        entries.offers.clear();
    }

    /// A client has gone that knew an offer.
    pub(super) fn leave(&self, number: u64, id: OfferId) {
        if let Some(entry) = self.lock().offers.get_mut(&id) {
            entry.known.retain(|place| place.number != number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn place(&mut self) -> (Place, Stay) {
        let (stay, sent_away) = oneshot::channel();
        let number = self.number();
        (Place { number, _stay: stay }, (number, sent_away))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
