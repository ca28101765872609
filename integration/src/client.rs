use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use crate::runtime::{GUARD, runtime, within};

/// Longest message that the client sends or takes, in bytes: far more than the protocol allows.
const MAX_MESSAGE: usize = 4 << 20;

/// Message as it came from the broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic that the message was published on.
    pub topic: String,
    /// Whole payload.
    pub payload: Vec<u8>,
    /// True if the broker had retained the message.
    pub retained: bool,
}

impl Message {
    /// Returns the payload as text, with replacements for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {:?}", self.topic, if self.retained { " (retained)" } else { "" }, self.text())
    }
}

/// MQTT 3.1.1 client that a test drives. All messages have QoS 1 and are acknowledged when a call returns.
pub struct Client {
    mqtt: AsyncClient,
    messages: Receiver<Message>,
    acknowledgements: Receiver<()>,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects to `broker`, with its login, as the client `id`.
    pub fn connect(broker: &impl Endpoint, id: &str) -> Self {
        Self::with(broker, id, true)
    }

    /// Connects as a device whose session the broker keeps while the device sleeps.
    pub fn returning(broker: &impl Endpoint, id: &str) -> Self {
        Self::with(broker, id, false)
    }

    fn with(broker: &impl Endpoint, id: &str, is_clean: bool) -> Self {
        let address = broker.address();
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_max_packet_size(MAX_MESSAGE, MAX_MESSAGE).set_keep_alive(Duration::from_secs(600));
        options.set_clean_session(is_clean);
        if let Some((user, password)) = broker.login() {
            options.set_credentials(user, password);
        }
        let (mqtt, events) = AsyncClient::new(options, 16);
        let (told, messages) = channel();
        let (acknowledged, acknowledgements) = channel();
        let task = runtime().spawn(pump(events, told, acknowledged));
        Self { mqtt, messages, acknowledgements, task }
    }

    /// Subscribes to `filter`.
    pub fn subscribe(&self, filter: &str) -> &Self {
        within("a subscription", self.mqtt.subscribe(filter, QoS::AtLeastOnce)).unwrap();
        self.wait_for_acknowledgement(filter);
        self
    }

    /// Publishes `payload`.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> &Self {
        self.send(topic, payload, false)
    }

    /// Publishes `payload` as a retained message. An empty payload clears the retained message.
    pub fn publish_retained(&self, topic: &str, payload: impl Into<Vec<u8>>) -> &Self {
        self.send(topic, payload, true)
    }

    /// Waits for the next message.
    pub fn next(&self) -> Message {
        self.messages.recv_timeout(GUARD).expect("a message comes")
    }

    /// Waits for `time`, or until a message comes. Returns the message, if there is one.
    pub fn hears_nothing_for(&self, time: Duration) -> Option<Message> {
        self.messages.recv_timeout(time).ok()
    }

    /// Returns the messages that have come and were not read yet.
    pub fn pending(&self) -> Vec<Message> {
        self.messages.try_iter().collect()
    }

    fn send(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) -> &Self {
        within("a publication", self.mqtt.publish(topic, QoS::AtLeastOnce, retain, payload)).unwrap();
        self.wait_for_acknowledgement(topic);
        self
    }

    fn wait_for_acknowledgement(&self, topic: &str) {
        self.acknowledgements
            .recv_timeout(GUARD)
            .unwrap_or_else(|error| panic!("the broker does not acknowledge {topic}: {error}"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The socket closes without a DISCONNECT, as when a device loses its power.
        self.task.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

async fn pump(mut events: EventLoop, told: Sender<Message>, acknowledged: Sender<()>) {
    // An error ends the loop. This client does not reconnect, and the test notices it by what never comes.
    while let Ok(event) = events.poll().await {
        let heard = match event {
            Event::Incoming(Packet::Publish(publish)) => {
                let payload = publish.payload.to_vec();
                told.send(Message { topic: publish.topic, payload, retained: publish.retain }).is_ok()
            }
            Event::Incoming(Packet::PubAck(_) | Packet::SubAck(_)) => acknowledged.send(()).is_ok(),
            _ => true,
        };
        if !heard {
            return;
        }
    }
}
