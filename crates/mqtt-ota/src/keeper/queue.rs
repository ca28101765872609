use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::duty::Due;
use crate::wire::DeviceName;

/// Devices that are due, in order, and devices that will be due later.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Due devices by their places. The lowest place goes first.
    due: BTreeMap<i64, DeviceName>,
    later: BTreeSet<(Instant, DeviceName)>,
    places: HashMap<DeviceName, Place>,
    /// Number of places given out so far.
    count: i64,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Due(i64),
    Later(Instant),
}

impl Queue {
    /// Puts a device where it belongs. A device that is `awake` may not be so for long, and goes before all others.
    pub(super) fn put(&mut self, device: &DeviceName, due: Due, awake: bool) {
        let place = match (due, self.places.get(device)) {
            // The device keeps the place that it has.
            (Due::Now, Some(Place::Due(_))) if !awake => return,
            (Due::Now, _) => {
                self.count += 1;
                Some(Place::Due(if awake { -self.count } else { self.count }))
            }
            (Due::At(at), _) => Some(Place::Later(at)),
            (Due::Never, _) => None,
        };
        self.remove(device);
        let Some(place) = place else { return };
        match place {
            Place::Due(number) => drop(self.due.insert(number, device.clone())),
            Place::Later(at) => drop(self.later.insert((at, device.clone()))),
        }
        self.places.insert(device.clone(), place);
    }

    /// Removes a device, wherever it is.
    pub(super) fn remove(&mut self, device: &DeviceName) {
        match self.places.remove(device) {
            Some(Place::Due(number)) => drop(self.due.remove(&number)),
            Some(Place::Later(at)) => drop(self.later.remove(&(at, device.clone()))),
            None => {}
        }
    }

    /// Returns the due devices, in order.
    pub(super) fn due(&self) -> impl Iterator<Item = &DeviceName> {
        self.due.values()
    }

    /// Takes out the first due device.
    pub(super) fn take(&mut self) -> Option<DeviceName> {
        let (_, device) = self.due.pop_first()?;
        self.places.remove(&device);
        Some(device)
    }

    /// Takes out a due device that is one of these.
    pub(super) fn take_of(&mut self, devices: &BTreeSet<DeviceName>) -> Option<DeviceName> {
        let device = devices.iter().find(|device| matches!(self.places.get(*device), Some(Place::Due(_))))?;
        self.remove(device);
        Some(device.clone())
    }

    /// Takes out a device whose time has come.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<DeviceName> {
        let (at, device) = self.later.first()?;
        if *at > now {
            return None;
        }
        let device = device.clone();
        self.remove(&device);
        Some(device)
    }

    /// Returns when the time of the next device comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name(text: &str) -> DeviceName {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_awake_goes_first_and_nobody_waits_twice() {
        let mut queue = Queue::default();
        for device in ["A", "B", "C", "A"] {
            queue.put(&name(device), Due::Now, false);
        }
        queue.put(&name("C"), Due::Now, true);
        queue.put(&name("D"), Due::Now, true);
        queue.put(&name("B"), Due::Never, false);
        let order: Vec<_> = std::iter::from_fn(|| queue.take()).map(|device| device.to_string()).collect();
        assert_eq!(order, ["D", "C", "A"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_due_later_comes_when_the_time_has_come() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let at = |seconds| Due::At(now + Duration::from_secs(seconds));
        queue.put(&name("A"), at(20), false);
        queue.put(&name("A"), at(10), false);
        queue.put(&name("B"), at(5), false);
        queue.put(&name("B"), Due::Now, false);
        assert_eq!(queue.next(), Some(now + Duration::from_secs(10)));
        assert_eq!(queue.take_expired(now + Duration::from_secs(9)), None);
        assert_eq!(queue.take_expired(now + Duration::from_secs(10)), Some(name("A")));
        assert_eq!(queue.next(), None);
        assert_eq!(queue.take_of(&BTreeSet::from([name("A"), name("B")])), Some(name("B")));
        assert_eq!(queue.take(), None);
    }
}
