use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::mqtt::{Link, LinkError, Retention};

/// The pause before what the broker did not acknowledge is said to it again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// The pause after good news while devices are given their files.
const UNHURRIED: Duration = Duration::from_millis(20);
/// How many texts there may be that strangers have caused.
const ODD_MOST: usize = 1024;

/// What is to be retained at the broker, and is not yet: the last text for each topic. Cloning is cheap, and all clones
/// are one.
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
    /// Those that can wait for the others.
    later: BTreeMap<String, String>,
}

impl Outbox {
    /// `keeper`: what the keeper is called.
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

    /// What the keeper is called.
    pub(super) fn keeper(&self) -> &str {
        &self.0.keeper
    }

    /// Where keepers of this name say which of them is at work.
    pub(super) fn lease_topic(&self) -> &str {
        &self.0.lease_topic
    }

    /// Retains `text` at `topic`, instead of what waits to be retained there; an empty one is nothing any more.
    pub(super) fn put(&self, topic: String, text: String) {
        let mut waiting = self.waiting();
        waiting.later.remove(&topic);
        waiting.texts.insert(topic, text);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// The same, after whatever is more urgent.
    pub(super) fn put_later(&self, topic: String, text: String) {
        let mut waiting = self.waiting();
        waiting.texts.remove(&topic);
        waiting.later.insert(topic, text);
        drop(waiting);
        self.0.changed.notify_one();
    }

    /// Empties a topic that is nobody's any more, if there is room: strangers may cause it.
    pub(super) fn clear_odd(&self, topic: String) {
        let has_room = self.waiting().later.len() < ODD_MOST;
        if has_room {
            self.put_later(topic, String::new());
        }
    }

    /// Whether devices are given their files, which takes the broker's time.
    pub(super) fn set_busy(&self, is_busy: bool) {
        self.0.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Whether the broker has refused to keep what is to be known of a device.
    pub(super) fn is_refused(&self) -> bool {
        self.0.is_refused.load(Ordering::Relaxed)
    }

    /// Retains it all, one topic after the other. Who is at work comes first: others take over from a keeper that they
    /// do not hear.
    ///
    /// # Errors
    /// The broker refuses to be told who is at work.
    pub(super) async fn write_down(&self, link: &Link) -> Result<Infallible, LinkError> {
        loop {
            let Some((topic, text, is_urgent)) = self.take() else {
                self.0.changed.notified().await;
                continue;
            };
            match link.publish(&topic, text.clone(), Retention::Retained).await {
                Ok(_) if !is_urgent && self.0.is_busy.load(Ordering::Relaxed) => sleep(UNHURRIED).await,
                Ok(_) => {}
                // It may not have come. An old claim is worth nothing, though.
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

/// What every topic begins with where keepers say who is at work.
pub(super) const LEASES: &str = "mqtt-ota/keeper/";

/// Where the keepers of this name say which of them is at work.
pub(super) fn lease_topic(keeper: &str) -> String {
    format!("{LEASES}{keeper}")
}
