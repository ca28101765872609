use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::{self, Answer, Client, Event, Events};
use super::{ConnectError, LinkError, Protocol};
use crate::Broker;

/// The pause before the first attempt to reconnect; each further one doubles it. (rumqttc itself makes none.)
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Messages that wait for one subscriber. One that does not read loses what comes after.
const BACKLOG: usize = 1024;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A message as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// Stored by the broker before we subscribed, rather than published now.
    pub(crate) retained: bool,
}

/// What a subscription yields.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Message),
    /// The connection was lost and is back: what was published in between is gone.
    Reconnected,
}

/// The broker has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    Accepted,
    /// And says that nobody is subscribed to the topic.
    NoSubscribers,
}

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct LinkConfig {
    pub(crate) client_id: String,
    /// None tries MQTT 5 first.
    pub(crate) protocol: Option<Protocol>,
}

/// One connection to the broker, kept alive by a task of its own, which ends with this value.
pub(crate) struct Link {
    commands: mpsc::UnboundedSender<Command>,
    protocol: Protocol,
    task: JoinHandle<()>,
}

enum Command {
    Publish { topic: String, payload: Bytes, retain: bool, done: oneshot::Sender<Answer> },
    Subscribe { subscriber: Subscriber, done: oneshot::Sender<bool> },
    Unsubscribe { id: u64 },
    Goodbye,
}

impl Link {
    /// Connects, and returns once the broker has accepted the client.
    ///
    /// Cancellation: nothing is left behind.
    pub(crate) async fn connect(broker: &Broker, config: LinkConfig) -> Result<Self, ConnectError> {
        let first = config.protocol.unwrap_or(Protocol::V5);
        let (client, events, protocol) = match established(broker, first, &config.client_id).await {
            Err(error) if config.protocol.is_none() && error.may_be_the_protocol() => {
                let protocol = Protocol::V311;
                let (client, events) = established(broker, protocol, &config.client_id).await?;
                (client, events, protocol)
            }
            other => other.map(|(client, events)| (client, events, first))?,
        };
        tracing::debug!(%broker, ?protocol, "connected to the broker");
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(Driver::new(client).run(events, receiver));
        Ok(Self { commands, protocol, task })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Publishes with QoS 1 and waits for the broker's acknowledgement; while the connection is away it
    /// waits for that.
    ///
    /// # Errors
    /// The connection was lost before the acknowledgement, or the broker forbids it.
    ///
    /// Cancellation: the message may still be published.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        retain: bool,
    ) -> Result<Ack, LinkError> {
        let (done, answer) = oneshot::channel();
        let (topic, payload) = (topic.to_owned(), payload.into());
        let command = Command::Publish { topic: topic.clone(), payload, retain, done };
        self.commands.send(command).map_err(|_| LinkError::Lost)?;
        match answer.await {
            Ok(Answer::Accepted) => Ok(Ack::Accepted),
            Ok(Answer::NoSubscribers) => Ok(Ack::NoSubscribers),
            Ok(Answer::Refused(reason)) => Err(LinkError::PublishRefused { topic, reason }),
            Err(_) => Err(LinkError::Lost),
        }
    }

    /// Subscribes with QoS 1 to one filter after the other, and waits for the broker's acknowledgements.
    ///
    /// What the broker has retained comes first. It handles one client's packets in order: once this
    /// returns, what was retained for all filters but the last has arrived.
    ///
    /// Cancellation: the subscription ends.
    pub(crate) async fn subscribe(&self, filters: &[&str]) -> Result<Subscription, LinkError> {
        let (messages, receiver) = mpsc::channel(BACKLOG);
        let id = fastrand::u64(..);
        let subscription = Subscription { id, messages: receiver, commands: self.commands.clone() };
        let mut answers = Vec::with_capacity(filters.len());
        for filter in filters {
            let (done, granted) = oneshot::channel();
            let subscriber = Subscriber { id, filter: (*filter).to_owned(), messages: messages.clone() };
            self.commands.send(Command::Subscribe { subscriber, done }).map_err(|_| LinkError::Lost)?;
            answers.push((filter, granted));
        }
        for (filter, granted) in answers {
            match granted.await {
                Ok(true) => {}
                Ok(false) => return Err(LinkError::SubscribeRefused { topic: (*filter).to_owned() }),
                Err(_) => return Err(LinkError::Lost),
            }
        }
        Ok(subscription)
    }

    /// Sends what is queued, says goodbye and ends the connection; gives up after half a second.
    pub(crate) async fn close(mut self) {
        let _ = self.commands.send(Command::Goodbye);
        let _ = timeout(GOODBYE, &mut self.task).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What comes in for one topic filter. Ends with the value.
pub(crate) struct Subscription {
    id: u64,
    messages: mpsc::Receiver<Incoming>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Subscription {
    /// The next message; None once the link is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming> {
        self.messages.recv().await
    }

    /// A message that is here already.
    pub(crate) fn try_next(&mut self) -> Option<Incoming> {
        self.messages.try_recv().ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Unsubscribe { id: self.id });
    }
}

/// A connection that the broker has accepted.
async fn established(
    broker: &Broker,
    protocol: Protocol,
    client_id: &str,
) -> Result<(Client, Events), ConnectError> {
    let (client, mut events) = connection::open(broker, protocol, client_id).await?;
    loop {
        if let Event::Connected = events.next().await? {
            return Ok((client, events));
        }
    }
}

/// One filter of a [`Subscription`].
struct Subscriber {
    id: u64,
    filter: String,
    messages: mpsc::Sender<Incoming>,
}

/// The task behind a [`Link`]. It alone queues requests, so the order in which it queues them is the order
/// in which rumqttc reports their packet ids.
struct Driver {
    client: Client,
    subscribers: Vec<Subscriber>,
    /// Commands that came while there was no connection.
    waiting: VecDeque<Command>,
    publishes_queued: VecDeque<oneshot::Sender<Answer>>,
    publishes_sent: HashMap<u16, oneshot::Sender<Answer>>,
    /// None: a filter subscribed again after a reconnect, which nobody waits for.
    subscribes_queued: VecDeque<Option<oneshot::Sender<bool>>>,
    subscribes_sent: HashMap<u16, Option<oneshot::Sender<bool>>>,
    connected: bool,
}

impl Driver {
    fn new(client: Client) -> Self {
        Self {
            client,
            subscribers: Vec::new(),
            waiting: VecDeque::new(),
            publishes_queued: VecDeque::new(),
            publishes_sent: HashMap::new(),
            subscribes_queued: VecDeque::new(),
            subscribes_sent: HashMap::new(),
            connected: true,
        }
    }

    async fn run(mut self, mut events: Events, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut pause = FIRST_PAUSE;
        let mut not_before: Option<Instant> = None;
        loop {
            let wake = not_before.take();
            // One poll is never cancelled: a connection attempt would start over.
            let mut next = pin!(async {
                if let Some(instant) = wake {
                    sleep_until(instant).await;
                }
                events.next().await
            });
            let event = loop {
                tokio::select! {
                    event = &mut next => break event,
                    command = commands.recv() => match command {
                        Some(Command::Goodbye) if !self.connected => return,
                        Some(command) => self.take(command),
                        None => return,
                    },
                }
            };
            match event {
                Ok(Event::Goodbye) => return,
                Ok(Event::Connected) => {
                    pause = FIRST_PAUSE;
                    self.reconnected();
                }
                Ok(event) => self.handle(event),
                Err(error) => {
                    tracing::debug!(%error, again_in = ?pause, "no connection to the broker");
                    self.lost();
                    not_before = Some(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Does what was asked, or keeps it until there is a connection. What does not fit the queue is
    /// dropped, and whoever waits for it hears so.
    fn take(&mut self, command: Command) {
        match command {
            Command::Publish { topic, payload, retain, done } if self.connected => {
                if self.client.publish(&topic, payload, retain) {
                    self.publishes_queued.push_back(done);
                }
            }
            Command::Subscribe { subscriber, done } if self.connected => {
                if self.client.subscribe(&subscriber.filter) {
                    self.subscribes_queued.push_back(Some(done));
                    self.subscribers.push(subscriber);
                }
            }
            Command::Unsubscribe { id } => {
                self.waiting
                    .retain(|c| !matches!(c, Command::Subscribe { subscriber, .. } if subscriber.id == id));
                let ended: Vec<_> = self.subscribers.extract_if(.., |s| s.id == id).collect();
                for Subscriber { filter, .. } in ended {
                    if self.connected && self.subscribers.iter().all(|other| other.filter != filter) {
                        self.client.unsubscribe(&filter);
                    }
                }
            }
            Command::Goodbye => {
                self.client.disconnect();
            }
            unconnected if self.waiting.len() < connection::REQUESTS => self.waiting.push_back(unconnected),
            _ => {}
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.deliver(&message),
            Event::PublishSent { id } => {
                if let Some(done) = self.publishes_queued.pop_front() {
                    self.publishes_sent.insert(id, done);
                }
            }
            Event::PublishAcknowledged { id, answer } => {
                if let Some(done) = self.publishes_sent.remove(&id) {
                    let _ = done.send(answer);
                }
            }
            Event::SubscribeSent { id } => {
                if let Some(done) = self.subscribes_queued.pop_front() {
                    self.subscribes_sent.insert(id, done);
                }
            }
            Event::SubscribeAcknowledged { id, granted } => {
                if let Some(Some(done)) = self.subscribes_sent.remove(&id) {
                    let _ = done.send(granted);
                }
            }
            Event::Connected | Event::Goodbye | Event::Other => {}
        }
    }

    fn deliver(&self, message: &Message) {
        for subscriber in &self.subscribers {
            if rumqttc::matches(&message.topic, &subscriber.filter)
                && subscriber.messages.try_send(Incoming::Message(message.clone())).is_err()
            {
                tracing::warn!(topic = message.topic, "a message was lost: nobody took the ones before it");
            }
        }
    }

    /// The session is clean: what was in flight is gone, and rumqttc forgets it as well.
    fn lost(&mut self) {
        self.connected = false;
        self.publishes_queued.clear();
        self.publishes_sent.clear();
        self.subscribes_queued.clear();
        self.subscribes_sent.clear();
    }

    fn reconnected(&mut self) {
        self.connected = true;
        let mut filters: Vec<_> = self.subscribers.iter().map(|s| s.filter.as_str()).collect();
        filters.sort_unstable();
        filters.dedup();
        for filter in filters {
            if self.client.subscribe(filter) {
                self.subscribes_queued.push_back(None);
            }
        }
        self.subscribers
            .chunk_by(|one, next| one.id == next.id)
            .filter_map(<[Subscriber]>::first)
            .for_each(|subscriber| drop(subscriber.messages.try_send(Incoming::Reconnected)));
        for command in std::mem::take(&mut self.waiting) {
            self.take(command);
        }
    }
}
