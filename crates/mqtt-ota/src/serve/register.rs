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

/// Largest number of clients that have not said what they came for, for each offer.
///
/// Each costs a task and the buffer of one line. A further client takes the place of the one that came first. A device
/// loses its place only if this many clients come while its first line is on its way.
pub(super) const UNKNOWN: usize = 64;
/// Largest number of connections of clients that know an offer.
///
/// A device has one. The others are connections that the device knows to be dead and we do not. A further connection
/// takes the place of the one that was known first.
pub(super) const KNOWN: usize = 4;

/// Clients of a shared port, and the offers that they are served.
pub(super) struct Register(Mutex<Entries>);

struct Entries {
    /// Kept here, and not in the task that accepts, so that the port is closed at once.
    listener: Option<TcpListener>,
    offers: HashMap<OfferId, Entry>,
    /// Places of clients that have not said what they came for, in the order in which they came.
    unknown: Vec<Place>,
    /// Number of the last place or offer.
    next: u64,
    /// Longest time for a client to say what it came for: the longest idle time of the offers.
    patience: Duration,
}

struct Entry {
    number: u64,
    served: Served,
    /// Places of clients that know the offer, in the order in which they were known.
    known: Vec<Place>,
}

struct Place {
    number: u64,
    /// Dropped to send the client away.
    _stay: oneshot::Sender<()>,
}

/// Number of a client's place, and a receiver that resolves when the client has to go.
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

    /// Returns the next client. `None` once the port is closed.
    pub(super) async fn accepted(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        poll_fn(|context| match &self.lock().listener {
            Some(listener) => listener.poll_accept(context).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    /// Adds an unknown client. Returns its place, and the time for it to say what it came for.
    pub(super) fn take(&self) -> (Stay, Duration) {
        let mut entries = self.lock();
        if entries.unknown.len() >= UNKNOWN * entries.offers.len().max(1) {
            entries.unknown.remove(0);
        }
        let (place, stay) = entries.place();
        entries.unknown.push(place);
        (stay, entries.patience)
    }

    /// Moves an unknown client to those that know the offer `id`. Returns the offer and the new place of the client.
    ///
    /// `None` if nobody offers this. The client has no place then.
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

    /// Removes an unknown client that has gone. Returns the channel for its events: that of the oldest offer, because
    /// the port belongs to all offers.
    pub(super) fn forget(&self, unknown: u64) -> Option<mpsc::Sender<RangeEvent>> {
        let mut entries = self.lock();
        entries.unknown.retain(|place| place.number != unknown);
        let oldest = entries.offers.values().min_by_key(|entry| entry.number);
        oldest.map(|entry| entry.served.events.clone())
    }

    /// Adds an offer.
    pub(super) fn add(&self, served: Served) {
        let mut entries = self.lock();
        entries.patience = entries.patience.max(served.idle);
        let number = entries.number();
        entries.offers.insert(served.id, Entry { number, served, known: Vec::new() });
    }

    /// Removes an offer, and closes its connections.
    pub(super) fn remove(&self, id: OfferId) {
        self.lock().offers.remove(&id);
    }

    /// Closes the port and all connections.
    pub(super) fn close(&self) {
        let mut entries = self.lock();
        entries.listener = None;
        entries.unknown.clear();
        entries.offers.clear();
    }

    /// Removes a client that knew the offer `id` and has gone.
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
