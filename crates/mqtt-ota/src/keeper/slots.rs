use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::delivery::{Delivered, Delivery};
use super::duty::Ended;
use crate::event::{Event, Observer};
use crate::feed::Feed;
use crate::wire::{DeviceName, Digest};

/// Time for which a device that may be asleep keeps its place while others wait for it. A device that is awake has
/// answered by then, also over a weak link.
const PROMPT: Duration = Duration::from_secs(1);
/// Time for which a device whose connection has ended keeps its place while others wait for it.
const AWAY: Duration = Duration::from_secs(5);

/// Deliveries under way.
#[derive(Default)]
pub(super) struct Slots {
    running: JoinSet<(DeviceName, Delivered)>,
    slots: HashMap<DeviceName, Slot>,
    /// Number of deliveries that were told to end to make room and have not ended yet.
    ending: usize,
    count: u64,
}

struct Slot {
    task: Id,
    set: Digest,
    /// Position in the order in which the deliveries began.
    number: u64,
    contact: Arc<Contact>,
    /// Channel that tells the delivery to end. `None` once it was used.
    end: Option<oneshot::Sender<Ended>>,
    makes_room: bool,
}

/// Last contact with a device since its delivery began.
#[derive(Debug)]
struct Contact(Mutex<Last>);

#[derive(Debug, Clone, Copy)]
enum Last {
    /// No message since its offer: the device may be asleep.
    Nothing { since: Instant },
    /// Device there, with this connection if it has one.
    There { peer: Option<SocketAddr> },
    /// Connection ended.
    Gone { at: Instant },
}

impl Contact {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event) {
        let mut last = self.last();
        match *event {
            Event::Receiving | Event::AtBoot => *last = Last::There { peer: None },
            Event::Asked { peer, .. } | Event::Progress { peer, .. } | Event::Delivered { peer } => {
                *last = Last::There { peer: Some(peer) };
            }
            // Other clients may connect to the same port.
            Event::Dropped { peer, .. } if matches!(*last, Last::There { peer: Some(its) } if its == peer) => {
                *last = Last::Gone { at: Instant::now() };
            }
            _ => {}
        }
    }
}

impl Slots {
    /// Returns the number of deliveries.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Returns true if there is a delivery to this device.
    pub(super) fn has(&self, device: &DeviceName) -> bool {
        self.slots.contains_key(device)
    }

    /// Begins a delivery. `is_awake`: the device was heard just now.
    pub(super) fn begin(&mut self, mut delivery: Delivery, feed: Feed, is_awake: bool) {
        let last =
            if is_awake { Last::There { peer: None } } else { Last::Nothing { since: Instant::now() } };
        let contact = Arc::new(Contact(Mutex::new(last)));
        let heard = Arc::clone(&contact);
        delivery.observer = Some(Observer::of_contact(move |event| heard.hear(&event)));
        let (end, told) = oneshot::channel();
        let (device, set) = (delivery.device.clone(), delivery.set);
        let name = device.clone();
        let task = self.running.spawn(async move { (name, until(told, delivery, feed).await) }).id();
        self.count += 1;
        let slot = Slot { task, set, number: self.count, contact, end: Some(end), makes_room: false };
        self.slots.insert(device, slot);
    }

    /// Waits for the end of a delivery and returns it. Returns `None` where there is no delivery. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(DeviceName, Delivered)> {
        let ended = match self.running.join_next_with_id().await? {
            Ok((_, ended)) => ended,
            Err(error) => {
                let (device, slot) = self.slots.iter().find(|(_, slot)| slot.task == error.id())?;
                tracing::error!(%device, %error, "a delivery broke off");
                let result = Ended::Hindered { why: "it broke off".to_owned() };
                (device.clone(), Delivered::of(slot.set, result, 0))
            }
        };
        if let Some(slot) = self.slots.remove(&ended.0) {
            self.ending -= usize::from(slot.makes_room);
        }
        Some(ended)
    }

    /// Takes note of a message from a device, which is therefore there.
    pub(super) fn spoke(&mut self, device: &DeviceName) {
        if let Some(slot) = self.slots.get(device) {
            let mut last = slot.contact.last();
            if !matches!(*last, Last::There { .. }) {
                *last = Last::There { peer: None };
            }
        }
    }

    /// Ends the delivery to a device, unless it delivers this set, which the device is now to have.
    pub(super) fn overtake(&mut self, device: &DeviceName, set: Option<Digest>) {
        if let Some(slot) = self.slots.get_mut(device).filter(|slot| Some(slot.set) != set)
            && let Some(end) = slot.end.take()
        {
            let _ = end.send(Ended::GaveWay);
        }
    }

    /// Ends all deliveries, because another keeper is at work.
    pub(super) fn end_all(&mut self) {
        for end in self.slots.values_mut().filter_map(|slot| slot.end.take()) {
            let _ = end.send(Ended::GaveWay);
        }
    }

    /// Ends as many deliveries as there are awake devices `waiting`, the oldest first. A delivery ends only if its
    /// device has not answered, or lost its connection a while ago. Returns the time at which the next one may end,
    /// where too few can end now.
    pub(super) fn make_room(&mut self, waiting: usize, now: Instant) -> Option<Instant> {
        while self.ending < waiting {
            let silent = self.slots.values_mut().filter(|slot| slot.end.is_some()).filter_map(|slot| {
                let (after, why) = slot.contact.last().gives_way()?;
                Some((after, slot.number, why, slot))
            });
            let (after, _, why, slot) =
                silent.min_by_key(|(after, number, ..)| ((*after).max(now), *number))?;
            if after > now {
                return Some(after);
            }
            slot.makes_room = true;
            self.ending += 1;
            // A delivery that has just ended makes room all the same.
            let _ = slot.end.take().map(|end| end.send(why));
        }
        None
    }
}

impl Last {
    /// Returns when a delivery may end to make room, and its result in that case. `None`: the device is there.
    fn gives_way(self) -> Option<(Instant, Ended)> {
        match self {
            Self::Nothing { since } => Some((since + PROMPT, Ended::GaveWay)),
            // The delivery goes on when the device announces itself.
            Self::Gone { at } => Some((at + AWAY, Ended::NotThere)),
            Self::There { .. } => None,
        }
    }
}

/// Runs a delivery until it is over or told to end.
async fn until(told: oneshot::Receiver<Ended>, delivery: Delivery, feed: Feed) -> Delivered {
    let set = delivery.set;
    // The future is large, and would be copied into its task again and again.
    let delivering = Box::pin(delivery.run(feed));
    let told = async {
        match told.await {
            Ok(why) => why,
            // The slot is gone, so nothing will tell the delivery to end.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        delivered = delivering => delivered,
        why = told => Delivered::of(set, why, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::DropCause;
    use crate::wire::Algorithm;
    use tokio::time::advance;

    impl Slots {
        /// Adds a delivery that does nothing until it is told to end.
        fn hold(&mut self, device: &str, last: Last) -> oneshot::Receiver<Ended> {
            let (end, told) = oneshot::channel();
            let task = self.running.spawn(std::future::pending()).id();
            self.count += 1;
            let (contact, set) = (Arc::new(Contact(Mutex::new(last))), Digest::of(Algorithm::Sha256, b""));
            let slot = Slot { task, set, number: self.count, contact, end: Some(end), makes_room: false };
            self.slots.insert(device.parse().unwrap(), slot);
            told
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_be_asleep_has_a_moment_to_answer_before_it_gives_way() {
        let (mut slots, start) = (Slots::default(), Instant::now());
        let mut there = slots.hold("THERE", Last::There { peer: None });
        let mut gone = slots.hold("GONE", Last::Gone { at: start });
        let mut silent = slots.hold("SILENT", Last::Nothing { since: start });
        assert_eq!(slots.make_room(1, start), Some(start + PROMPT));
        assert!(silent.try_recv().is_err());
        advance(PROMPT).await;
        assert_eq!(slots.make_room(1, Instant::now()), None);
        assert_eq!(silent.try_recv(), Ok(Ended::GaveWay));
        // One delivery has been told to end already, and no second one may end yet.
        assert_eq!(slots.make_room(1, Instant::now()), None);
        assert_eq!(slots.make_room(2, Instant::now()), Some(start + AWAY));
        advance(AWAY).await;
        assert_eq!(slots.make_room(3, Instant::now()), None);
        assert_eq!(gone.try_recv(), Ok(Ended::NotThere));
        assert!(there.try_recv().is_err(), "who is there is not sent away");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_end_of_its_own_connection_shows_that_a_device_has_gone() {
        let contact = Contact(Mutex::new(Last::Nothing { since: Instant::now() }));
        let [its, anothers] = ["192.0.2.1:1", "192.0.2.2:2"].map(|peer| peer.parse().unwrap());
        let dropped = |peer| Event::Dropped { peer, sent: 0, cause: DropCause::Closed };
        contact.hear(&dropped(anothers));
        assert!(matches!(*contact.last(), Last::Nothing { .. }));
        contact.hear(&Event::Receiving);
        contact.hear(&Event::Progress { peer: its, sent: 1, total: 2 });
        contact.hear(&dropped(anothers));
        assert!(matches!(*contact.last(), Last::There { .. }));
        contact.hear(&dropped(its));
        assert!(matches!(*contact.last(), Last::Gone { .. }));
    }
}
