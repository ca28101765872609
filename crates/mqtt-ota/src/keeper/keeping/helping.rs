//! What is left to other keepers, and what this one does for the one that is at work.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Keeping;
use crate::keeper::crew::TAKEN;
use crate::keeper::delivery::Delivered;
use crate::keeper::duty::{Ended, Input};
use crate::keeper::role::Role;
use crate::keeper::word::{Task, Word};
use crate::mqtt::{BACKLOG, Incoming, Lasting, LinkError, Protocol, Qos, Subscription};
use crate::wire::{DeviceName, Digest};

/// How often a keeper that stands by says that it is there.
const BEAT: Duration = Duration::from_secs(5);

/// A keeper that stands by.
#[derive(Default)]
pub(super) struct Helping {
    /// What is left to this keeper or another, once the broker has agreed.
    tasks: Option<Subscription>,
    joining: JoinSet<Result<Subscription, LinkError>>,
    /// The broker knows no shared subscriptions.
    is_refused: bool,
    /// The devices that are given their files for another keeper.
    devices: HashSet<DeviceName>,
    /// Who is at work.
    keeper: String,
    beat_at: Option<Instant>,
}

impl Helping {
    /// What is left to this keeper; None where only its own state has changed. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Task> {
        if let Some(joined) = self.joining.join_next().await {
            match joined {
                Ok(Ok(subscription)) => {
                    tracing::info!("helping the other keeper");
                    self.tasks = Some(subscription);
                    self.beat_at = Some(Instant::now());
                }
                Ok(Err(LinkError::SubscribeRefused { .. })) => {
                    tracing::debug!("the broker does not let keepers share a subscription");
                    self.is_refused = true;
                }
                _ => self.beat_at = Some(Instant::now() + BEAT),
            }
            return None;
        }
        let Some(tasks) = &mut self.tasks else { return pending().await };
        match tasks.next().await {
            Some(Incoming::Message(message)) => Task::parse(&message.payload),
            Some(Incoming::Lost | Incoming::Reconnected) => None,
            None => {
                self.tasks = None;
                None
            }
        }
    }

    /// When to call [`Keeping::beat`] next.
    pub(super) fn beat_at(&self) -> Option<Instant> {
        self.beat_at
    }
}

impl Keeping {
    /// Another keeper is at work: what this one does for itself ends, and it helps.
    pub(super) fn stand_by(&mut self) {
        self.slots.end_all();
        self.join();
    }

    /// This keeper is at work: what it does for another one is its own now.
    pub(super) fn stand_up(&mut self) {
        let helping = std::mem::take(&mut self.helping);
        self.helping.is_refused = helping.is_refused;
        for device in helping.devices {
            self.device(&device).duty.step(Input::Started, Instant::now());
        }
    }

    /// Hears who is at work.
    pub(super) fn follow(&mut self, keeper: &str) {
        if keeper.is_empty() || keeper == self.lease.id() || keeper == self.helping.keeper {
            return;
        }
        keeper.clone_into(&mut self.helping.keeper);
        self.helping.beat_at = self.helping.beat_at.map(|_| Instant::now());
        if !self.helping.devices.is_empty() {
            // It does not know of them.
            self.slots.end_all();
        }
    }

    /// Says that this keeper is there, in time.
    pub(super) fn beat(&mut self) {
        if self.helping.beat_at.is_none_or(|moment| Instant::now() < moment) {
            return;
        }
        self.helping.beat_at = Some(Instant::now() + BEAT);
        if self.lease.role() != Some(Role::StandingBy) {
            return;
        }
        match self.helping.tasks {
            Some(_) => {
                let (keeper, places) = (self.lease.id().to_owned(), self.options.at_once);
                self.say(&Word::Here { keeper, places });
            }
            None => self.join(),
        }
    }

    /// Does what is left to this keeper, or says at once that it does not.
    pub(super) fn help(&mut self, task: Task) {
        let Task { keeper, set, device: name } = task;
        let is_free = self.lease.role() == Some(Role::StandingBy)
            && self.helping.keeper == keeper
            && self.is_readable
            && self.is_welcome(&name)
            && self.slots.len() < self.options.at_once
            && !self.slots.has(&name);
        let device = self.device(&name);
        let folder = device.folder.clone().filter(|_| is_free && device.duty.wanted() == Some(set));
        let keeper = self.lease.id().to_owned();
        match folder {
            Some(folder) => {
                tracing::info!(device = %name, %set, "the device is given its files for the other keeper");
                self.helping.devices.insert(name.clone());
                self.say(&Word::Took { keeper, set, device: name.clone() });
                self.start(name, folder, set);
            }
            None => {
                self.say(&Word::Done { keeper, set, position: 0, result: Ended::GaveWay, device: name });
            }
        }
    }

    /// Whether it was for another keeper that a device was given its files; that one is told what became of it.
    pub(super) fn is_anothers(&mut self, name: &DeviceName, delivered: &Delivered) -> bool {
        let is_anothers = self.helping.devices.remove(name);
        if is_anothers {
            let Delivered { end, position } = delivered;
            let (keeper, device) = (self.lease.id().to_owned(), name.clone());
            let (set, result, position) = (end.set, end.result.clone(), *position);
            self.say(&Word::Done { keeper, set, position, result, device });
        }
        is_anothers
    }

    /// Leaves a device to another keeper.
    pub(super) fn leave(&mut self, device: DeviceName, set: Digest) {
        tracing::info!(%device, %set, "the device is given its files by another keeper");
        let task = Task { keeper: self.lease.id().to_owned(), set, device: device.clone() };
        self.crew.hand(device, set, Instant::now());
        let _ = self.saying.send((self.topics.task.clone(), task.to_string(), Lasting::For(TAKEN)));
    }

    /// Hears a keeper that stands by.
    pub(super) fn hear_word(&mut self, word: Word) {
        if self.lease.is_held() && word.keeper() != self.lease.id() {
            let done = self.crew.hear(word, Instant::now());
            done.into_iter().for_each(|(device, delivered)| self.end(&device, delivered));
        }
    }

    /// Takes back what nobody does that is heard.
    pub(super) fn take_back(&mut self) {
        while let Some((device, delivered)) = self.crew.take_lost(Instant::now()) {
            tracing::info!(%device, "no other keeper has given the device its files");
            self.end(&device, delivered);
        }
    }

    fn join(&mut self) {
        let helping = &mut self.helping;
        let is_able = self.sender.protocol() == Protocol::V5 && !helping.is_refused;
        if is_able && helping.tasks.is_none() && helping.joining.is_empty() {
            let (sender, filter) = (Arc::clone(&self.sender), self.topics.shared_task());
            helping.joining.spawn(async move {
                let filters = [(filter.as_str(), Qos::AtLeastOnce)];
                sender.link().subscribe(&filters, BACKLOG).await
            });
        }
    }

    fn say(&self, word: &Word) {
        let _ = self.saying.send((self.topics.hands.clone(), word.to_string(), Lasting::For(TAKEN)));
    }
}
