use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::mqtt::{BACKLOG, Incoming, Link, LinkError, Message, Qos, Subscription, patiently};
use crate::wire::{Announcement, DeviceName, Status};

/// How long a device's announcement may come after the broker has said that it sent everything it keeps:
/// brokers with a distributed store do that.
const LATE_ANNOUNCEMENT: Duration = Duration::from_millis(50);

/// Where it is heard.
enum Source {
    Own(Subscription),
    /// Somebody listens to many devices, and passes on what this one says.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper does"))]
    Routed(mpsc::Receiver<Incoming>),
}

/// What one device says.
pub(crate) struct Feed {
    source: Source,
    announcement_topic: String,
    status_topic: String,
    /// What it has announced last, now or earlier.
    pub(crate) announcement: Option<Announcement>,
    /// When we last heard that it announced itself anew.
    pub(crate) announced_at: Option<Instant>,
    /// When the connection to the broker was last lost.
    pub(crate) lost_at: Option<Instant>,
}

/// One thing that was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The device's announcement came; what it says is in the [`Feed`].
    Announced {
        /// It was made now, or while the connection was lost: the device has booted, or had lost its own.
        anew: bool,
    },
    /// The device says what it did, perhaps with another offer.
    Status(Status),
    /// The connection to the broker is back; what was said in between is lost.
    Reconnected,
}

impl Feed {
    /// Subscribes to what `device` says, and waits for what it has announced.
    ///
    /// # Errors
    /// The connection to the broker is lost, or it forbids to subscribe.
    pub(crate) async fn of(device: &DeviceName, link: &Link) -> Result<Self, LinkError> {
        let (announcement_topic, status_topic) = (device.announcement_topic(), device.status_topic());
        // The status comes second: its acknowledgement shows that a retained announcement has come.
        let filters =
            [(announcement_topic.as_str(), Qos::AtMostOnce), (status_topic.as_str(), Qos::AtLeastOnce)];
        let subscription = patiently(|| link.subscribe(&filters, BACKLOG)).await?;
        let mut feed = Self::new(device, Source::Own(subscription));
        feed.catch_up();
        if feed.announcement.is_none() {
            let late = async { while !matches!(feed.next().await, None | Some(Heard::Announced { .. })) {} };
            let _ = timeout(LATE_ANNOUNCEMENT, late).await;
        }
        Ok(feed)
    }

    /// What `device` says as far as somebody passes it on, who has heard this announcement of it.
    #[cfg(feature = "keeper")]
    pub(crate) fn routed(
        device: &DeviceName,
        incoming: mpsc::Receiver<Incoming>,
        announcement: Option<Announcement>,
    ) -> Self {
        Self { announcement, ..Self::new(device, Source::Routed(incoming)) }
    }

    fn new(device: &DeviceName, source: Source) -> Self {
        Self {
            source,
            announcement_topic: device.announcement_topic(),
            status_topic: device.status_topic(),
            announcement: None,
            announced_at: None,
            lost_at: None,
        }
    }

    /// What is heard next; None once the link is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        loop {
            let incoming = match &mut self.source {
                Source::Own(subscription) => subscription.next().await?,
                Source::Routed(incoming) => incoming.recv().await?,
            };
            if let Some(heard) = self.understand(incoming) {
                return Some(heard);
            }
        }
    }

    /// Hears what has been said already. A status among it is no answer to what is offered from here on.
    pub(crate) fn catch_up(&mut self) {
        loop {
            let incoming = match &mut self.source {
                Source::Own(subscription) => subscription.try_next(),
                Source::Routed(incoming) => incoming.try_recv().ok(),
            };
            match incoming {
                Some(incoming) => drop(self.understand(incoming)),
                None => return,
            }
        }
    }

    /// Nothing where a message cannot be read, or was kept by the broker and should not have been.
    fn understand(&mut self, incoming: Incoming) -> Option<Heard> {
        let Message { topic, payload, retained } = match incoming {
            Incoming::Message(message) => message,
            Incoming::Reconnected => return Some(Heard::Reconnected),
            Incoming::Lost => {
                self.lost_at = Some(Instant::now());
                return None;
            }
        };
        if topic == self.status_topic && !retained {
            let status = Status::parse(&payload);
            let status = status.inspect_err(|error| tracing::warn!(topic, %error, "a status cannot be read"));
            return status.ok().map(Heard::Status);
        }
        // An empty message takes an announcement back.
        if topic != self.announcement_topic || payload.is_empty() {
            return None;
        }
        let announcement = Announcement::parse(&payload)
            .inspect_err(|error| tracing::warn!(topic, %error, "an announcement cannot be read"))
            .ok()?;
        // The broker keeps an announcement and does not say since when. One that came while the connection was
        // lost is known to be new where it is another than the last one that was heard.
        let is_other = self.lost_at.is_some() && self.announcement.as_ref() != Some(&announcement);
        let anew = !retained || is_other;
        if anew {
            self.announced_at = Some(Instant::now());
        }
        self.announcement = Some(announcement);
        Some(Heard::Announced { anew })
    }
}
