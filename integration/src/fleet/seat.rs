use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::hub::Hub;

/// A device's session over a connection that it shares, as behind a bridge. Whatever comes while it has none is lost.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    place: usize,
    /// Which of the sessions at this place it is.
    session: u64,
}

impl Seat {
    /// Waits for the hub that hears `topic` to have its broker.
    pub(super) async fn take(hubs: &[Arc<Hub>], topic: &str) -> Self {
        let found = hubs.iter().find_map(|hub| Some((Arc::clone(hub), hub.places().find(topic)?)));
        let (hub, place) = found.expect("each device is at one of the hubs");
        let session = poll_fn(|context| hub.places().poll_join(place, context)).await;
        Self { hub, place, session }
    }

    /// Publishes a message; it goes out with what others say at the time.
    pub(super) fn publish(&self, topic: String, payload: String, retain: bool) -> io::Result<()> {
        self.hub.places().say(self.place, self.session, topic, payload, retain)?;
        self.hub.wake();
        Ok(())
    }

    pub(super) async fn settle(&self) -> io::Result<()> {
        poll_fn(|context| self.hub.places().poll_settled(self.place, self.session, context)).await
    }

    /// Cancellation: nothing is lost.
    pub(super) async fn message(&self) -> io::Result<Bytes> {
        poll_fn(|context| self.hub.places().poll_message(self.place, self.session, context)).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.places().leave(self.place, self.session);
    }
}
