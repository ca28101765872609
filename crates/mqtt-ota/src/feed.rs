use std::fmt::Display;
use std::mem::take;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::mqtt::{BACKLOG, Inbox, Incoming, Link, LinkError, Message, Qos, Subscription};
use crate::wire::{Announcement, Crash, DeviceName, Status};

/// How long a device's announcement may come after the broker has said that it sent everything it keeps:
/// brokers with a distributed store do that. Only who can do nothing without one waits for it.
const LATE_ANNOUNCEMENT: Duration = Duration::from_millis(50);

/// How many crashes of one device are passed on: it may die without end.
const CRASHES: u32 = 10;

/// Where it is heard.
enum Source {
    Own {
        subscription: Subscription,
        announcement_topic: String,
        status_topic: String,
        crash_topic: String,
        unreadable: Unreadable,
    },
    /// Somebody listens to many devices, and passes on what this one says.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper does"))]
    Routed(Inbox<News>),
}

/// What came of one device. It is small: for each device there is room for some.
#[derive(Debug)]
pub(crate) enum News {
    /// The device's announcement; `retained` by the broker, or made now.
    Announcement { announcement: Box<Announcement>, retained: bool },
    /// It says what it did, perhaps with another offer.
    Status(Box<Status>),
    /// What its application has died of; None: nothing any more. `retained` by the broker, or said now.
    Crash { crash: Option<Crash>, retained: bool },
}

/// What one device says.
pub(crate) struct Feed {
    source: Source,
    /// What it has announced last, now or earlier.
    pub(crate) announcement: Option<Announcement>,
    /// When we last heard that it announced itself anew.
    pub(crate) announced_at: Option<Instant>,
    /// When the connection to the broker was last lost.
    pub(crate) lost_at: Option<Instant>,
    /// What its application has died of last.
    crash: Option<Crash>,
    /// How often that was passed on.
    crashes: u32,
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
    /// Its application has died of this, now or while the connection was lost.
    Crashed(Crash),
    /// The connection to the broker is back; what was said in between is lost.
    Reconnected,
}

impl Feed {
    /// Subscribes to what `device` says, and hears what it has announced.
    ///
    /// # Errors
    /// The connection to the broker is lost, or it forbids to subscribe.
    pub(crate) async fn of(device: &DeviceName, link: &Link) -> Result<Self, LinkError> {
        Self::with(device, link, false).await
    }

    /// The same, and to what the device's application dies of, where the broker allows to read that.
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

    /// Waits for an announcement that is late, where none has come.
    pub(crate) async fn late_announcement(&mut self) {
        if self.announcement.is_none() {
            self.announcement_within(LATE_ANNOUNCEMENT).await;
        }
    }

    /// Waits for the next announcement, for so long.
    pub(crate) async fn announcement_within(&mut self, limit: Duration) {
        let next = async { while !matches!(self.next().await, None | Some(Heard::Announced { .. })) {} };
        let _ = timeout(limit, next).await;
    }

    /// Hears what is said for so long, none of which is an answer to what is offered from then on.
    pub(crate) async fn hear_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        // What comes without end takes no longer.
        while Instant::now() < until
            && timeout_at(until, self.next()).await.is_ok_and(|heard| heard.is_some())
        {}
        // The link may be closed.
        sleep_until(until).await;
    }

    /// Where the device says that it is.
    pub(crate) fn device_address(&self) -> Option<IpAddr> {
        let address = self.announcement.as_ref()?.address?;
        (!address.is_unspecified() && !address.is_multicast()).then_some(address)
    }

    /// What a device says as far as somebody passes it on, who has heard this announcement of it.
    #[cfg(feature = "keeper")]
    pub(crate) fn routed(news: Inbox<News>, announcement: Option<Announcement>) -> Self {
        Self { announcement, ..Self::new(Source::Routed(news)) }
    }

    fn new(source: Source) -> Self {
        let (announcement, announced_at, lost_at) = (None, None, None);
        Self { source, announcement, announced_at, lost_at, crash: None, crashes: 0 }
    }

    /// What is heard next; None once the link is closed. Cancel safe.
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

    /// Hears what has been said already. A status among it is no answer to what is offered from here on.
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
                // The broker keeps an announcement and does not say since when. One that came while the connection
                // was lost is known to be new where it is another than the last one that was heard.
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
                // What the broker had kept before is no news.
                let is_new = !retained || (self.lost_at.is_some() && self.crash != crash);
                self.crash.clone_from(&crash);
                let crash = crash.filter(|_| is_new && self.crashes < CRASHES)?;
                self.crashes += 1;
                Some(Heard::Crashed(crash))
            }
            // What was dropped was said to nobody, as what is said while the connection is away.
            Incoming::Reconnected | Incoming::Missed(_) => Some(Heard::Reconnected),
            Incoming::Lost => {
                self.lost_at = Some(Instant::now());
                None
            }
        }
    }
}

impl News {
    /// Nothing where a message is of none of the topics: announcement, status, crash.
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

    /// Nothing where it cannot be read, or was kept by the broker and should not have been.
    pub(crate) fn status(message: &Message, unreadable: &mut Unreadable) -> Option<Self> {
        if message.retained {
            return None;
        }
        let status = Status::parse(&message.payload);
        let status = status.inspect_err(|error| unreadable.say("a status", message, error));
        status.ok().map(|status| Self::Status(Box::new(status)))
    }

    /// Nothing where it cannot be read, or takes an announcement back.
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

/// What is said of messages that cannot be read: now and then, as anybody can publish any number of them.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    said_at: Option<Instant>,
    /// How many came since.
    more: u64,
}

impl Unreadable {
    /// How long it is silent after it has said something.
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
