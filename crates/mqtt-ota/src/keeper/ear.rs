use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::folders::Folders;
use super::memory::Memory;
use super::outbox::{LEASES, lease_topic};
use crate::feed::{Feed, News, Unreadable};
use crate::mqtt::{Incoming, Link, LinkError, Message, NotPosted, Post, Qos, Subscription, inbox};
use crate::wire::{Announcement, Crash, DeviceName, State, Status};

/// Number of messages that may wait. The broker sends what it retains of every device at once when it is asked.
pub(super) const FLEET: usize = 32 * 1024;
/// Number of messages that may wait for the delivery to one device.
pub(super) const ROUTE: usize = 1024;

/// Number of devices without a folder that are remembered by name.
const WITHOUT: usize = 64;

/// Subscription to the messages of the devices that have a folder.
///
/// Messages of other devices are dropped, as anybody can invent names. Exceptions are the names of the first few that
/// announce themselves, and notes of keepers of this name.
pub(super) struct Ear {
    subscription: Subscription,
    /// Folders of the devices that are listened to.
    folders: Arc<Folders>,
    /// Routes by which a device's messages are passed on.
    routes: HashMap<DeviceName, Post<News>>,
    /// Name of the keeper that listens, if one does.
    keeper: Option<String>,
    /// First few devices that have announced themselves and have no folder.
    without: BTreeSet<DeviceName>,
    unreadable: Unreadable,
}

/// Single event, as it was heard.
#[derive(Debug)]
pub(super) enum Said {
    /// Announcement of a device. `anew`: it was made now, and the device is awake.
    Announced { device: DeviceName, announcement: Announcement, anew: bool },
    /// Withdrawal of a device's announcement by somebody.
    Withdrawn { device: DeviceName },
    /// Answer of a device to an offer. `is_unchanged`: the device has what is offered. `hidden_by`: the file that the
    /// device imports instead.
    Answered { device: DeviceName, state: State, is_unchanged: bool, hidden_by: Option<String> },
    /// Crash of a device's application. `None`: there is no crash any more. `anew`: the crash was reported now.
    Crashed { device: DeviceName, crash: Option<Crash>, anew: bool },
    /// Note of a keeper about a device. `None`: there is no note any more.
    Remembered { device: DeviceName, memory: Option<Memory> },
    /// Note of a keeper of this name about a device that has no folder.
    Odd { device: DeviceName },
    /// Id of the keeper of this name that is at work. Empty: none is.
    AtWork { keeper: String, id: String },
    /// Loss of messages, as more came at once than there was room for.
    Missed,
    /// Loss of the connection to the broker. Messages from here on are missed, except for those that the broker
    /// retains.
    Lost,
    /// Return of the connection to the broker. Retained messages come again.
    Reconnected,
}

impl Ear {
    /// Subscribes to the messages of all devices and all keepers. Retained messages come first, in this order: crashes,
    /// notes of keepers, announcements, and the leases of the keepers at work. `keeper`: the name of the keeper that
    /// listens.
    pub(super) async fn open(
        link: &Link,
        folders: Arc<Folders>,
        keeper: Option<String>,
    ) -> Result<Self, LinkError> {
        let devices = [
            (Crash::TOPIC_FILTER, Qos::AtMostOnce),
            ("+/OTA/keeper", Qos::AtMostOnce),
            ("+/OTA/status", Qos::AtLeastOnce),
            (DeviceName::ANNOUNCEMENT_FILTER, Qos::AtMostOnce),
        ];
        let leases = format!("{LEASES}+");
        // Some brokers send no retained message to a filter with a wildcard.
        let own = keeper.as_deref().map(lease_topic);
        let keepers = [leases.as_str()].into_iter().chain(own.as_deref());
        let keepers = keepers.map(|topic| (topic, Qos::AtLeastOnce));
        let filters: Vec<_> = devices.into_iter().chain(keepers).collect();
        let needed = |topic: &str| !Crash::is_topic(topic);
        let subscription = match link.subscribe_as_allowed(&filters, needed, FLEET).await {
            // Without the other leases, a keeper of another name is taken to be gone.
            Err(LinkError::SubscribeRefused { topic, .. }) if topic == leases => {
                let others: Vec<_> = filters.into_iter().filter(|(filter, _)| *filter != leases).collect();
                link.subscribe_as_allowed(&others, needed, FLEET).await?
            }
            subscribed => subscribed?,
        };
        Ok(Self {
            subscription,
            folders,
            routes: HashMap::new(),
            keeper,
            without: BTreeSet::new(),
            unreadable: Unreadable::default(),
        })
    }

    /// Listens to the devices that have a folder now, and to no others.
    pub(super) fn heed(&mut self, folders: &Arc<Folders>) {
        self.folders = Arc::clone(folders);
        self.routes.retain(|device, _| folders.devices.contains_key(device));
    }

    /// Returns the devices that have announced themselves and have no folder, or the first few of them.
    pub(super) fn without_folder(&self) -> &BTreeSet<DeviceName> {
        &self.without
    }

    /// Returns the next event, or `None` once the link is closed. The inner `None` is a message of no use. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Option<Said>> {
        let incoming = self.subscription.next().await?;
        Some(self.understand(incoming))
    }

    /// Returns the next event if it is here already. The inner `None` is a message of no use.
    pub(super) fn try_next(&mut self) -> Option<Option<Said>> {
        let incoming = self.subscription.try_next()?;
        Some(self.understand(incoming))
    }

    /// Passes on the messages of one device from here on, until the feed is dropped. `announced`: its announcement so
    /// far.
    pub(super) fn feed(&mut self, device: &DeviceName, announced: Option<Announcement>) -> Feed {
        let (route, news) = inbox(ROUTE);
        self.routes.insert(device.clone(), route);
        Feed::routed(news, announced)
    }

    fn understand(&mut self, incoming: Incoming<Message>) -> Option<Said> {
        match incoming {
            Incoming::Message(message) => match message.topic.strip_prefix(LEASES) {
                Some(keeper) => {
                    // The text is only compared with ids.
                    let id = String::from_utf8_lossy(&message.payload).into_owned();
                    Some(Said::AtWork { keeper: keeper.to_owned(), id })
                }
                None => self.of_device(&message),
            },
            Incoming::Missed(_) => Some(Said::Missed),
            Incoming::Lost => {
                self.each_route(Post::lost);
                Some(Said::Lost)
            }
            Incoming::Reconnected => {
                self.each_route(Post::reconnected);
                Some(Said::Reconnected)
            }
        }
    }

    fn of_device(&mut self, message: &Message) -> Option<Said> {
        let (device, last) = DeviceName::from_topic(&message.topic)?;
        if !self.folders.devices.contains_key(&device) {
            if last == "device" && !message.payload.is_empty() && self.without.len() < WITHOUT {
                self.without.insert(device);
                return None;
            }
            let keeper = self.keeper.as_ref().filter(|_| last == "keeper")?;
            let is_own = Memory::parse(&message.payload)?.keeper.as_ref() == Some(keeper);
            return is_own.then_some(Said::Odd { device });
        }
        match last {
            "status" => {
                let news = News::status(message, &mut self.unreadable)?;
                let News::Status(status) = &news else { return None };
                let (state, is_unchanged) = (status.state, status.detail == Status::UNCHANGED);
                let hidden_by = status.hidden_by().map(str::to_owned);
                self.pass(&device, || news);
                Some(Said::Answered { device, state, is_unchanged, hidden_by })
            }
            "device" if message.payload.is_empty() => Some(Said::Withdrawn { device }),
            "device" => {
                let news = News::announcement(message, &mut self.unreadable)?;
                let News::Announcement { announcement, retained } = news else { return None };
                self.pass(&device, || News::Announcement { announcement: announcement.clone(), retained });
                Some(Said::Announced { device, announcement: *announcement, anew: !retained })
            }
            "keeper" => Some(Said::Remembered { device, memory: Memory::parse(&message.payload) }),
            "crash" => {
                let (crash, anew) = (Crash::parse(&message.payload), !message.retained);
                Some(Said::Crashed { device, crash, anew })
            }
            _ => None,
        }
    }

    /// Passes on a device's message to its route, if there is one.
    fn pass(&mut self, device: &DeviceName, news: impl FnOnce() -> News) {
        if let Some(route) = self.routes.get(device)
            // A receiver that does not keep up misses the message.
            && (route.is_closed() || route.message(news()) == Err(NotPosted::Closed))
        {
            self.routes.remove(device);
        }
    }

    /// Tells something to every route that is still open.
    fn each_route(&mut self, tell: impl Fn(&Post<News>)) {
        self.routes.retain(|_, route| !route.is_closed());
        self.routes.values().for_each(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::folders::{FolderError, Kept};
    use crate::mqtt::{LinkConfig, Protocol, mock_broker::played};

    #[tokio::test]
    async fn what_a_device_says_of_an_offer_is_heard_of_those_with_a_folder() {
        let (broker, playing) = played(async |mut client| {
            for _ in 0..5 {
                client.subscribed().await;
            }
            // The device HALL has no folder.
            client.tell("HALL/OTA/status", format!("receiving|set|{}|", "0".repeat(64))).await;
            for state in ["receiving", "installed", "failed", "rolled-back"] {
                client.tell("LAMP/OTA/status", format!("{state}|set|{}|", "0".repeat(64))).await;
            }
            client
        })
        .await;
        let broker = broker.with_protocol(Protocol::V311);
        let link = Link::connect(&broker, LinkConfig::default()).await.unwrap();
        let error = Arc::new(FolderError::Twice { device: "LAMP".parse().unwrap() });
        let kept = Kept::Unusable { error, groups: None, places: Vec::new() };
        let devices = [("LAMP".parse().unwrap(), kept)].into();
        let mut folders = Folders::default();
        folders.devices = devices;
        let mut ear = Ear::open(&link, Arc::new(folders), None).await.unwrap();
        assert!(ear.next().await.unwrap().is_none());
        for expected in [State::Receiving, State::Installed, State::Failed, State::RolledBack] {
            let said = ear.next().await.unwrap();
            assert!(matches!(said, Some(Said::Answered { state, .. }) if state == expected), "{said:?}");
        }
        drop(playing.await.unwrap());
    }
}
