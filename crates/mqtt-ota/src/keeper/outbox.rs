use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::mqtt::{Link, LinkError, Retention};

/// Pause before a message that the broker did not acknowledge is published again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Pause after a message that can wait, while devices are given their files.
const UNHURRIED: Duration = Duration::from_millis(20);
/// Number of waiting messages at which further ones that strangers can cause are dropped.
const ODD_MOST: usize = 1024;

/// Messages that are still to be retained at the broker: the last text for each topic. Clones are cheap and share one
/// outbox.
#[derive(Debug, Clone)]
pub(super) struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keeper: String,
    lease_topic: String,
    waiting: Mutex<Waiting>,
    changed: Notify,
    is_busy: AtomicBool,
    is_refused: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    texts: BTreeMap<String, String>,
    /// Messages that can wait for the others.
    later: BTreeMap<String, String>,
}

impl Outbox {
    /// Creates the outbox of the keeper of this name.
    pub(super) fn new(keeper: String) -> Self {
        Self(Arc::new(Inner {
            lease_topic: lease_topic(&keeper),
            keeper,
            waiting: Mutex::default(),
            changed: Notify::new(),
            is_busy: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        }))
    }

    /// Returns the name of the keeper.
    pub(super) fn keeper(&self) -> &str {
        &self.0.keeper
    }

    /// Returns the topic on which keepers of this name say which of them is at work.
    pub(super) fn lease_topic(&self) -> &str {
        &self.0.lease_topic
    }

    /// Queues `text` to be retained at `topic`, instead of a text that waits there. An empty text clears the topic.
    pub(super) fn put(&self, topic: String, text: String) {
        let mut waiting = self.waiting();
        waiting.later.remove(&topic);
        waiting.texts.insert(topic, text);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Queues a text as [`Outbox::put`] does, to be sent after everything more urgent.
    pub(super) fn put_later(&self, topic: String, text: String) {
        let mut waiting = self.waiting();
        waiting.texts.remove(&topic);
        waiting.later.insert(topic, text);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Queues the clearing of a topic that has no owner any more, if there is room, because strangers can cause it.
    pub(super) fn clear_odd(&self, topic: String) {
        let has_room = self.waiting().later.len() < ODD_MOST;
        if has_room {
            self.put_later(topic, String::new());
        }
    }

    /// Sets whether devices are being given their files, which takes the broker's time.
    pub(super) fn set_busy(&self, is_busy: bool) {
        self.0.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Returns true if the broker has refused to retain a note about a device.
    pub(super) fn is_refused(&self) -> bool {
        self.0.is_refused.load(Ordering::Relaxed)
    }

    /// Publishes all messages, one topic after the other. The lease comes first: other keepers take over from a keeper
    /// that they do not hear.
    ///
    /// # Errors
    /// The broker refuses the message that says who is at work.
    pub(super) async fn write_down(&self, link: &Link) -> Result<Infallible, LinkError> {
        loop {
            let Some((topic, text, is_urgent)) = self.take() else {
                self.0.changed.notified().await;
                continue;
            };
            match link.publish(&topic, text.clone(), Retention::Retained).await {
                Ok(_) if !is_urgent && self.0.is_busy.load(Ordering::Relaxed) => sleep(UNHURRIED).await,
                Ok(_) => {}
                // The message may not have arrived. An old claim is worth nothing, though.
                Err(LinkError::Lost | LinkError::Unanswered) if topic == self.lease_topic() => {}
                Err(LinkError::Lost | LinkError::Unanswered) => {
                    self.put_back(topic, text);
                    sleep(WRITE_AGAIN).await;
                }
                Err(error) if topic == self.lease_topic() => return Err(error),
                Err(error) if self.0.is_refused.swap(true, Ordering::Relaxed) => {
                    tracing::debug!(topic, %error, "what is to be known of a device is not kept at the broker");
                }
                Err(error) => tracing::warn!(
                    "{error}: who keeps a device, and how it stands, is not known to `mqtt-ota status`, to other \
                     keepers, and after a restart; the broker's access list has to let this user write there (in \
                     Mosquitto: `topic readwrite +/OTA/keeper`)"
                ),
            }
        }
    }

    fn take(&self) -> Option<(String, String, bool)> {
        let waiting = &mut *self.waiting();
        let first = waiting.texts.remove_entry(self.lease_topic()).or_else(|| waiting.texts.pop_first());
        let urgent = first.map(|(topic, text)| (topic, text, true));
        urgent.or_else(|| waiting.later.pop_first().map(|(topic, text)| (topic, text, false)))
    }

    fn put_back(&self, topic: String, text: String) {
        let mut waiting = self.waiting();
        if !waiting.later.contains_key(&topic) {
            waiting.texts.entry(topic).or_insert(text);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prefix of the topics on which keepers say who is at work.
pub(super) const LEASES: &str = "mqtt-ota/keeper/";

/// Returns the topic on which keepers of this name say which of them is at work.
pub(super) fn lease_topic(keeper: &str) -> String {
    format!("{LEASES}{keeper}")
}
