//! Choice of the devices that are given files now, and the start of their deliveries.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Keeping;
use crate::keeper::delivery::Delivery;
use crate::keeper::device::Device;
use crate::keeper::duty::{Due, Input};
use crate::keeper::rollout::{Closed, Gate};
use crate::keeper::standing::Standing;
use crate::keeper::window::Window;
use crate::keeper::words::{count, short, size};
use crate::wire::DeviceName;

/// Interval at which to check which deliveries might give way, where none did.
const MAKE_ROOM: Duration = Duration::from_secs(1);

impl Keeping {
    /// Begins as many deliveries as there may be.
    pub(super) fn begin(&mut self) {
        let mut room_at = self.room_at.take();
        if !self.lease.is_held() || !self.is_readable {
            return;
        }
        let now = Instant::now();
        let options = Arc::clone(&self.options);
        let is_time = options.window.is_none_or(Window::is_open);
        let canaries = self.canaries.iter().map(|canary| self.standing(canary));
        let canaries = canaries.chain(self.empty_groups.iter().map(|_| Standing::Unknown));
        let gate = Gate::new(is_time, canaries, self.failures, options.stop_after);
        if gate != self.gate {
            self.tell(&gate);
            self.gate = gate;
            room_at = Some(now);
        }
        loop {
            if self.slots.len() >= options.at_once {
                break;
            }
            let next = match self.gate {
                Gate::Open => self.queue.take(),
                Gate::Canaries => self.queue.take_of(&self.canaries),
                Gate::Closed(_) => None,
            };
            let Some(device) = next else { return };
            self.give(device);
        }
        if self.gate == Gate::Open {
            self.room_at = room_at.and_then(|at| if at <= now { self.make_room(now) } else { Some(at) });
        }
    }

    /// Ends deliveries whose device has not come, in favour of devices that wait and are awake, which may not last.
    /// Returns when to try again, where such devices wait.
    fn make_room(&mut self, now: Instant) -> Option<Instant> {
        let is_awake =
            |name: &&DeviceName| self.devices.get(*name).is_some_and(|device| device.duty.is_awake(now));
        // The device that announced itself last is the first.
        let waiting = self.queue.due().take(self.options.at_once).take_while(is_awake).count();
        let next = self.slots.make_room(waiting, now);
        (waiting > 0).then(|| next.unwrap_or(now + MAKE_ROOM))
    }

    fn tell(&self, gate: &Gate) {
        let first = || {
            let waits = |standing: &Standing| !matches!(standing, Standing::InStep | Standing::Held);
            let names = self.canaries.iter().filter(|canary| waits(&self.standing(canary)));
            let groups = self.empty_groups.iter().map(|group| format!("@{group}"));
            names.map(ToString::to_string).chain(groups).collect::<Vec<_>>().join(", ")
        };
        match gate {
            Gate::Open => tracing::info!("devices are given their files"),
            Gate::Canaries => tracing::info!("the others wait for those that go first: {}", first()),
            Gate::Closed(Closed::Window) => tracing::info!("devices are given their files later in the day"),
            Gate::Closed(Closed::Canary) => tracing::warn!(
                "a device that goes first has failed ({}): nobody is given anything until its folder changes",
                first()
            ),
            Gate::Closed(Closed::Failures) => tracing::warn!(
                "{} have failed, which is too many: nobody is given anything until their folders change",
                self.failures
            ),
        }
    }

    /// Returns the standing of a device that goes first, as far as it can be told. A device without a folder may be
    /// misspelt.
    fn standing(&self, canary: &DeviceName) -> Standing {
        let has_folder = self.folders.devices.contains_key(canary);
        let device = self.devices.get(canary).filter(|device| has_folder && !device.is_unclear);
        device.map_or(Standing::Unknown, Device::standing)
    }

    /// Begins to give a device its files.
    fn give(&mut self, name: DeviceName) {
        let (Some(device), Some(ear)) = (self.devices.get_mut(&name), &mut self.ear) else { return };
        let (Some(folder), Some(set)) = (device.folder.clone(), device.duty.wanted()) else { return };
        let now = Instant::now();
        if device.due(now) != Due::Now {
            return;
        }
        let hindrance = device.duty.hindrance().map(str::to_owned);
        device.duty.step(Input::Started, now);
        match hindrance {
            None => {
                let files = folder.set().files();
                let (files, bytes) = (count(files.len(), "file"), size(folder.set().total()));
                tracing::info!("{name}: sending set {} ({files}, {bytes})", short(set));
            }
            Some(why) => tracing::debug!("{name}: sending set {} once more: {why}", short(set)),
        }
        let (is_awake, announced) = (device.duty.is_awake(now), device.duty.announced().cloned());
        let feed = ear.feed(&name, announced);
        let (sender, options) = (Arc::clone(&self.sender), Arc::clone(&self.options));
        let delivery = Delivery { sender, device: name, folder, set, options, observer: None };
        self.slots.begin(delivery, feed, is_awake);
    }
}
