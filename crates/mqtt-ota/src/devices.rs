//! List of the known devices, and of those that are reachable now.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::SendError;
use crate::mqtt::{Ack, Incoming, LinkError, Message, Qos, Retention, Subscription};
use crate::sender::Sender;
use crate::wire::{Announcement, Crash, DeviceName, SEPARATOR};

/// Largest number of waiting messages, and of listed devices. The broker names all devices at once, and anybody can
/// invent names.
const FLEET: usize = 64 * 1024;
/// Silence of the broker after which the list of devices counts as complete.
const LAST_DEVICE: Duration = Duration::from_millis(200);
/// Number of questions to devices that may wait for the broker's acknowledgement at once.
const AT_ONCE: usize = 64;
/// Filter that matches the memories that keepers save of every device.
const MEMORIES: &str = "+/OTA/keeper";

/// Devices to look for, and the time for their answers.
#[derive(Debug, Clone)]
pub struct SurveyOptions {
    /// Devices to look for by name. Default: none.
    ///
    /// Some brokers (RabbitMQ) send retained messages only to a client that subscribes to the exact topic.
    pub names: Vec<DeviceName>,
    /// Lists all other devices that have announced themselves, too. Default: true.
    pub all: bool,
    /// Time for a device to answer that it is reachable. `None` asks no device. Default: 6 s, because a device answers
    /// at most once in 5 s.
    pub timeout: Option<Duration>,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self { names: Vec::new(), all: true, timeout: Some(Duration::from_secs(6)) }
    }
}

/// Knowledge of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownDevice {
    /// Name of the device.
    pub name: DeviceName,
    /// Last announcement of the device. `None` if the broker retains none, which happens only to a device that was
    /// looked for by name.
    pub announcement: Option<Announcement>,
    /// Presence of the device now.
    pub presence: Presence,
    /// Time at which the device was last heard: now, or the time that a keeper remembers. `None` if unknown.
    pub last_heard: Option<SystemTime>,
    /// Last exception that the device's application did not catch. `None` also if the broker forbids reading it.
    pub crash: Option<Crash>,
}

/// Presence of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Presence {
    /// The device has just announced itself.
    Reachable,
    /// The broker reports that the device is not connected (MQTT 5 only).
    Away,
    /// The device was asked, and did not answer in time.
    Silent,
    /// The presence is not known: the device does not answer such questions, or was not asked.
    #[default]
    Unknown,
}

/// Retained messages of a device that were cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Forgotten {
    /// True if there was an announcement.
    pub announcement: bool,
    /// True if there was a keeper's memory of the device.
    pub memory: bool,
    /// True if there was an exception that the device's application did not catch.
    pub crash: bool,
}

impl Sender {
    /// Returns the devices that have announced themselves, by name. Waits until the broker has sent its retained
    /// messages.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
    ///
    /// Cancel safe.
    pub async fn devices(&self) -> Result<Vec<(DeviceName, Announcement)>, SendError> {
        let mut census = Census::open(self, &[DeviceName::ANNOUNCEMENT_FILTER.to_owned()]).await?;
        census.gather(None).await?;
        let found = census.found.into_iter();
        let mut devices: Vec<_> =
            found.filter_map(|(name, found)| Some((name, found.announcement?))).collect();
        devices.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(devices)
    }

    /// Returns the names of devices that have announced themselves, in order.
    ///
    /// After the time `within`, returns the names that it has heard of by then.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
    ///
    /// Cancel safe.
    pub async fn device_names(&self, within: Duration) -> Result<Vec<DeviceName>, SendError> {
        let by = Instant::now() + within;
        let filters = [DeviceName::ANNOUNCEMENT_FILTER.to_owned()];
        let Ok(census) = timeout_at(by, Census::open(self, &filters)).await else { return Ok(Vec::new()) };
        let mut census = census?;
        census.gather(Some(by)).await?;
        let found = census.found.into_iter();
        let mut names: Vec<_> = found.filter_map(|(name, found)| found.announcement.map(|_| name)).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the known devices, by name, and asks those that answer such questions for their presence.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
    ///
    /// Cancellation: a device that was asked may still answer, with an announcement like any other.
    pub async fn survey(&self, options: &SurveyOptions) -> Result<Vec<KnownDevice>, SendError> {
        let mut census = Census::of(self, options).await?;
        census.gather(None).await?;
        if let Some(timeout) = options.timeout {
            census.ask(self, timeout).await?;
        }
        let now = SystemTime::now();
        let mut found = census.found;
        for name in &options.names {
            found.entry(name.clone()).or_default();
        }
        let is_listed =
            |name: &DeviceName, found: &Found| found.announcement.is_some() || options.names.contains(name);
        let mut devices: Vec<_> = found
            .into_iter()
            .filter(|(name, found)| is_listed(name, found))
            .map(|(name, found)| {
                let last_heard = match found.presence {
                    Presence::Reachable => Some(now),
                    _ => found.last_heard,
                };
                let Found { announcement, presence, crash, .. } = found;
                KnownDevice { name, announcement, presence, last_heard, crash }
            })
            .collect();
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(devices)
    }

    /// Clears the retained messages of a device: its announcement, its last crash, and a keeper's memory of it.
    ///
    /// A device that is still there announces itself again when it next connects or boots.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing or publishing.
    /// Returns [`SendError::StillThere`] if the broker still retains a message afterwards, because some brokers forbid
    /// silently.
    ///
    /// Cancellation: some of the messages may be cleared.
    pub async fn forget(&self, device: &DeviceName) -> Result<Forgotten, SendError> {
        let topics = [device.announcement_topic(), device.memory_topic(), device.crash_topic()];
        let before = self.retained(&topics).await?;
        for topic in &before {
            self.link().publish(topic, "", Retention::Retained).await?;
        }
        let after = self.retained(&topics).await?;
        if let Some(topic) = after.into_iter().next() {
            return Err(SendError::StillThere { topic });
        }
        let [announcement, memory, crash] = topics.map(|topic| before.contains(&topic));
        Ok(Forgotten { announcement, memory, crash })
    }

    /// Returns those of the topics on which the broker retains a message.
    async fn retained(&self, topics: &[String]) -> Result<Vec<String>, SendError> {
        let filters: Vec<_> = topics.iter().map(|topic| (topic.as_str(), Qos::AtMostOnce)).collect();
        let needed = |topic: &str| !Crash::is_topic(topic);
        let mut subscription = self.link().subscribe_as_allowed(&filters, needed, FLEET).await?;
        let mut retained = Vec::new();
        let whole_at = Instant::now() + LAST_DEVICE;
        while retained.len() < topics.len()
            && let Ok(Some(incoming)) = timeout_at(whole_at, subscription.next()).await
        {
            let message = incoming.message()?;
            if message.retained && !message.payload.is_empty() && !retained.contains(&message.topic) {
                retained.push(message.topic);
            }
        }
        Ok(retained)
    }
}

/// Messages heard from one device.
#[derive(Debug, Default)]
struct Found {
    announcement: Option<Announcement>,
    presence: Presence,
    last_heard: Option<SystemTime>,
    crash: Option<Crash>,
    /// True if the device was asked, and has neither answered nor turned out to be away.
    is_asked: bool,
}

/// Subscription to the devices' topics, with the devices found so far.
struct Census {
    subscription: Subscription,
    found: HashMap<DeviceName, Found>,
    /// Number of announced devices at which the list is complete. `None` if it is not known.
    whole: Option<usize>,
    /// Number of devices that were asked and may still answer.
    open: usize,
}

impl Census {
    async fn open(sender: &Sender, filters: &[String]) -> Result<Self, LinkError> {
        let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), Qos::AtMostOnce)).collect();
        let needed = |topic: &str| !Crash::is_topic(topic);
        let subscription = sender.link().subscribe_as_allowed(&filters, needed, FLEET).await?;
        Ok(Self { subscription, found: HashMap::new(), whole: None, open: 0 })
    }

    /// Opens the census of the devices to look for.
    ///
    /// Topics that the user may not read are left out, unless they were asked for by name.
    async fn of(sender: &Sender, options: &SurveyOptions) -> Result<Self, LinkError> {
        let (mut remembers, mut lists) = (true, options.all);
        loop {
            // Keepers' memories and crashes come first. Once there is an announcement, everything about the device is
            // known.
            let mut filters = Vec::new();
            let wildcards =
                [(true, Crash::TOPIC_FILTER), (remembers, MEMORIES), (true, DeviceName::ANNOUNCEMENT_FILTER)];
            filters.extend(
                wildcards.iter().filter(|(wanted, _)| *wanted && lists).map(|(_, f)| (*f).to_owned()),
            );
            for name in &options.names {
                filters.push(name.crash_topic());
                filters.extend(remembers.then(|| name.memory_topic()));
                filters.push(name.announcement_topic());
            }
            match Self::open(sender, &filters).await {
                Err(LinkError::SubscribeRefused { topic, .. })
                    if remembers && topic.ends_with("/OTA/keeper") =>
                {
                    tracing::debug!(topic, "what keepers remember may not be read");
                    remembers = false;
                }
                Err(LinkError::SubscribeRefused { topic, .. } | LinkError::NoWildcards { topic })
                    if lists && topic.starts_with('+') && !options.names.is_empty() =>
                {
                    tracing::warn!(topic, "the broker does not allow to list all devices");
                    lists = false;
                }
                opened => {
                    let whole = (!lists).then_some(options.names.len());
                    return opened.map(|census| Self { whole, ..census });
                }
            }
        }
    }

    /// Reads the broker's retained messages, until it is silent.
    async fn gather(&mut self, by: Option<Instant>) -> Result<(), LinkError> {
        let until = |whole_at: Instant| by.map_or(whole_at, |by| by.min(whole_at));
        let mut whole_at = until(Instant::now() + LAST_DEVICE);
        while !self.is_whole()
            && let Ok(Some(incoming)) = timeout_at(whole_at, self.subscription.next()).await
            && Instant::now() < whole_at
        {
            // Messages published meanwhile are not retained ones, and may never end.
            if self.hear(incoming)? {
                whole_at = until(Instant::now() + LAST_DEVICE);
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        let announced = || self.found.values().filter(|found| found.announcement.is_some()).count();
        self.whole.is_some_and(|whole| announced() >= whole)
    }

    /// Takes in one message. Returns true if the broker had retained it.
    fn hear(&mut self, incoming: Incoming<Message>) -> Result<bool, LinkError> {
        // An interrupted list must not pass for a shorter list.
        let Message { topic, payload, retained } = incoming.message()?;
        let Some((name, last)) = DeviceName::from_topic(&topic) else { return Ok(retained) };
        if self.found.len() >= FLEET && !self.found.contains_key(&name) {
            return Ok(retained);
        }
        match last {
            "keeper" => self.found.entry(name).or_default().last_heard = last_heard(&payload),
            "crash" => self.found.entry(name).or_default().crash = Crash::parse(&payload),
            // Somebody clears the announcement.
            "device" if payload.is_empty() => {
                self.settle(&name, Presence::Unknown);
                self.found.remove(&name);
            }
            "device" => match Announcement::parse(&payload) {
                Ok(announcement) => {
                    self.found.entry(name.clone()).or_default().announcement = Some(announcement);
                    if !retained {
                        self.settle(&name, Presence::Reachable);
                    }
                }
                Err(error) => tracing::warn!(device = %name, %error, "an announcement cannot be read"),
            },
            _ => {}
        }
        Ok(retained)
    }

    /// Asks the devices that answer such questions for their presence, and waits for their answers.
    async fn ask(&mut self, sender: &Sender, timeout: Duration) -> Result<(), SendError> {
        let mut names = Vec::new();
        for (name, found) in &mut self.found {
            let answers = found.announcement.as_ref().is_some_and(|announcement| announcement.asks);
            found.is_asked = answers && found.presence == Presence::Unknown;
            names.extend(found.is_asked.then(|| name.clone()));
        }
        self.open = names.len();
        let ask = async |name: DeviceName| {
            let topic = name.offer_topic();
            (name, sender.link().publish(&topic, Announcement::REQUEST, Retention::For(timeout)).await)
        };
        let mut asking = stream::iter(names).map(ask).buffer_unordered(AT_ONCE).fuse();
        let mut give_up = Instant::now() + timeout;
        let mut is_asking = true;
        while is_asking || (self.open > 0 && Instant::now() < give_up) {
            tokio::select! {
                asked = asking.next(), if is_asking => match asked {
                    None => is_asking = false,
                    Some((name, acknowledged)) => {
                        give_up = Instant::now() + timeout;
                        self.acknowledged(&name, acknowledged)?;
                    }
                },
                incoming = self.subscription.next() => {
                    self.hear(incoming.ok_or(LinkError::Lost)?)?;
                }
                () = sleep_until(give_up), if !is_asking => {}
            }
        }
        for found in self.found.values_mut().filter(|found| found.is_asked) {
            found.presence = Presence::Silent;
        }
        Ok(())
    }

    /// Sets the presence of a device, for which no further answer is expected.
    fn settle(&mut self, name: &DeviceName, presence: Presence) {
        let Some(found) = self.found.get_mut(name) else { return };
        found.presence = presence;
        if std::mem::take(&mut found.is_asked) {
            self.open = self.open.saturating_sub(1);
        }
    }

    fn acknowledged(&mut self, name: &DeviceName, answer: Result<Ack, LinkError>) -> Result<(), LinkError> {
        if !self.found.get(name).is_some_and(|found| found.is_asked) {
            return Ok(());
        }
        match answer {
            Ok(Ack::Accepted) => {}
            Ok(Ack::NoSubscribers) => self.settle(name, Presence::Away),
            Err(LinkError::PublishRefused { topic, reason }) => {
                tracing::warn!(topic, %reason, "the broker does not allow to ask whether a device is there");
                self.settle(name, Presence::Unknown);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Returns the time at which a keeper last heard the device, from the keeper's memory on `NAME/OTA/keeper`.
pub(crate) fn last_heard(memory: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(memory).ok()?;
    let seconds = text.split(SEPARATOR).find_map(|field| field.strip_prefix("heard="))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Protocol;
    use crate::mqtt::mock_broker::played;
    use crate::sender::Config;
    use tokio::time::timeout;

    /// Far longer than anything here takes.
    const GUARD: Duration = Duration::from_secs(30);

    async fn connect(broker: crate::Broker) -> Sender {
        Sender::connect(broker.with_protocol(Protocol::V311), Config::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_list_of_devices_that_breaks_off_is_an_error_and_not_a_shorter_list() {
        let (broker, playing) = played(async |mut client| {
            client.subscribed().await;
            client.tell_kept("LAMP/OTA/device", "v=1").await;
        })
        .await;
        let sender = connect(broker).await;
        assert!(matches!(sender.devices().await, Err(SendError::Broker(LinkError::Lost))));
        playing.await.unwrap();
    }

    #[tokio::test]
    async fn a_list_of_devices_ends_though_one_announces_itself_without_end() {
        let (broker, playing) = played(async |mut client| {
            client.subscribed().await;
            client.tell_kept("LAMP/OTA/device", "v=1").await;
            client.tell_for_ever("HALL/OTA/device", "v=1").await;
        })
        .await;
        let sender = connect(broker).await;
        let devices = timeout(GUARD, sender.devices()).await.unwrap().unwrap();
        assert_eq!(devices.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["HALL", "LAMP"]);
        drop(sender);
        playing.await.unwrap();
    }

    #[tokio::test]
    async fn names_that_come_without_end_are_waited_for_no_longer_than_was_said() {
        let (broker, playing) = played(async |mut client| {
            client.subscribed().await;
            for number in 0_u64.. {
                if !client.tries_to_tell_kept(&format!("D{number}/OTA/device"), "v=1").await {
                    return;
                }
            }
        })
        .await;
        let sender = connect(broker).await;
        let names = timeout(GUARD, sender.device_names(Duration::from_millis(300))).await.unwrap().unwrap();
        assert!(!names.is_empty() && names.len() <= FLEET);
        drop(sender);
        playing.await.unwrap();
    }
}
