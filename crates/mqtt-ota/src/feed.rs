use std::fmt::Display;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::mqtt::{BACKLOG, Inbox, Incoming, Link, LinkError, Message, Qos, Subscription};
use crate::wire::{Announcement, Crash, DeviceName, Status};

/// Time for which an announcement may be late, after the broker has acknowledged the subscription.
///
/// Brokers with a distributed store send it late. Only callers that cannot go on without an announcement wait for it.
const LATE_ANNOUNCEMENT: Duration = Duration::from_millis(50);

/// Largest number of crashes of one device that are passed on. A device may crash endlessly.
const CRASHES: u32 = 10;

/// Source of a device's messages.
enum Source {
    Own {
        subscription: Subscription,
        announcement_topic: String,
        status_topic: String,
        crash_topic: String,
        unreadable: Unreadable,
    },
    /// Queue of another listener, which hears many devices and passes on the messages of this one.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper does"))]
    Routed(Inbox<News>),
}

/// Message from one device. The type is small, because there is room for several messages of each device.
#[derive(Debug)]
pub(crate) enum News {
    /// Announcement of the device. `retained` by the broker, or made now.
    Announcement { announcement: Box<Announcement>, retained: bool },
    /// Report of the device, perhaps on another offer.
    Status(Box<Status>),
    /// Exception that ended the device's application. `None` clears it. `retained` by the broker, or reported now.
    Crash { crash: Option<Crash>, retained: bool },
}

/// Messages from one device.
pub(crate) struct Feed {
    source: Source,
    /// Last announcement of the device, made now or earlier.
    pub(crate) announcement: Option<Announcement>,
    /// Time at which the device was last heard to announce itself anew.
    pub(crate) announced_at: Option<Instant>,
    /// Time at which the connection to the broker was last lost.
    pub(crate) lost_at: Option<Instant>,
    /// Last crash of the device's application.
    crash: Option<Crash>,
    /// Number of crashes that were passed on.
    crashes: u32,
}

/// Event that a [`Feed`] yields.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The device's announcement came. Its content is in the [`Feed`].
    Announced {
        /// True if the announcement was made now, or while the connection was lost. The device has booted, or had lost
        /// its connection.
        anew: bool,
    },
    /// The device reports its progress, perhaps with another offer.
    Status(Status),
    /// The device's application has crashed, now or while the connection was lost.
    Crashed(Crash),
    /// The connection to the broker is back. Messages sent in between are lost.
    Reconnected,
}

impl Feed {
    /// Subscribes to the messages of `device`, and reads its retained announcement.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
    pub(crate) async fn of(device: &DeviceName, link: &Link) -> Result<Self, LinkError> {
        Self::with(device, link, false).await
    }

    /// Subscribes like [`Feed::of`], and also to crashes of the device's application if the broker allows reading them.
    pub(crate) async fn with_crashes(device: &DeviceName, link: &Link) -> Result<Self, LinkError> {
        Self::with(device, link, true).await
    }

    async fn with(device: &DeviceName, link: &Link, crashes: bool) -> Result<Self, LinkError> {
        let (announcement_topic, status_topic) = (device.announcement_topic(), device.status_topic());
        let crash_topic = device.crash_topic();
        // The status comes last: its acknowledgement shows that a retained announcement has come.
        let filters = [
            (crash_topic.as_str(), Qos::AtMostOnce),
            (announcement_topic.as_str(), Qos::AtMostOnce),
            (status_topic.as_str(), Qos::AtLeastOnce),
        ];
        let filters = filters.get(usize::from(!crashes)..).unwrap_or_default();
        let needed = |topic: &str| !Crash::is_topic(topic);
        let subscription = link.subscribe_as_allowed(filters, needed, BACKLOG).await?;
        let unreadable = Unreadable::default();
        let source = Source::Own { subscription, announcement_topic, status_topic, crash_topic, unreadable };
        let mut feed = Self::new(source);
        feed.catch_up();
        Ok(feed)
    }

    /// Waits for a late announcement, if there is none yet.
    pub(crate) async fn late_announcement(&mut self) {
        if self.announcement.is_none() {
            self.announcement_within(LATE_ANNOUNCEMENT).await;
        }
    }

    /// Waits for the next announcement, at most for `limit`.
    pub(crate) async fn announcement_within(&mut self, limit: Duration) {
        let next = async { while !matches!(self.next().await, None | Some(Heard::Announced { .. })) {} };
        let _ = timeout(limit, next).await;
    }

    /// Reads messages for `time`. None of them answers an offer made afterwards.
    pub(crate) async fn hear_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        // The check ends the loop even if messages come endlessly.
        while Instant::now() < until
            && timeout_at(until, self.next()).await.is_ok_and(|heard| heard.is_some())
        {}
        // The loop ends early if the link is closed.
        sleep_until(until).await;
    }

    /// Returns the address that the device has announced, if it is usable.
    pub(crate) fn device_address(&self) -> Option<IpAddr> {
        let address = self.announcement.as_ref()?.address?;
        (!address.is_unspecified() && !address.is_multicast()).then_some(address)
    }

    /// Creates a feed from messages that another listener passes on, which has heard this announcement.
    #[cfg(feature = "keeper")]
    pub(crate) fn routed(news: Inbox<News>, announcement: Option<Announcement>) -> Self {
        Self { announcement, ..Self::new(Source::Routed(news)) }
    }

    fn new(source: Source) -> Self {
        let (announcement, announced_at, lost_at) = (None, None, None);
        Self { source, announcement, announced_at, lost_at, crash: None, crashes: 0 }
    }

    /// Waits for the next event. `None` once the link is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        loop {
            let news = match &mut self.source {
                Source::Own { subscription, announcement_topic, status_topic, crash_topic, unreadable } => {
                    let topics = [announcement_topic, status_topic, crash_topic].map(|topic| topic.as_str());
                    News::of(subscription.next().await?, topics, unreadable)
                }
                Source::Routed(news) => Some(news.next().await?),
            };
            if let Some(heard) = news.and_then(|news| self.hear(news)) {
                return Some(heard);
            }
        }
    }

    /// Reads the messages that are here already. A status among them answers no offer made afterwards.
    pub(crate) fn catch_up(&mut self) {
        loop {
            let news = match &mut self.source {
                Source::Own { subscription, announcement_topic, status_topic, crash_topic, unreadable } => {
                    let Some(incoming) = subscription.try_next() else { return };
                    let topics = [announcement_topic, status_topic, crash_topic].map(|topic| topic.as_str());
                    News::of(incoming, topics, unreadable)
                }
                Source::Routed(news) => match news.try_next() {
                    Some(news) => Some(news),
                    None => return,
                },
            };
            let _ = news.and_then(|news| self.hear(news));
        }
    }

    fn hear(&mut self, news: Incoming<News>) -> Option<Heard> {
        match news {
            Incoming::Message(News::Announcement { announcement, retained }) => {
                // The broker does not tell the age of a retained announcement. An announcement that came while the
                // connection was lost is known to be new if it differs from the last one.
                let is_other = self.lost_at.is_some() && self.announcement.as_ref() != Some(&*announcement);
                let anew = !retained || is_other;
                if anew {
                    self.announced_at = Some(Instant::now());
                }
                self.announcement = Some(*announcement);
                Some(Heard::Announced { anew })
            }
            Incoming::Message(News::Status(status)) => Some(Heard::Status(*status)),
            Incoming::Message(News::Crash { crash, retained }) => {
                // A crash that the broker had retained before is not new.
                let is_new = !retained || (self.lost_at.is_some() && self.crash != crash);
                self.crash.clone_from(&crash);
                let crash = crash.filter(|_| is_new && self.crashes < CRASHES)?;
                self.crashes += 1;
                Some(Heard::Crashed(crash))
            }
            // Dropped messages reached no reader, like messages sent while the connection is lost.
            Incoming::Reconnected | Incoming::Missed(_) => Some(Heard::Reconnected),
            Incoming::Lost => {
                self.lost_at = Some(Instant::now());
                None
            }
        }
    }
}

impl News {
    /// Reads a message on one of the topics of the announcement, the status and the crash. `None` for any other topic.
    fn of(
        incoming: Incoming<Message>,
        [announcement_topic, status_topic, crash_topic]: [&str; 3],
        unreadable: &mut Unreadable,
    ) -> Option<Incoming<Self>> {
        let message = match incoming {
            Incoming::Message(message) => message,
            Incoming::Missed(count) => return Some(Incoming::Missed(count)),
            Incoming::Lost => return Some(Incoming::Lost),
            Incoming::Reconnected => return Some(Incoming::Reconnected),
        };
        let news = if message.topic == status_topic {
            Self::status(&message, unreadable)
        } else if message.topic == announcement_topic {
            Self::announcement(&message, unreadable)
        } else if message.topic == crash_topic {
            Some(Self::Crash { crash: Crash::parse(&message.payload), retained: message.retained })
        } else {
            None
        };
        news.map(Incoming::Message)
    }

    /// Reads a status. `None` if it is malformed, or if the broker had retained it, which it should not.
    pub(crate) fn status(message: &Message, unreadable: &mut Unreadable) -> Option<Self> {
        if message.retained {
            return None;
        }
        let status = Status::parse(&message.payload);
        let status = status.inspect_err(|error| unreadable.say("a status", message, error));
        status.ok().map(|status| Self::Status(Box::new(status)))
    }

    /// Reads an announcement. `None` if it is malformed, or clears the announcement.
    pub(crate) fn announcement(message: &Message, unreadable: &mut Unreadable) -> Option<Self> {
        if message.payload.is_empty() {
            return None;
        }
        let announcement = Announcement::parse(&message.payload);
        let announcement =
            announcement.inspect_err(|error| unreadable.say("an announcement", message, error));
        let retained = message.retained;
        announcement.ok().map(|read| Self::Announcement { announcement: Box::new(read), retained })
    }
}

/// Warnings about malformed messages. They are limited in number, because anybody can publish any number of such
/// messages.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    said_at: Option<Instant>,
    /// Number of malformed messages since the last warning.
    more: u64,
}

impl Unreadable {
    /// Shortest time between two warnings.
    const PAUSE: Duration = Duration::from_secs(10);

    fn say(&mut self, what: &str, message: &Message, error: &impl Display) {
        let now = Instant::now();
        if self.said_at.is_some_and(|at| now < at + Self::PAUSE) {
            self.more += 1;
            return;
        }
        self.said_at = Some(now);
        let (topic, more) = (&message.topic, take(&mut self.more));
        tracing::warn!(topic, %error, more_since_last_time = more, "{what} cannot be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_said_now_and_then() {
        let message = |payload: &'static str| Message {
            topic: "LAMP/OTA/status".to_owned(),
            payload: payload.into(),
            retained: false,
        };
        let mut unreadable = Unreadable::default();
        for _ in 0..1_000 {
            assert!(News::status(&message("nonsense"), &mut unreadable).is_none());
        }
        assert_eq!(unreadable.more, 999);
        tokio::time::advance(Unreadable::PAUSE).await;
        assert!(News::announcement(&message("nonsense"), &mut unreadable).is_none());
        assert_eq!(unreadable.more, 0, "they were counted in what was said");
    }
}
