//! Output and logs of devices, and the last exception that each device's application did not catch.

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

/// Time for which a device is asked to publish its log, in seconds.
const SECONDS: u16 = 60;
/// Interval at which devices are asked again. The broker drops an undelivered request after this time.
const ASK_AGAIN: Duration = Duration::from_secs(20);
/// Silence of the broker after which it has sent all retained messages.
const LAST_RETAINED: Duration = Duration::from_millis(200);

/// Live logs of some devices. The devices publish them as long as [`DeviceLog::next`] is called.
pub struct DeviceLog<'a> {
    link: &'a Link,
    subscription: Subscription,
    devices: BTreeMap<DeviceName, Listened>,
    /// Requests that the broker has not acknowledged yet.
    asking: FuturesUnordered<BoxFuture<'a, (DeviceName, Result<Ack, LinkError>)>>,
    untold: VecDeque<LogEvent>,
    ask_at: Instant,
}

/// Knowledge of one device.
#[derive(Debug, Default)]
struct Listened {
    /// True if the device can publish its log. `None` if it has not announced itself.
    logs: Option<bool>,
    standing: Option<Standing>,
    is_asking: bool,
    /// True if a further request is due once the one under way is acknowledged.
    again: bool,
    /// Last crash that was reported.
    crash: Option<String>,
}

/// Result of the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Asked,
    Away,
    Refused,
}

impl Sender {
    /// Listens to the output and logs of devices, and asks those that have announced that they can publish them.
    ///
    /// The last crashes that the broker has retained come first.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
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

    /// Returns the last crash of each device that the broker has retained, in the order of the devices' names.
    ///
    /// # Errors
    /// Returns an error if the connection to the broker is lost, or if the broker forbids subscribing.
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

/// Subscribes to the announcements, crashes and logs of devices. Nothing is retained on the last topics, so all
/// retained messages have come when this returns.
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
    /// Waits for the next event. `None` once the connection has ended for good. Cancel safe.
    ///
    /// A caller must keep calling this, because each device publishes its log for a minute and is asked again every 20
    /// s.
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

    /// Asks the devices to stop publishing their logs. Another listener asks them again within 20 s.
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
            // After a reconnect the broker sends its retained messages again.
            "crash" if !retained || device.crash.as_ref() != Some(&text) => {
                device.crash = Some(text.clone());
                self.untold.push_back(LogEvent::Crash { device: name, text, retained });
            }
            "device" => {
                let Ok(announcement) = Announcement::parse(&message.payload) else { return };
                let before = device.logs.replace(announcement.logs);
                // A device that has booted has forgotten the request.
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

    /// Asks a device for its log, if the device can publish it.
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
            // After a reconnect, all devices are asked.
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
