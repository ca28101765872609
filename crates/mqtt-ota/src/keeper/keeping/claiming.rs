//! Devices that keepers of other names have, and the check that the broker passes on what this keeper says.

use std::collections::BTreeMap;
use std::mem::take;
use std::time::Duration;

use tokio::time::Instant;

use super::Keeping;
use crate::keeper::duty::Input;
use crate::keeper::ear::Ear;
use crate::keeper::error::KeeperError;
use crate::keeper::memory::{Memory, State};
use crate::keeper::others::Met;
use crate::keeper::words::some;
use crate::wire::DeviceName;

/// Limit of the claimed devices without a folder that are remembered, as anybody can invent names.
const ODD_MOST: usize = 1024;
/// Time longer than a keeper runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Time for which the broker must have been silent before its silence means something.
const QUIET: Duration = Duration::from_secs(2);

impl Keeping {
    /// Takes the note of a keeper about a device.
    pub(super) fn remembered(&mut self, name: &DeviceName, memory: Option<Memory>) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let keeper = memory.as_ref().and_then(|memory| memory.keeper.as_deref());
        let is_own = keeper == Some(self.outbox.keeper());
        if let Some(other) = keeper.filter(|_| !is_own) {
            let other = other.to_owned();
            return self.claimed(name, other);
        }
        let was_elsewhere = device.elsewhere.take().is_some();
        if is_own {
            self.echo.heard();
            // The note that this keeper has written itself may be newer by now.
            if self.lease.is_held() && device.memory.is_some() {
                return;
            }
        }
        if let Some(Memory { state: State::InStep, set, .. }) = &memory {
            device.duty.step(Input::Told { set: *set }, Instant::now());
        }
        device.heard = device.heard.max(memory.as_ref().and_then(|memory| memory.heard));
        device.memory = memory;
        device.recall();
        if was_elsewhere && self.lease.is_held() {
            tracing::info!("{name}: the other keeper has given it up, and this one keeps it");
        }
        self.consider(name, false);
    }

    /// Takes note that a keeper of another name has a device.
    fn claimed(&mut self, name: &DeviceName, other: String) {
        match self.others.meet(&other, Instant::now()) {
            Met::Known => {}
            Met::New => self.roll_call.ask_for_lease(other.clone(), &self.sender),
            Met::TooMany => return,
        }
        let Some(device) = self.devices.get_mut(name) else { return };
        device.memory = None;
        if device.elsewhere.replace(other.clone()).as_ref() == Some(&other) {
            return;
        }
        // A delivery under way would conflict with what the other keeper sends.
        self.slots.overtake(name, None);
        self.consider(name, false);
        if self.lease.is_held() {
            tell_that_another_has(&other, name.as_str());
        }
    }

    /// Reports which devices other keepers have.
    pub(super) fn tell_elsewhere(&self) {
        let mut by_keeper: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, device) in &self.devices {
            if let Some(other) = &device.elsewhere {
                by_keeper.entry(other).or_default().push(name.as_str());
            }
        }
        for (other, mut names) in by_keeper {
            names.sort_unstable();
            tell_that_another_has(other, &some(names.into_iter()));
        }
    }

    /// Takes over the devices of keepers that are gone.
    pub(super) fn take_over(&mut self) {
        while let Some(other) = self.others.take_gone(Instant::now()) {
            let is_its = |device: &&DeviceName| {
                self.devices.get(*device).is_some_and(|device| device.elsewhere.as_ref() == Some(&other))
            };
            let mut names: Vec<_> = self.devices.keys().filter(is_its).cloned().collect();
            if names.is_empty() {
                continue;
            }
            names.sort_unstable();
            if self.lease.is_held() {
                let names = some(names.iter().map(DeviceName::as_str));
                tracing::info!("the keeper {other} is not at work, and this one keeps its devices: {names}");
            }
            for name in names {
                if let Some(device) = self.devices.get_mut(&name) {
                    device.elsewhere = None;
                }
                self.consider(&name, false);
            }
        }
    }

    /// Takes note that a keeper of this name has claimed a device without a folder, which must have had one.
    pub(super) fn heard_odd(&mut self, device: DeviceName) {
        if self.odd.len() < ODD_MOST {
            self.odd.insert(device);
        }
        if self.lease.is_held() {
            self.clear_odd();
        }
    }

    /// Withdraws the notes about devices that this keeper does not keep any more.
    pub(super) fn clear_odd(&mut self) {
        take(&mut self.odd).iter().for_each(|device| self.outbox.clear_odd(device.memory_topic()));
    }

    /// Reports once which devices were not heard of, and the possible reason.
    pub(super) fn tell_if_all_are_silent(&mut self) {
        let now = Instant::now();
        if self.silent_by.is_none_or(|by| by > now) {
            return;
        }
        self.silent_by = Some(now + NEVER);
        let is_silent = |name: &&DeviceName| {
            self.devices.get(*name).is_none_or(|device| device.duty.announced().is_none())
        };
        let silent: Vec<_> = self.folders.devices.keys().filter(is_silent).map(DeviceName::as_str).collect();
        let all_are = silent.len() == self.folders.devices.len();
        if !silent.is_empty() {
            let names = some(silent.into_iter());
            let others = self.ear.as_ref().map(Ear::without_folder).filter(|others| !others.is_empty());
            match others.map(|others| some(others.iter().map(DeviceName::as_str))) {
                Some(others) => tracing::warn!(
                    "these devices have a folder and have never announced themselves: {names}; these have, and have no \
                     folder: {others}. If a folder is misnamed: its name has to be exactly the device's"
                ),
                None if !all_are => {}
                None => tracing::warn!(
                    "no device with a folder has announced itself ({names}); if one has, the broker's access list has \
                     to let this user read that (in Mosquitto: `topic read +/OTA/device`)"
                ),
            }
        }
    }

    /// Checks that the broker passes on what it accepts from this keeper, and logs once if notes do not come back.
    ///
    /// # Errors
    /// Nobody hears that this keeper is at work, not even the keeper itself.
    pub(super) fn check_that_it_is_heard(&mut self) -> Result<(), KeeperError> {
        let now = Instant::now();
        if self.lease.is_deaf() && self.heard_at + QUIET <= now {
            return Err(KeeperError::Unheard { topic: self.outbox.lease_topic().to_owned() });
        }
        if self.echo.is_missing(now) && !self.outbox.is_refused() {
            tracing::warn!(
                "what this keeper notes of devices on NAME/OTA/keeper does not come back from the broker: who keeps a \
                 device, and how it stands, is not known to `mqtt-ota status`, to other keepers, and after a restart; \
                 the broker's access list has to let this user read and write there (in Mosquitto: \
                 `topic readwrite +/OTA/keeper`)"
            );
        }
        Ok(())
    }
}

fn tell_that_another_has(other: &str, names: &str) {
    tracing::warn!(
        "{names}: kept by the keeper {other}: nothing is sent while that one is at work; stop it, or take the device \
         out of one of the two folders"
    );
}
