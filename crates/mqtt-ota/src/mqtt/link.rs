use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::packet::{Answer, Message, Qos, Reply, Request};
use super::session::Session;
use super::{ConnectError, LinkError, Protocol};
use crate::Broker;

/// The pause before the first attempt to reconnect; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Messages that wait for one subscriber. One that does not read loses what comes after.
const BACKLOG: usize = 1024;
/// Requests that wait for a connection.
const REQUESTS: usize = 256;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

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
    peer: Option<IpAddr>,
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
        let LinkConfig { client_id, protocol } = config;
        let first = protocol.unwrap_or(Protocol::V5);
        let (session, protocol) = match Session::open(broker, first, &client_id).await {
            Err(error) if protocol.is_none() && error.may_be_the_protocol() => {
                (Session::open(broker, Protocol::V311, &client_id).await?, Protocol::V311)
            }
            session => (session?, first),
        };
        tracing::debug!(%broker, ?protocol, "connected to the broker");
        let peer = session.peer;
        let (commands, receiver) = mpsc::unbounded_channel();
        let driver = Driver::new(session.in_flight);
        let reopen = Reopen { broker: broker.clone(), protocol, client_id };
        let task = tokio::spawn(driver.run(session, reopen, receiver));
        Ok(Self { commands, protocol, peer, task })
    }

    /// The broker's address, as it was first reached.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
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

    /// Subscribes to one filter after the other, each once the broker has acknowledged the one before.
    ///
    /// What the broker has retained comes first: when this returns, it has arrived for all filters but the
    /// last. (Brokers handle one client's packets in order; rumqttd does so only if it is asked one by one.)
    ///
    /// Cancellation: the subscription ends.
    pub(crate) async fn subscribe(&self, filters: &[(&str, Qos)]) -> Result<Subscription, LinkError> {
        let (messages, receiver) = mpsc::channel(BACKLOG);
        let id = fastrand::u64(..);
        let subscription = Subscription { id, messages: receiver, commands: self.commands.clone() };
        for &(filter, qos) in filters {
            let (done, granted) = oneshot::channel();
            let messages = messages.clone();
            let subscriber = Subscriber { id, filter: filter.to_owned(), qos, messages };
            self.commands.send(Command::Subscribe { subscriber, done }).map_err(|_| LinkError::Lost)?;
            match granted.await {
                Ok(true) => {}
                Ok(false) => return Err(LinkError::SubscribeRefused { topic: filter.to_owned() }),
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

/// One filter of a [`Subscription`].
struct Subscriber {
    id: u64,
    filter: String,
    qos: Qos,
    messages: mpsc::Sender<Incoming>,
}

/// How to connect again.
struct Reopen {
    broker: Broker,
    protocol: Protocol,
    client_id: String,
}

impl Reopen {
    /// Tries until there is a session, with growing pauses.
    async fn session(&self) -> Session {
        let mut pause = FIRST_PAUSE;
        loop {
            // Clients that lost one broker do not come back in step.
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            match Session::open(&self.broker, self.protocol, &self.client_id).await {
                Ok(session) => return session,
                Err(error) => tracing::debug!(%error, "no connection to the broker"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The state of the task behind a [`Link`]: who waits for what.
struct Driver {
    subscribers: Vec<Subscriber>,
    /// Commands that came while there was no connection, or too many messages were in flight.
    waiting: VecDeque<Command>,
    publishes: HashMap<u16, oneshot::Sender<Answer>>,
    /// None: a filter subscribed again after a reconnect, which nobody waits for.
    subscribes: HashMap<u16, Option<oneshot::Sender<bool>>>,
    last_id: u16,
    in_flight: u16,
}

impl Driver {
    fn new(in_flight: u16) -> Self {
        Self {
            subscribers: Vec::new(),
            waiting: VecDeque::new(),
            publishes: HashMap::new(),
            subscribes: HashMap::new(),
            last_id: 0,
            in_flight,
        }
    }

    async fn run(
        mut self,
        mut session: Session,
        reopen: Reopen,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        loop {
            match self.serve(&mut session, &mut commands).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the connection to the broker is lost"),
            }
            // The session is clean: what was in flight is gone.
            self.publishes.clear();
            self.subscribes.clear();
            let mut opening = pin!(reopen.session());
            session = loop {
                tokio::select! {
                    session = &mut opening => break session,
                    command = commands.recv() => match command {
                        None | Some(Command::Goodbye) => return,
                        Some(Command::Unsubscribe { id }) => drop(self.forget(id)),
                        Some(command) => self.keep(command),
                    },
                }
            };
            self.in_flight = session.in_flight;
            for subscriber in
                self.subscribers.chunk_by(|one, next| one.id == next.id).filter_map(<[_]>::first)
            {
                let _ = subscriber.messages.try_send(Incoming::Reconnected);
            }
        }
    }

    /// Runs one session until it breaks, or until the link is closed.
    async fn serve(
        &mut self,
        session: &mut Session,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> io::Result<()> {
        let mut filters: Vec<_> = self.subscribers.iter().map(|s| (s.filter.clone(), s.qos)).collect();
        filters.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        filters.dedup();
        for (filter, qos) in filters {
            let id = self.next_id();
            self.subscribes.insert(id, None);
            session.send(Request::Subscribe { id, filter, qos }).await?;
        }
        loop {
            while let Some(command) = self.ready() {
                self.take(command, session).await?;
            }
            tokio::select! {
                reply = session.next() => match reply? {
                    Reply::Message { message, receipt } => {
                        self.deliver(&message);
                        if let Some(id) = receipt {
                            session.send(Request::Receipt { id }).await?;
                        }
                    }
                    Reply::PublishAcknowledged { id, answer } => {
                        if let Some(done) = self.publishes.remove(&id) {
                            let _ = done.send(answer);
                        }
                    }
                    Reply::SubscribeAcknowledged { id, granted } => {
                        if let Some(Some(done)) = self.subscribes.remove(&id) {
                            let _ = done.send(granted);
                        }
                    }
                    Reply::Goodbye(reason) => return Err(io::Error::other(reason)),
                    Reply::Accepted { .. } | Reply::Refused(_) | Reply::Other => {}
                },
                command = commands.recv() => match command {
                    Some(Command::Goodbye) => {
                        session.send(Request::Goodbye).await?;
                        // The broker closes next, and may still have to write to us until then.
                        while session.next().await.is_ok() {}
                        return Ok(());
                    }
                    Some(command) => self.keep(command),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Keeps a command until it can be done. One too many is dropped, and whoever waits for it hears so.
    fn keep(&mut self, command: Command) {
        if self.waiting.len() < REQUESTS || matches!(command, Command::Unsubscribe { .. }) {
            self.waiting.push_back(command);
        }
    }

    /// The next command that can be done now.
    fn ready(&mut self) -> Option<Command> {
        let full = self.publishes.len() >= self.in_flight.into();
        let index = self.waiting.iter().position(|c| !full || !matches!(c, Command::Publish { .. }))?;
        self.waiting.remove(index)
    }

    async fn take(&mut self, command: Command, session: &mut Session) -> io::Result<()> {
        match command {
            // Nobody waits for it any more.
            Command::Publish { done, .. } if done.is_closed() => Ok(()),
            Command::Subscribe { done, .. } if done.is_closed() => Ok(()),
            Command::Publish { topic, payload, retain, done } => {
                let id = self.next_id();
                self.publishes.insert(id, done);
                session.send(Request::Publish { id, topic, payload, retain }).await
            }
            Command::Subscribe { subscriber, done } => {
                let id = self.next_id();
                let (filter, qos) = (subscriber.filter.clone(), subscriber.qos);
                self.subscribes.insert(id, Some(done));
                self.subscribers.push(subscriber);
                session.send(Request::Subscribe { id, filter, qos }).await
            }
            Command::Unsubscribe { id } => {
                for filter in self.forget(id) {
                    if self.subscribers.iter().all(|other| other.filter != filter) {
                        let id = self.next_id();
                        session.send(Request::Unsubscribe { id, filter }).await?;
                    }
                }
                Ok(())
            }
            Command::Goodbye => Ok(()),
        }
    }

    /// Forgets a subscription; yields its filters.
    fn forget(&mut self, id: u64) -> Vec<String> {
        self.waiting.retain(|c| !matches!(c, Command::Subscribe { subscriber, .. } if subscriber.id == id));
        self.subscribers.extract_if(.., |s| s.id == id).map(|s| s.filter).collect()
    }

    fn deliver(&self, message: &Message) {
        for subscriber in self.subscribers.iter().filter(|s| rumqttc::matches(&message.topic, &s.filter)) {
            // One that is closed is about to be unsubscribed.
            if let Err(TrySendError::Full(_)) =
                subscriber.messages.try_send(Incoming::Message(message.clone()))
            {
                tracing::warn!(topic = message.topic, "a message was lost: nobody took the ones before it");
            }
        }
    }

    /// A packet id that is not in use; never 0.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.publishes.contains_key(&self.last_id) && !self.subscribes.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
