//! Devices that have a folder and were not heard of are asked for by name.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mqtt::{BACKLOG, Qos};
use crate::sender::Sender;
use crate::wire::DeviceName;

/// How long the broker may take to say what it keeps of all devices.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many names are asked for at a time.
const AT_ONCE: usize = 32;

/// Of thousands of announcements that the broker is asked for at once it may leave some out, and does not say so:
/// Mosquitto drops what a slow network does not take, beyond 1,000 messages.
#[derive(Default)]
pub(super) struct RollCall {
    at: Option<Instant>,
    asked: HashSet<DeviceName>,
    asking: JoinSet<()>,
}

impl RollCall {
    /// When it is to be seen who is missing.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// There may be others now.
    pub(super) fn arrange(&mut self) {
        self.at = Some(Instant::now() + PATIENCE);
    }

    /// The broker says anew what it keeps.
    pub(super) fn begin_anew(&mut self) {
        self.asked.clear();
        self.arrange();
    }

    /// Asks for each of the `missing` once, if it is time. What the broker keeps of them comes to whoever hears all
    /// devices.
    pub(super) fn call<'a>(&mut self, missing: impl Iterator<Item = &'a DeviceName>, sender: &Arc<Sender>) {
        if self.at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.at = None;
        while self.asking.try_join_next().is_some() {}
        let names: Vec<_> = missing.filter(|name| self.asked.insert((*name).clone())).cloned().collect();
        if names.is_empty() {
            return;
        }
        tracing::debug!(count = names.len(), "asking for devices that were not heard of");
        let sender = Arc::clone(sender);
        self.asking.spawn(async move {
            for some in names.chunks(AT_ONCE) {
                ask(&sender, some).await;
            }
        });
    }
}

async fn ask(sender: &Sender, names: &[DeviceName]) {
    let topics: Vec<_> = names.iter().map(DeviceName::announcement_topic).collect();
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_str(), Qos::AtMostOnce)).collect();
    if let Err(error) = sender.link().subscribe(&filters, BACKLOG).await {
        tracing::debug!(%error, "devices that were not heard of cannot be asked for");
    }
}
