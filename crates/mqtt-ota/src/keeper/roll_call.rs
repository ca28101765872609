//! Requests, by name, for devices that have a folder and were not heard of.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::outbox::lease_topic;
use crate::mqtt::{BACKLOG, LinkError, Qos};
use crate::sender::Sender;
use crate::wire::{Crash, DeviceName};

/// Time that the broker may take to send what it retains of all devices.
const PATIENCE: Duration = Duration::from_secs(2);
/// Number of names in one subscription request.
const TOGETHER: usize = 16;
/// Number of such requests at the same time.
const AT_ONCE: usize = 8;

/// Requests for devices whose retained messages are missing.
///
/// A broker that is asked for thousands of announcements at once may leave some out without saying so. Mosquitto drops
/// messages that a slow network does not take, beyond 1,000. RabbitMQ sends no retained message to a filter with a
/// wildcard.
#[derive(Default)]
pub(super) struct RollCall {
    at: Option<Instant>,
    /// Devices that were asked for, of those that have a folder.
    asked: HashSet<DeviceName>,
    asking: JoinSet<()>,
}

impl RollCall {
    /// Returns when to check which devices are missing.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Starts over when the broker sends what it retains of all devices, for the first time or again.
    pub(super) fn begin_anew(&mut self) {
        self.asked.clear();
        self.at.get_or_insert(Instant::now() + PATIENCE);
    }

    /// Returns true if it is time to call.
    pub(super) fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Asks the broker whether the keeper of this name is at work.
    pub(super) fn ask_for_lease(&mut self, keeper: String, sender: &Arc<Sender>) {
        let sender = Arc::clone(sender);
        self.asking.spawn(async move {
            if let Err(error) = ask_for_leases(&sender, [keeper.as_str()].into_iter()).await {
                tracing::debug!(keeper, %error, "it is not known whether the other keeper is at work");
            }
        });
    }

    /// Forgets a device that has no folder any more.
    pub(super) fn forget(&mut self, device: &DeviceName) {
        self.asked.remove(device);
    }

    /// Asks for each of the `missing` devices once. The answers arrive at every subscription to all devices.
    pub(super) fn call<'a>(&mut self, missing: impl Iterator<Item = &'a DeviceName>, sender: &Arc<Sender>) {
        if self.is_due() {
            self.at = None;
        }
        while self.asking.try_join_next().is_some() {}
        let names: Vec<_> = missing.filter(|name| self.asked.insert((*name).clone())).cloned().collect();
        if names.is_empty() {
            return;
        }
        tracing::debug!(count = names.len(), "asking for devices that were not heard of");
        let sender = Arc::clone(sender);
        self.asking.spawn(async move {
            if let Err(error) = ask(&sender, &names).await {
                tracing::debug!(%error, "devices that were not heard of cannot be asked for");
            }
        });
    }
}

/// Asks the broker for what it retains of each of these devices: the crash and the note of a keeper first, and then the
/// announcement.
///
/// # Errors
/// The last error, after all devices have been asked for.
pub(super) async fn ask(sender: &Sender, names: &[DeviceName]) -> Result<(), LinkError> {
    let asking: Vec<_> = names.chunks(TOGETHER).map(|some| ask_together(sender, some)).collect();
    let mut answers = stream::iter(asking).buffer_unordered(AT_ONCE);
    let mut all = Ok(());
    while let Some(answer) = answers.next().await {
        all = answer.and(all);
    }
    all
}

/// Asks the broker whether the keepers of these names are at work.
///
/// # Errors
/// The broker forbids it, or is away.
pub(super) async fn ask_for_leases(
    sender: &Sender,
    keepers: impl Iterator<Item = &str>,
) -> Result<(), LinkError> {
    let topics: Vec<_> = keepers.map(lease_topic).collect();
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_str(), Qos::AtLeastOnce)).collect();
    sender.link().subscribe(&filters, BACKLOG).await.map(drop)
}

async fn ask_together(sender: &Sender, names: &[DeviceName]) -> Result<(), LinkError> {
    let topics =
        names.iter().flat_map(|name| [name.crash_topic(), name.memory_topic(), name.announcement_topic()]);
    let topics: Vec<_> = topics.collect();
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_str(), Qos::AtMostOnce)).collect();
    let needed = |topic: &str| !Crash::is_topic(topic);
    sender.link().subscribe_as_allowed(&filters, needed, BACKLOG).await.map(drop)
}
