//! What devices print and log, and the last exception that the application of each did not catch.

mod event;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};

pub use event::{LastCrash, LogEvent};

use crate::error::SendError;
use crate::mqtt::{Ack, BACKLOG, Incoming, Link, LinkError, Message, Qos, Retention, Subscription};
use crate::sender::Sender;
use crate::wire::{Announcement, DeviceName, LogRequest, lost_lines};

/// For how long a device is asked to publish its log, in seconds.
const SECONDS: u16 = 60;
/// How long until it is asked again. A request that the broker holds for a device is of no use after that.
const ASK_AGAIN: Duration = Duration::from_secs(20);
/// How long the broker may be silent before it has sent all that it retains.
const LAST_RETAINED: Duration = Duration::from_millis(200);

/// The logs of some devices, as they come. The devices publish them as long as this is read.
pub struct DeviceLog<'a> {
    link: &'a Link,
    subscription: Subscription,
    devices: BTreeMap<DeviceName, Listened>,
    /// Requests that the broker has not acknowledged yet.
    asking: FuturesUnordered<BoxFuture<'a, (DeviceName, Result<Ack, LinkError>)>>,
    untold: VecDeque<LogEvent>,
    ask_at: Instant,
}

/// What is known of one device.
#[derive(Debug, Default)]
struct Listened {
    /// Whether it can publish its log; None: it has not announced itself.
    logs: Option<bool>,
    standing: Option<Standing>,
    is_asking: bool,
    /// It has announced itself anew, or the connection was lost, since it was asked.
    again: bool,
    /// The last crash that was told.
    crash: Option<String>,
}

/// What became of the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Asked,
    Away,
    Refused,
}

impl Sender {
    /// Listens to what devices print and log, and asks those for it that have announced that they can. What the broker has
    /// kept of their last crashes comes first.
    ///
    /// # Errors
    /// The connection to the broker is lost, or it forbids to subscribe.
    ///
    /// Cancellation: a device that was asked publishes its log for a minute.
    pub async fn log(&self, devices: &[DeviceName]) -> Result<DeviceLog<'_>, SendError> {
        let mut log = DeviceLog {
            link: self.link(),
            subscription: subscribe(self.link(), devices).await?,
            devices: devices.iter().map(|name| (name.clone(), Listened::default())).collect(),
            asking: FuturesUnordered::new(),
            untold: VecDeque::new(),
            ask_at: Instant::now() + ASK_AGAIN,
        };
        while let Some(incoming) = log.subscription.try_next() {
            log.hear(incoming);
        }
        for (name, device) in &log.devices {
            if device.logs != Some(true) {
                let (device, announced) = (name.clone(), device.logs.is_some());
                log.untold.push_back(LogEvent::NotAsked { device, announced });
            }
        }
        Ok(log)
    }

    /// Returns what the broker has kept of the last crash of each device, in the order of their names.
    ///
    /// # Errors
    /// The connection to the broker is lost, or it forbids to subscribe.
    ///
    /// Cancel safe.
    pub async fn last_crashes(&self, devices: &[DeviceName]) -> Result<Vec<LastCrash>, SendError> {
        let mut subscription = subscribe(self.link(), devices).await?;
        let mut found: BTreeMap<_, (Option<String>, bool)> =
            devices.iter().map(|name| (name.clone(), Default::default())).collect();
        while found.values().any(|(text, _)| text.is_none())
            && let Ok(Some(incoming)) = timeout(LAST_RETAINED, subscription.next()).await
        {
            let message = incoming.message()?;
            let Some((name, last)) = DeviceName::from_topic(&message.topic) else { continue };
            let Some((text, announced)) = found.get_mut(&name) else { continue };
            match last {
                "crash" if !message.payload.is_empty() => *text = Some(text_of(&message)),
                "device" if !message.payload.is_empty() => *announced = true,
                _ => {}
            }
        }
        let crashes = found.into_iter();
        Ok(crashes.map(|(device, (text, announced))| LastCrash { device, text, announced }).collect())
    }
}

/// What the broker retains comes before this returns, as nothing is retained on the last topics.
async fn subscribe(link: &Link, devices: &[DeviceName]) -> Result<Subscription, LinkError> {
    let retained = devices.iter().flat_map(|device| [device.announcement_topic(), device.crash_topic()]);
    let topics: Vec<_> = retained.chain(devices.iter().map(DeviceName::log_topic)).collect();
    let filters: Vec<_> = topics.iter().map(|topic| (topic.as_str(), Qos::AtMostOnce)).collect();
    link.subscribe(&filters, BACKLOG).await
}

fn text_of(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

impl DeviceLog<'_> {
    /// What happens next; None once the connection has ended for good. Cancel safe.
    ///
    /// It must be awaited for the devices to be asked again: each publishes its log for a minute, and is asked each 20 s.
    pub async fn next(&mut self) -> Option<LogEvent> {
        loop {
            if let Some(event) = self.untold.pop_front() {
                return Some(event);
            }
            tokio::select! {
                incoming = self.subscription.next() => self.hear(incoming?),
                Some((device, answer)) = self.asking.next() => self.answered(device, answer),
                () = sleep_until(self.ask_at) => self.ask_all(),
            }
        }
    }

    /// Tells the devices that nobody listens any more. Somebody else who does asks them again within 20 s.
    ///
    /// Cancellation: a device that was not told publishes its log for a minute.
    pub async fn stop(self) {
        let Self { link, devices, asking, .. } = self;
        drop(asking);
        let asked = devices.iter().filter(|(_, device)| device.may_be_asked());
        join_all(asked.map(|(name, _)| ask(link, name.clone(), LogRequest::STOP))).await;
    }

    fn hear(&mut self, incoming: Incoming<Message>) {
        match incoming {
            Incoming::Message(message) => self.message(&message),
            Incoming::Missed(count) => self.untold.push_back(LogEvent::Missed { count }),
            Incoming::Lost => self.untold.push_back(LogEvent::Lost),
            Incoming::Reconnected => {
                self.untold.push_back(LogEvent::Reconnected);
                self.ask_all();
            }
        }
    }

    fn message(&mut self, message: &Message) {
        let Some((name, last)) = DeviceName::from_topic(&message.topic) else { return };
        let Some(device) = self.devices.get_mut(&name) else { return };
        let (text, retained) = (text_of(message), message.retained);
        match last {
            "log" if !retained => {
                let lost = lost_lines(&text);
                self.untold.push_back(LogEvent::Line { device: name, text, lost });
            }
            "crash" if text.is_empty() => device.crash = None,
            // After a reconnect the broker sends again what it has kept.
            "crash" if !retained || device.crash.as_ref() != Some(&text) => {
                device.crash = Some(text.clone());
                self.untold.push_back(LogEvent::Crash { device: name, text, retained });
            }
            "device" => {
                let Ok(announcement) = Announcement::parse(&message.payload) else { return };
                let before = device.logs.replace(announcement.logs);
                // One that has booted has forgotten what it was asked.
                if !retained || before != device.logs {
                    self.ask(&name);
                }
            }
            _ => {}
        }
    }

    fn ask_all(&mut self) {
        self.ask_at = Instant::now() + ASK_AGAIN;
        let names: Vec<_> = self.devices.keys().cloned().collect();
        names.iter().for_each(|name| self.ask(name));
    }

    /// Asks a device for its log, if it can publish it.
    fn ask(&mut self, name: &DeviceName) {
        let Some(device) = self.devices.get_mut(name).filter(|device| device.may_be_asked()) else { return };
        device.again = device.is_asking;
        if !std::mem::replace(&mut device.is_asking, true)
            && let Some(request) = LogRequest::new(SECONDS)
        {
            self.asking.push(ask(self.link, name.clone(), request).boxed());
        }
    }

    fn answered(&mut self, name: DeviceName, answer: Result<Ack, LinkError>) {
        let Some(device) = self.devices.get_mut(&name) else { return };
        device.is_asking = false;
        let (standing, event) = match answer {
            Ok(Ack::Accepted) => (Standing::Asked, LogEvent::Asked { device: name.clone() }),
            Ok(Ack::NoSubscribers) => (Standing::Away, LogEvent::Away { device: name.clone() }),
            // Once the connection is back, all are asked.
            Err(LinkError::Lost) => return self.ask_if_due(&name),
            Err(error) => (Standing::Refused, LogEvent::Refused { device: name.clone(), error }),
        };
        if device.standing.replace(standing) != Some(standing) {
            self.untold.push_back(event);
        }
        self.ask_if_due(&name);
    }

    fn ask_if_due(&mut self, name: &DeviceName) {
        if self.devices.get(name).is_some_and(|device| device.again) {
            self.ask(name);
        }
    }
}

impl Listened {
    fn may_be_asked(&self) -> bool {
        self.logs == Some(true) && self.standing != Some(Standing::Refused)
    }
}

async fn ask(link: &Link, device: DeviceName, request: LogRequest) -> (DeviceName, Result<Ack, LinkError>) {
    let topic = device.offer_topic();
    let answer = link.publish(&topic, request.to_string(), Retention::For(ASK_AGAIN)).await;
    (device, answer)
}

#[cfg(test)]
mod tests;
