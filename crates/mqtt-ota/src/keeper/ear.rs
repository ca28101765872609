use std::collections::HashMap;

use tokio::sync::mpsc;

use super::memory::Memory;
use super::word::Word;
use crate::feed::{Feed, News};
use crate::mqtt::{BACKLOG, Incoming, Link, LinkError, Qos, Subscription};
use crate::wire::{Announcement, DeviceName, State};

/// How many messages may wait: the broker names every device at once when it is asked.
const FLEET: usize = 256 * 1024;

/// What all devices say.
pub(super) struct Ear {
    subscription: Subscription,
    /// Where what a device says is passed on to.
    routes: HashMap<DeviceName, mpsc::Sender<News>>,
    topics: Option<Topics>,
}

/// Where the keepers of one name hear of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    /// Who is at work, retained.
    pub(super) lease: String,
    /// What those say that stand by.
    pub(super) hands: String,
    /// What is left to them.
    pub(super) task: String,
}

impl Topics {
    pub(super) fn of(name: &str) -> Self {
        let lease = format!("mqtt-ota/keeper/{name}");
        Self { hands: format!("{lease}/hands"), task: format!("{lease}/task"), lease }
    }

    /// The filter with which each task comes to one of those that stand by.
    pub(super) fn shared_task(&self) -> String {
        format!("$share/mqtt-ota/{}", self.task)
    }
}

/// One thing that was heard.
#[derive(Debug)]
pub(super) enum Said {
    /// A device has announced itself; `anew`: it did so now, and is awake.
    Announced { device: DeviceName, announcement: Announcement, anew: bool },
    /// A device has said what it does with an offer; `takes`: that it takes it, or has taken it.
    Answered { device: DeviceName, takes: bool },
    /// What a keeper before this one, or this one, remembers; None: nothing any more.
    Remembered { device: DeviceName, memory: Option<Memory> },
    /// Which keeper is at work; empty: none.
    AtWork { keeper: String },
    /// What another keeper says that stands by.
    Word(Word),
    /// The connection to the broker is lost: what is said from here on is missed, but for what the broker keeps.
    Lost,
    /// The connection to the broker is back. What the broker keeps comes again.
    Reconnected,
}

impl Ear {
    /// Subscribes to what all devices say. What the broker keeps comes first: what keepers remember, and then
    /// the announcements, and then, where it is asked for, which keeper is at work: that has arrived when this returns.
    pub(super) async fn open(link: &Link, topics: Option<Topics>) -> Result<Self, LinkError> {
        let devices = [
            ("+/OTA/keeper", Qos::AtMostOnce),
            ("+/OTA/status", Qos::AtLeastOnce),
            (DeviceName::ANNOUNCEMENTS, Qos::AtMostOnce),
        ];
        let keepers = topics.iter().flat_map(|topics| [topics.lease.as_str(), &topics.hands]);
        let keepers = keepers.map(|topic| (topic, Qos::AtLeastOnce));
        let filters: Vec<_> = devices.into_iter().chain(keepers).collect();
        let subscription = link.subscribe(&filters, FLEET).await?;
        Ok(Self { subscription, routes: HashMap::new(), topics })
    }

    /// What is heard next; None once the link is closed. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            let incoming = self.subscription.next().await?;
            if let Some(said) = self.understand(incoming) {
                return Some(said);
            }
        }
    }

    /// What is heard already.
    pub(super) fn try_next(&mut self) -> Option<Said> {
        loop {
            let incoming = self.subscription.try_next()?;
            if let Some(said) = self.understand(incoming) {
                return Some(said);
            }
        }
    }

    /// Passes on what one device says from here on, until the feed is dropped. `announced`: what it has announced
    /// so far.
    pub(super) fn feed(&mut self, device: &DeviceName, announced: Option<Announcement>) -> Feed {
        let (route, news) = mpsc::channel(BACKLOG);
        self.routes.insert(device.clone(), route);
        Feed::routed(news, announced)
    }

    fn understand(&mut self, incoming: Incoming) -> Option<Said> {
        let message = match incoming {
            Incoming::Message(message) => message,
            Incoming::Lost => {
                self.routes.retain(|_, route| passes(route, News::Lost));
                return Some(Said::Lost);
            }
            Incoming::Reconnected => {
                self.routes.retain(|_, route| passes(route, News::Reconnected));
                return Some(Said::Reconnected);
            }
        };
        match &self.topics {
            // Only a name is compared with it.
            Some(topics) if topics.lease == message.topic => {
                return Some(Said::AtWork { keeper: String::from_utf8_lossy(&message.payload).into_owned() });
            }
            Some(topics) if topics.hands == message.topic => {
                return Word::parse(&message.payload).map(Said::Word);
            }
            _ => {}
        }
        let (device, last) = DeviceName::from_topic(&message.topic)?;
        match last {
            "status" => {
                let news = News::status(&message)?;
                let takes = matches!(&news, News::Status(status)
                    if matches!(status.state, State::Receiving | State::Installed));
                self.pass(&device, || news);
                Some(Said::Answered { device, takes })
            }
            "device" => {
                let News::Announcement { announcement, retained } = News::announcement(&message)? else {
                    return None;
                };
                self.pass(&device, || News::Announcement { announcement: announcement.clone(), retained });
                Some(Said::Announced { device, announcement: *announcement, anew: !retained })
            }
            "keeper" => Some(Said::Remembered { device, memory: Memory::parse(&message.payload) }),
            _ => None,
        }
    }

    /// Passes on what a device says, where somebody wants to know.
    fn pass(&mut self, device: &DeviceName, news: impl FnOnce() -> News) {
        if let Some(route) = self.routes.get(device)
            && (route.is_closed() || !passes(route, news()))
        {
            self.routes.remove(device);
        }
    }
}

/// Whether somebody is still there. One that does not listen misses what is said.
fn passes(route: &mpsc::Sender<News>, news: News) -> bool {
    !matches!(route.try_send(news), Err(mpsc::error::TrySendError::Closed(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{LinkConfig, Protocol, played::played};

    #[tokio::test]
    async fn whoever_takes_an_offer_or_has_taken_it_says_so_and_nobody_else() {
        let (broker, playing) = played(async |mut client| {
            for _ in 0..3 {
                client.subscribed().await;
            }
            for state in ["receiving", "installed", "failed", "rolled-back"] {
                client.tell("LAMP/OTA/status", format!("{state}|set|{}|", "0".repeat(64))).await;
            }
            client
        })
        .await;
        let config = LinkConfig { client_id: "test".to_owned(), protocol: Some(Protocol::V311) };
        let link = Link::connect(&broker, config).await.unwrap();
        let mut ear = Ear::open(&link, None).await.unwrap();
        for expected in [true, true, false, false] {
            let said = ear.next().await.unwrap();
            assert!(matches!(said, Said::Answered { takes, .. } if takes == expected), "{said:?}");
        }
        drop(playing.await.unwrap());
    }
}
