use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::mqtt::{Lasting, Link, LinkError};

/// The pause before what the broker did not acknowledge is said to it again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// What is to be retained at the broker, and is not yet: the last text for each topic. Cloning is cheap, and all clones
/// are one.
#[derive(Debug, Clone)]
pub(super) struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lease_topic: Arc<str>,
    waiting: Mutex<BTreeMap<String, String>>,
    changed: Notify,
}

impl Outbox {
    /// `lease_topic`: where keepers say which of them is at work.
    pub(super) fn new(lease_topic: String) -> Self {
        let (waiting, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { lease_topic: lease_topic.into(), waiting, changed }))
    }

    pub(super) fn lease_topic(&self) -> &str {
        &self.0.lease_topic
    }

    /// Retains `text` at `topic`, instead of what waits to be retained there; an empty one is nothing any more.
    pub(super) fn put(&self, topic: String, text: String) {
        self.waiting().insert(topic, text);
        self.0.changed.notify_one();
    }

    /// Retains it all, one topic after the other. Who is at work comes first: others take over from a keeper that they
    /// do not hear.
    pub(super) async fn write_down(&self, link: &Link) -> Infallible {
        loop {
            let Some((topic, text)) = self.take() else {
                self.0.changed.notified().await;
                continue;
            };
            match link.publish(&topic, text.clone(), Lasting::Retained).await {
                Ok(_) => {}
                // It may not have come. An old claim is worth nothing, though.
                Err(LinkError::Lost) if topic != self.lease_topic() => {
                    self.waiting().entry(topic).or_insert(text);
                    sleep(WRITE_AGAIN).await;
                }
                Err(error) => {
                    tracing::warn!(topic, %error, "what is to be known of a device could not be kept at the broker");
                }
            }
        }
    }

    fn take(&self) -> Option<(String, String)> {
        let mut waiting = self.waiting();
        waiting.remove_entry(self.lease_topic()).or_else(|| waiting.pop_first())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
