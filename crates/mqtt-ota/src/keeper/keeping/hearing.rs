//! Reactions to the devices, to the other keepers and to the state of the connection to the broker.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Keeping;
use crate::keeper::device::Device;
use crate::keeper::duty::Input;
use crate::keeper::ear::{Ear, ROUTE, Said};
use crate::keeper::standing::Standing;
use crate::keeper::words::short;
use crate::wire::{Announcement, DeviceName, State};

/// Shortest time between two reports of missed messages.
const MISSED_PAUSE: Duration = Duration::from_secs(10);
/// Number of messages taken before other work is looked at, so that a flood of them stops nothing. No more than may
/// wait for one delivery, which reads none of them meanwhile.
const AT_ONE_GO: usize = ROUTE;

impl Keeping {
    /// Asks for the devices that have a folder and were not heard of. `is_again`: recent messages may have been missed,
    /// so devices that were about to report on a set are asked for as well.
    pub(super) fn call_the_roll(&mut self, is_again: bool) {
        let is_known = |name: &DeviceName| {
            let device = self.devices.get(name).filter(|device| device.duty.announced().is_some());
            device.is_some_and(|device| !is_again || !device.duty.awaits_word())
        };
        let missing = self.folders.devices.keys().filter(|name| !is_known(name));
        self.roll_call.call(missing, &self.sender);
    }

    /// Takes the messages that are here already.
    pub(super) fn hear_all(&mut self) {
        for _ in 1..AT_ONE_GO {
            let Some(heard) = self.ear.as_mut().and_then(Ear::try_next) else { break };
            heard.into_iter().for_each(|said| self.hear(said));
        }
    }

    /// Takes note that messages of devices may have been missed.
    fn missed(&mut self) {
        let now = Instant::now();
        self.devices.values_mut().for_each(|device| device.duty.step(Input::Missed, now));
        for name in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.consider(&name, false);
        }
    }

    pub(super) fn hear(&mut self, said: Said) {
        self.heard_at = Instant::now();
        let was_held = self.lease.is_held();
        match said {
            Said::AtWork { keeper, id } if keeper == self.outbox.keeper() => {
                self.lease.hear(&id, Instant::now());
                self.relieved(was_held);
            }
            Said::AtWork { keeper, id } => self.others.hear(&keeper, !id.is_empty(), Instant::now()),
            Said::Lost => {
                self.was_lost = true;
                self.lease.lost(Instant::now());
                self.others.lost(Instant::now());
                self.relieved(was_held);
            }
            Said::Reconnected => {
                self.lease.reconnected(Instant::now());
                self.others.reconnected(Instant::now());
                self.echo.begin_anew(Instant::now());
                self.roll_call.begin_anew();
                self.relieved(was_held);
                self.missed();
            }
            Said::Missed => {
                self.roll_call.begin_anew();
                let now = Instant::now();
                // In a flood, every message may cause others to be missed, so the reaction is limited.
                if self.missed_at.is_none_or(|at| at + MISSED_PAUSE <= now) {
                    self.missed_at = Some(now);
                    tracing::warn!(
                        "devices say more at once than a keeper can hold, and some of it was missed"
                    );
                    self.missed();
                }
            }
            Said::Crashed { device: name, crash, anew } => {
                if let Some(device) = self.devices.get_mut(&name) {
                    device.hear_crash(&name, crash, anew);
                }
            }
            Said::Remembered { device, memory } => self.remembered(&device, memory),
            Said::Odd { device } => self.heard_odd(device),
            Said::Withdrawn { device: name } => {
                let Some(device) = self.devices.get_mut(&name) else { return };
                device.duty.step(Input::Withdrawn, Instant::now());
                self.consider(&name, false);
                if self.lease.is_held() {
                    self.note(&name, None);
                }
            }
            Said::Answered { device: name, state, is_unchanged, hidden_by } => {
                self.slots.spoke(&name);
                let Some(device) = self.devices.get_mut(&name) else { return };
                device.heard = Some(SystemTime::now());
                if let Some(by) = hidden_by.filter(|_| self.slots.has(&name)) {
                    tracing::warn!("{name}: a file is installed, and never imported: {by} comes before it");
                }
                if matches!(state, State::Receiving | State::Installed) {
                    let installed = state == State::Installed && !is_unchanged;
                    let was_in_step = device.standing() == Standing::InStep;
                    device.duty.step(Input::Taking { installed }, Instant::now());
                    if was_in_step && device.standing() != Standing::InStep && self.lease.is_held() {
                        tracing::info!(
                            "{name}: another sender has given it a file; its folder's files follow"
                        );
                    }
                    self.consider(&name, false);
                }
            }
            Said::Announced { device, announcement, anew } => self.announced(&device, announcement, anew),
        }
    }

    /// Takes the announcement of a device. `anew`: it was made now.
    fn announced(&mut self, name: &DeviceName, announcement: Announcement, anew: bool) {
        let was_lost = self.was_lost;
        let Some(device) = self.devices.get_mut(name) else { return };
        let is_other = was_lost && device.duty.announced() != Some(&announcement);
        let anew = anew || is_other;
        if anew {
            device.heard = Some(SystemTime::now());
        }
        let had = device.algorithm();
        let has = announcement.set_algorithm();
        let is_safe = |device: &Device| device.duty.announced().is_some_and(|said| said.is_safe);
        let was_safe = is_safe(device);
        let was_taken_back = device.duty.taken_back().is_some();
        let was_in_step = device.standing() == Standing::InStep;
        device.duty.step(Input::Announced { announcement, anew }, Instant::now());
        if is_safe(device) && !was_safe {
            tracing::warn!("{name}: in safe mode: its application failed three times in a row");
        }
        if let Some(why) = device.duty.taken_back().filter(|_| !was_taken_back) {
            device.is_new = false;
            let set = device.duty.wanted().map(short).unwrap_or_default();
            let again = match device.standing() {
                Standing::Failing { .. } => "; it is sent once more, as the device had no network",
                _ => "",
            };
            tracing::warn!("{name}: set {set} rolled back, the device runs what it ran before: {why}{again}");
        }
        if was_in_step && device.standing() == Standing::Pending && self.lease.is_held() {
            tracing::info!("{name}: another sender has given it other files; its folder's files follow");
        }
        // The check may judge the files otherwise, now that the kind of device is known.
        if has != had || !device.said.is_empty() {
            self.want(name);
        }
        if anew {
            self.slots.spoke(name);
        }
        self.consider(name, anew);
    }
}
