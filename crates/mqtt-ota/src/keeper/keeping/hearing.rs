//! What the devices, the other keepers and the connection to the broker say.

use std::time::SystemTime;

use tokio::time::Instant;

use super::Keeping;
use crate::keeper::duty::Input;
use crate::keeper::ear::{Ear, ROUTE, Said};
use crate::keeper::memory::{Memory, State};
use crate::wire::DeviceName;

/// How many messages are heard before it is looked at what is to be done: whoever floods us stops nothing. No more than
/// may wait for one delivery, which reads none of them meanwhile.
const AT_ONE_GO: usize = ROUTE;

impl Keeping {
    /// Asks for those that have a folder and were not heard of.
    pub(super) fn call_the_roll(&mut self) {
        let is_known = |name: &DeviceName| {
            self.devices.get(name).is_some_and(|device| device.duty.announced().is_some())
        };
        let missing = self.folders.devices.keys().filter(|name| !is_known(name));
        self.roll_call.call(missing, &self.sender);
    }

    /// Hears what is there already.
    pub(super) fn hear_all(&mut self) {
        for _ in 1..AT_ONE_GO {
            let Some(heard) = self.ear.as_mut().and_then(Ear::try_next) else { break };
            heard.into_iter().for_each(|said| self.hear(said));
        }
    }

    /// Devices may have said what was not heard.
    fn missed(&mut self) {
        let now = Instant::now();
        self.devices.values_mut().for_each(|device| device.duty.step(Input::Missed, now));
        for name in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.consider(&name, false);
        }
    }

    pub(super) fn hear(&mut self, said: Said) {
        let was_held = self.lease.is_held();
        match said {
            Said::AtWork { keeper } => {
                self.lease.hear(&keeper, Instant::now());
                self.relieved(was_held);
            }
            Said::Lost => {
                self.was_lost = true;
                self.lease.lost(Instant::now());
                self.relieved(was_held);
            }
            Said::Reconnected => {
                self.lease.reconnected(Instant::now());
                self.roll_call.begin_anew();
                self.relieved(was_held);
                self.missed();
            }
            Said::Missed => {
                tracing::warn!("devices say more at once than a keeper can hold, and some of it was missed");
                self.roll_call.begin_anew();
                self.missed();
            }
            Said::Remembered { device: name, memory } => {
                let Some(device) = self.devices.get_mut(&name) else { return };
                if let Some(Memory { state: State::InStep, set, .. }) = &memory {
                    device.duty.step(Input::Told { set: *set }, Instant::now());
                }
                device.heard = device.heard.max(memory.as_ref().and_then(|memory| memory.heard));
                device.memory = memory;
                device.recall();
            }
            Said::Answered { device: name, takes } => {
                self.slots.spoke(&name);
                let Some(device) = self.devices.get_mut(&name) else { return };
                device.heard = Some(SystemTime::now());
                if takes {
                    device.duty.step(Input::Taking, Instant::now());
                }
            }
            Said::Announced { device: name, announcement, anew } => {
                let was_lost = self.was_lost;
                let Some(device) = self.devices.get_mut(&name) else { return };
                let is_other = was_lost && device.duty.announced() != Some(&announcement);
                let anew = anew || is_other;
                if anew {
                    device.heard = Some(SystemTime::now());
                }
                let had = device.algorithm();
                let has = announcement.set_algorithm();
                device.duty.step(Input::Announced { announcement, anew }, Instant::now());
                if has != had {
                    self.want(&name);
                }
                if anew {
                    self.slots.spoke(&name);
                }
                self.consider(&name, anew);
            }
        }
    }
}
