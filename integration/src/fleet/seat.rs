use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::hub::Hub;

/// Session of a device over a shared connection, as behind a bridge. Messages that come while the device has no session
/// are lost.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    place: usize,
    /// Number of the session, among those of this place.
    session: u64,
}

impl Seat {
    /// Waits until the hub for `topic` is connected to its broker.
    pub(super) async fn take(hubs: &[Arc<Hub>], topic: &str) -> Self {
        let found = hubs.iter().find_map(|hub| Some((Arc::clone(hub), hub.places().find(topic)?)));
        let (hub, place) = found.expect("each device is at one of the hubs");
        let session = poll_fn(|context| hub.places().poll_join(place, context)).await;
        Self { hub, place, session }
    }

    /// Publishes a message. It goes out with what other devices publish at the time.
    pub(super) fn publish(&self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        self.hub.places().say(self.place, self.session, topic, payload, retain)?;
        self.hub.wake();
        Ok(())
    }

    pub(super) async fn settle(&self) -> io::Result<()> {
        poll_fn(|context| self.hub.places().poll_settled(self.place, self.session, context)).await
    }

    /// Waits for the next message. Cancel safe: nothing is lost.
    pub(super) async fn message(&self) -> io::Result<Bytes> {
        poll_fn(|context| self.hub.places().poll_message(self.place, self.session, context)).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.places().leave(self.place, self.session);
    }
}
