use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::delivery::{Delivered, Delivery};
use super::duty::{End, Ended};
use crate::event::{Event, Observer};
use crate::feed::Feed;
use crate::wire::{DeviceName, Digest};

/// How long a device whose connection has ended is waited for while others wait for its place.
const AWAY: Duration = Duration::from_secs(5);

/// The deliveries that are under way.
#[derive(Default)]
pub(super) struct Slots {
    running: JoinSet<(DeviceName, Delivered)>,
    slots: HashMap<DeviceName, Slot>,
    /// Those that were told to end to make room, and have not yet.
    ending: usize,
    count: u64,
}

struct Slot {
    task: Id,
    set: Digest,
    /// In the order in which they began.
    number: u64,
    contact: Arc<Contact>,
    /// Taken once it is told to end.
    end: Option<oneshot::Sender<Ended>>,
    makes_room: bool,
}

/// What was heard of a device since its delivery has begun.
#[derive(Debug)]
struct Contact(Mutex<Last>);

#[derive(Debug, Clone, Copy)]
enum Last {
    /// Nothing, and it may be asleep.
    Nothing,
    /// It is there.
    There,
    /// Its connection has ended.
    Gone { at: Instant },
}

impl Contact {
    fn set(&self, last: Last) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    fn get(&self) -> Last {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Receiving | Event::Asked { .. } | Event::Progress { .. } | Event::Delivered { .. } => {
                self.set(Last::There);
            }
            Event::Dropped { .. } if matches!(self.get(), Last::There) => {
                self.set(Last::Gone { at: Instant::now() });
            }
            _ => {}
        }
    }
}

impl Slots {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Begins a delivery. `is_awake`: the device was heard just now.
    pub(super) fn begin(&mut self, mut delivery: Delivery, feed: Feed, is_awake: bool) {
        let contact = Arc::new(Contact(Mutex::new(if is_awake { Last::There } else { Last::Nothing })));
        let heard = Arc::clone(&contact);
        delivery.observer = Some(Observer::new(move |event| heard.hear(&event)));
        let (end, told) = oneshot::channel();
        let (device, set) = (delivery.device.clone(), delivery.set);
        let name = device.clone();
        let task = self.running.spawn(async move { (name, until(told, delivery, feed).await) }).id();
        self.count += 1;
        let slot = Slot { task, set, number: self.count, contact, end: Some(end), makes_room: false };
        self.slots.insert(device, slot);
    }

    /// The next one that is over; None where there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(DeviceName, Delivered)> {
        let ended = match self.running.join_next_with_id().await? {
            Ok((_, ended)) => ended,
            Err(error) => {
                let (device, slot) = self.slots.iter().find(|(_, slot)| slot.task == error.id())?;
                tracing::error!(%device, %error, "a delivery broke off");
                let result = Ended::Hindered { why: "it broke off".to_owned() };
                (device.clone(), Delivered::nothing(slot.set, result))
            }
        };
        if let Some(slot) = self.slots.remove(&ended.0) {
            self.ending -= usize::from(slot.makes_room);
        }
        Some(ended)
    }

    /// A device has announced itself: it is there.
    pub(super) fn spoke(&mut self, device: &DeviceName) {
        if let Some(slot) = self.slots.get(device) {
            slot.contact.set(Last::There);
        }
    }

    /// Ends the delivery of another set than this to a device: it is to have that one.
    pub(super) fn overtake(&mut self, device: &DeviceName, set: Option<Digest>) {
        if let Some(slot) = self.slots.get_mut(device).filter(|slot| Some(slot.set) != set)
            && let Some(end) = slot.end.take()
        {
            let _ = end.send(Ended::GaveWay);
        }
    }

    /// Ends all of them: another keeper is at work.
    pub(super) fn end_all(&mut self) {
        for end in self.slots.values_mut().filter_map(|slot| slot.end.take()) {
            let _ = end.send(Ended::GaveWay);
        }
    }

    /// Has as many end as wait and are awake, of those that nobody has come for, or that lost their device a while
    /// ago; the oldest first.
    pub(super) fn make_room(&mut self, waiting: usize, now: Instant) {
        while self.ending < waiting {
            let silent = self.slots.values_mut().filter(|slot| slot.end.is_some());
            let silent = silent.filter_map(|slot| match slot.contact.get() {
                Last::Nothing => Some((Ended::GaveWay, slot)),
                // It goes on when it announces itself.
                Last::Gone { at } if now.saturating_duration_since(at) > AWAY => {
                    Some((Ended::NotThere, slot))
                }
                Last::There | Last::Gone { .. } => None,
            });
            let Some((why, slot)) = silent.min_by_key(|(_, slot)| slot.number) else { return };
            slot.makes_room = true;
            self.ending += 1;
            // One that has just ended makes room all the same.
            let _ = slot.end.take().map(|end| end.send(why));
        }
    }
}

/// Delivers, or ends as it is told to.
async fn until(told: oneshot::Receiver<Ended>, delivery: Delivery, feed: Feed) -> Delivered {
    let set = delivery.set;
    let told = async {
        match told.await {
            Ok(why) => why,
            // Nobody will tell it.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        delivered = delivery.run(feed) => delivered,
        why = told => Delivered::nothing(set, why),
    }
}

impl Delivered {
    /// One that has brought nothing that is known of.
    fn nothing(set: Digest, result: Ended) -> Self {
        Self { end: End { set, result, advanced: false }, position: 0 }
    }
}
