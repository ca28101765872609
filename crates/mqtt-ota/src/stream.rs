use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem::replace;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::address::Advertised;
use crate::boot;
use crate::delivery::{Delivery, OFFER_AGAIN, Wanted, at};
use crate::dialogue::{Asked, Dialogue, Input, Patience, Subject};
use crate::error::SendError;
use crate::event::{Event, Strangers};
use crate::feed::{Feed, Heard};
use crate::items::Items;
use crate::mqtt::{Ack, Link, Retention};
use crate::options::SendOptions;
use crate::outcome::Outcome;
use crate::serve::{DropCause, RangeEvent, Served, SharedPort, Tally};
use crate::wire::{Ask, Content, DeviceName, ExtendedOffer, OfferId, State, Status};

/// Largest number of deletions that are listed in a dry run.
const DELETIONS: usize = 10_000;

/// Longest time after its report for which a device may still list its changes, on a connection that it then closes.
/// The report takes another way, and may be faster.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Time to wait for the next event of a dry run after its report, as long as no connection of the device is known.
const FIRST_WORDS: Duration = Duration::from_millis(200);

/// Extended offer that is published and served: the sockets and the clock around a [`Dialogue`].
pub(crate) struct Stream<'a> {
    pub(crate) link: &'a Link,
    pub(crate) device: &'a DeviceName,
    pub(crate) items: &'a Items,
    pub(crate) offer: &'a ExtendedOffer,
    pub(crate) advertised: &'a Advertised,
    pub(crate) options: &'a SendOptions,
    /// Ids of the earlier offers of this delivery.
    pub(crate) earlier: &'a [OfferId],
}

/// Record of the connections, and of the device's reports.
struct Seen {
    wanted: Wanted,
    peer: Option<SocketAddr>,
    /// Open connections that asked for something. The value is true if the client has everything it asked for.
    open: HashMap<SocketAddr, bool>,
    /// Time at which the device had taken the last file that it asked for.
    taken: Option<Instant>,
    tally: Arc<Tally>,
    strangers: Strangers,
    /// True if the device has reported that it takes the offer.
    is_receiving: bool,
    /// True if the device has reported that it fetches the offer at its boot.
    is_at_boot: bool,
    /// Time at which the device last did something about the offer.
    contact: Option<Instant>,
}

impl Seen {
    fn new(tally: &Arc<Tally>) -> Self {
        Self {
            wanted: Wanted::default(),
            peer: None,
            open: HashMap::new(),
            taken: None,
            tally: Arc::clone(tally),
            strangers: Strangers::default(),
            is_receiving: false,
            is_at_boot: false,
            contact: None,
        }
    }
}

impl Stream<'_> {
    /// Publishes the offer, and answers the device until there is an outcome.
    ///
    /// # Errors
    /// Returns an error if the offer cannot be published, or if a file cannot be read or has changed.
    ///
    /// Cancellation: the connections of the offer are closed.
    pub(crate) async fn run(&self, port: &Arc<SharedPort>, feed: &mut Feed) -> Result<Delivery, SendError> {
        let Self { items, offer, options, .. } = *self;
        let (topic, message) = (self.device.offer_topic(), Bytes::from(offer.to_string()));
        let mut dialogue = self.dialogue(&topic, feed);
        let tally = Arc::<Tally>::default();
        let mut seen = Seen::new(&tally);
        let (events, mut served) = RangeEvent::channel();
        let (id, idle, dry_run) = (offer.id, options.idle_timeout, is_dry_run(&offer.content));
        let _offered = port.offer(Served { items: items.clone(), id, dry_run, idle, events, tally });
        // The offer expires when the sender stops waiting: a device that wakes later must not act on it.
        let lasting = Retention::For(options.connect_timeout);
        let publish = || self.link.patiently(|| self.link.publish(&topic, message.clone(), lasting));
        let mut publishing = pin!(publish());
        let mut is_published = false;
        let (mut deadline, mut timer, mut again_at) = (None, pin!(sleep(Duration::ZERO)), None);
        let outcome = loop {
            if let Some(deadline) = deadline.filter(|deadline| *deadline != timer.deadline()) {
                timer.as_mut().reset(deadline);
            }
            let mut has_time_anew = false;
            let input = tokio::select! {
                biased;
                // Events of connections come first: bytes were sent before the device reports on them.
                Some(event) = served.recv() => match self.served(event, &mut seen)? {
                    Some(input) => {
                        has_time_anew = true;
                        input
                    }
                    None => continue,
                },
                Some(heard) = feed.next() => {
                    let may_be_lost;
                    (may_be_lost, has_time_anew) = follows(&heard, &dialogue);
                    if may_be_lost && is_published {
                        is_published = false;
                        publishing.set(publish());
                    }
                    if may_be_lost && has_time_anew && !dialogue.has_met() {
                        // A device that has not heard of the offer until now cannot have been late for it.
                        (deadline, has_time_anew) = (None, false);
                    }
                    match self.heard(heard, feed, &mut dialogue, &mut seen) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                acknowledged = &mut publishing, if !is_published => {
                    is_published = true;
                    let is_known = dialogue.has_met();
                    // An offer that was published again after our connection was lost is no sign of the device.
                    deadline.get_or_insert_with(|| Instant::now() + options.connect_timeout);
                    match acknowledged {
                        // A device that was heard knows the offer, even if the broker did not acknowledge it.
                        Err(_) if is_known => Input::Acknowledged(Ack::Accepted),
                        answer => Input::Acknowledged(answer?),
                    }
                }
                () = &mut timer, if deadline.is_some() => Input::Expired,
                () = at(again_at), if again_at.is_some() => {
                    again_at = None;
                    if is_published && dialogue.is_absent() {
                        is_published = false;
                        publishing.set(publish());
                    }
                    continue;
                }
            };
            let was_absent = dialogue.is_absent();
            let waited = self.limit(&dialogue);
            if let Some(outcome) = dialogue.step(input, waited) {
                break outcome;
            }
            if has_time_anew {
                deadline = Some(Instant::now() + self.limit(&dialogue));
            }
            if dialogue.is_absent() && is_published && again_at.is_none() {
                again_at = Some(Instant::now() + OFFER_AGAIN);
                if !was_absent {
                    options.tell(Event::WaitingForDevice { limit: options.connect_timeout });
                }
            }
        };
        if outcome == Outcome::Planned {
            self.hear_last_words(&mut served, &mut seen).await?;
        }
        seen.strangers.event().into_iter().for_each(|event| options.tell(event));
        // A device that has the file has taken the bytes on their way to it, even if its system has not confirmed them.
        let sent = if outcome.is_confirmed() { seen.tally.with_pending() } else { seen.tally.taken() };
        Ok(Delivery {
            outcome,
            peer: seen.peer,
            taken: seen.taken,
            sent,
            position: dialogue.position(),
            wanted: seen.wanted,
            met: dialogue.has_met(),
            at_boot: seen.contact.filter(|_| dialogue.is_at_boot()),
        })
    }

    /// Creates the state of a new offer, with what the device has announced so far.
    fn dialogue(&self, topic: &str, feed: &Feed) -> Dialogue {
        let Self { items, offer, options, .. } = *self;
        let subject = Subject {
            path: offer.path(),
            digest: offer.digest,
            total: items.total(),
            is_set: matches!(offer.content, Content::Set(_)),
            dry_run: is_dry_run(&offer.content),
            id: offer.id,
            earlier: self.earlier.to_vec(),
            // The device has announced itself, or it would not get an extended offer.
            waits: options.wait_for_device.then_some(options.connect_timeout),
        };
        Dialogue::new(subject, topic.to_owned(), self.advertised.clone(), feed.announcement.as_ref())
    }

    /// Returns the time for which the device may be silent.
    fn limit(&self, dialogue: &Dialogue) -> Duration {
        let SendOptions { connect_timeout, confirm_timeout, .. } = *self.options;
        // The device itself reports what keeps it from connecting, once it has tried for long enough.
        let silence = connect_timeout + confirm_timeout;
        match dialogue.patience() {
            Patience::Contact => connect_timeout,
            Patience::Boot => connect_timeout.max(boot::UNTIL_IT_CONNECTS),
            Patience::Silence if dialogue.is_at_boot() => silence.max(boot::UNTIL_ITS_WORD),
            Patience::Silence => silence,
        }
    }

    /// Handles a message from the device. Returns the input for the dialogue, if there is one.
    fn heard(&self, heard: Heard, feed: &Feed, dialogue: &mut Dialogue, seen: &mut Seen) -> Option<Input> {
        match heard {
            Heard::Announced { anew: false } => None,
            Heard::Announced { anew: true } => Some(Input::AnnouncedAnew(feed.announcement.clone()?)),
            Heard::Status(status) => {
                if dialogue.is_answered_by(&status) {
                    self.answered(&status, seen);
                }
                Some(Input::Status(status))
            }
            Heard::Crashed(crash) => {
                self.options.tell(Event::Crashed(crash));
                None
            }
            Heard::Reconnected => {
                dialogue.missed_something();
                None
            }
        }
    }

    /// Handles a status that is about this offer.
    fn answered(&self, status: &Status, seen: &mut Seen) {
        if let Some(by) = status.hidden_by() {
            self.options.tell(Event::Hidden { by: by.to_owned() });
        }
        if status.is_at_boot() {
            seen.contact = Some(Instant::now());
            if !replace(&mut seen.is_at_boot, true) {
                self.options.tell(Event::AtBoot);
            }
        } else if status.state == State::Receiving && !replace(&mut seen.is_receiving, true) {
            self.options.tell(Event::Receiving);
        }
    }

    async fn hear_last_words(
        &self,
        served: &mut mpsc::Receiver<RangeEvent>,
        seen: &mut Seen,
    ) -> Result<(), SendError> {
        let until = Instant::now() + LAST_WORDS;
        loop {
            let quiet = match seen.open.is_empty() {
                // The device has closed the connection, as it does after its last line.
                true if seen.peer.is_some() => return Ok(()),
                true => Instant::now() + FIRST_WORDS,
                false => until,
            };
            tokio::select! {
                Some(event) = served.recv() => drop(self.served(event, seen)?),
                () = sleep_until(quiet) => return Ok(()),
            }
        }
    }

    /// Handles an event of a connection. Returns the input for the dialogue. `None` if the event is no sign of the
    /// device.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or has changed.
    fn served(&self, event: RangeEvent, seen: &mut Seen) -> Result<Option<Input>, SendError> {
        let Self { items, options, .. } = *self;
        if matches!(event, RangeEvent::Asked { .. } | RangeEvent::Progress { .. } | RangeEvent::Sent { .. }) {
            seen.contact = Some(Instant::now());
        }
        Ok(match event {
            RangeEvent::Connected { peer } => {
                options.tell(Event::Connected { peer });
                None
            }
            RangeEvent::Asked { peer, ask } => {
                seen.peer = Some(peer);
                seen.open.insert(peer, !matches!(ask, Ask::Range { .. }));
                Some(self.asked(peer, ask, &mut seen.wanted))
            }
            RangeEvent::Progress { peer, item, offset } => {
                let position = items.position(item, offset);
                if items.is_file(item) {
                    seen.wanted.items.insert(item);
                    options.tell(Event::Progress { peer, sent: position, total: items.total() });
                }
                Some(Input::Progress { position })
            }
            RangeEvent::Sent { peer, last } => {
                seen.open.insert(peer, true);
                if items.is_file(last) {
                    seen.taken = Some(Instant::now());
                }
                Some(Input::Sent)
            }
            RangeEvent::Dropped { peer, known, cause } => {
                // A device that has everything it wants closes the connection, and reports the result itself. If it has
                // asked for more, closing resets the connection.
                let has_closed = matches!(
                    cause,
                    DropCause::Closed
                        | DropCause::Broke(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
                );
                let is_through = seen.open.remove(&peer) == Some(true) && has_closed;
                if !known {
                    seen.strangers.add(peer, cause);
                    return Ok(None);
                }
                if !is_through {
                    let sent = seen.tally.taken();
                    options.tell(Event::Dropped { peer, sent, cause: cause.clone() });
                }
                Some(Input::Dropped(cause))
            }
            RangeEvent::Spoilt(error) => return Err(error.into()),
        })
    }

    fn asked(&self, peer: SocketAddr, ask: Ask, wanted: &mut Wanted) -> Input {
        let Self { items, options, .. } = *self;
        match ask {
            Ask::Range { first, last, offset } => {
                let asked = match last {
                    _ if items.is_file(first) => Asked::Files,
                    Some(last) if !items.is_file(last) => Asked::Manifest,
                    _ => Asked::Everything,
                };
                if let Some(item) = items.get(first) {
                    let last = last.unwrap_or_else(|| items.last());
                    let (path, files) = (item.path.clone(), (last - first) as usize + 1);
                    options.tell(Event::Asked { peer, path, files, offset });
                }
                return Input::Asked(asked);
            }
            Ask::Missing(item) => drop(wanted.items.insert(item)),
            Ask::Deletes(path) if wanted.deletions.len() < DELETIONS => wanted.deletions.push(path),
            Ask::Deletes(_) => {}
        }
        Input::Asked(Asked::Manifest)
    }
}

fn is_dry_run(content: &Content) -> bool {
    matches!(content, Content::Set(terms) if terms.dry_run)
}

/// Returns whether to publish the offer again, and whether the time of the device begins anew.
///
/// The offer is published again if it may be lost to the device. Publishing it twice does no harm.
fn follows(heard: &Heard, dialogue: &Dialogue) -> (bool, bool) {
    match heard {
        // A device that has booted no longer knows the offer, and resumes when it has it again.
        Heard::Announced { anew } => (*anew, *anew && dialogue.has_time_anew()),
        Heard::Status(status) => (false, dialogue.is_answered_by(status)),
        Heard::Reconnected => (!dialogue.has_met(), false),
        Heard::Crashed(_) => (false, false),
    }
}

#[cfg(test)]
#[cfg(feature = "keeper")]
mod tests;
