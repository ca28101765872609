use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::discriminant;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::Protocol;
use super::link::Incoming;
use super::packet::{Answer, Lasting, Message, Qos, Reply, Request};
use super::session::Session;
use crate::Broker;
use crate::wire::MAX_MESSAGE;

/// The pause before the first attempt to reconnect; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Requests that wait for a connection.
const REQUESTS: usize = 256;
/// The longest topic of a message that is passed on, in bytes: far longer than any that is of use, and far shorter than
/// what MQTT allows.
const TOPIC_MAX: usize = 512;

/// What a link asks its driver to do.
pub(super) enum Command {
    Publish { topic: String, payload: Bytes, lasting: Lasting, done: oneshot::Sender<Answer> },
    Subscribe { subscriber: Subscriber, done: oneshot::Sender<bool> },
    Unsubscribe { id: u64 },
    Goodbye,
}

/// One filter of a subscription.
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) filter: String,
    pub(super) qos: Qos,
    pub(super) messages: mpsc::Sender<Incoming>,
    /// How many messages there were for it.
    pub(super) heard: Arc<AtomicUsize>,
}

/// How to connect again.
pub(super) struct Reopen {
    pub(super) broker: Broker,
    pub(super) protocol: Protocol,
    pub(super) client_id: String,
}

impl Reopen {
    /// Tries until there is a session, with growing pauses.
    async fn session(&self, mut pause: Duration) -> (Session, Duration) {
        let mut told = None;
        loop {
            // Clients that lost one broker do not come back in step.
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match Session::open(&self.broker, self.protocol, &self.client_id).await {
                Ok(session) => return (session, pause),
                // A login that is refused now does not pass by itself, and nobody else hears of it.
                Err(error) if told.replace(discriminant(&error)) != Some(discriminant(&error)) => {
                    tracing::warn!(%error, "no connection to the broker yet, trying on");
                }
                Err(error) => tracing::debug!(%error, "no connection to the broker"),
            }
        }
    }
}

/// Who wants to know what becomes of a request to subscribe.
enum Asked {
    Subscriber(oneshot::Sender<bool>),
    /// Nobody: the filter is subscribed to again after a reconnect.
    Again(String),
}

/// The state of the task behind a link: who waits for what.
pub(super) struct Driver {
    subscribers: Vec<Subscriber>,
    /// Commands that came while there was no connection, or too many messages were in flight.
    waiting: VecDeque<Command>,
    publishes: HashMap<u16, oneshot::Sender<Answer>>,
    subscribes: HashMap<u16, Asked>,
    last_id: u16,
    in_flight: u16,
}

impl Driver {
    pub(super) fn new(in_flight: u16) -> Self {
        Self {
            subscribers: Vec::new(),
            waiting: VecDeque::new(),
            publishes: HashMap::new(),
            subscribes: HashMap::new(),
            last_id: 0,
            in_flight,
        }
    }

    /// Serves one session after the other, until the link is closed or gone.
    pub(super) async fn run(
        mut self,
        mut session: Session,
        reopen: Reopen,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            match self.serve(&mut session, &mut commands).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "the connection to the broker was lost, connecting again")
                }
            }
            self.tell_all(|| Incoming::Lost);
            // The session is clean: what was in flight is gone.
            self.publishes.clear();
            self.subscribes.clear();
            // A broker that ends every session soon is not asked ever faster.
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let mut opening = pin!(reopen.session(pause));
            (session, pause) = loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    command = commands.recv() => match command {
                        None | Some(Command::Goodbye) => return,
                        Some(Command::Unsubscribe { id }) => drop(self.forget(id)),
                        Some(command) => self.keep(command),
                    },
                }
            };
            self.in_flight = session.in_flight;
            self.tell_all(|| Incoming::Reconnected);
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
            self.subscribes.insert(id, Asked::Again(filter.clone()));
            session.write(Request::Subscribe { id, filter, qos }).await?;
        }
        loop {
            while let Some(command) = self.ready() {
                self.take(command, session).await?;
            }
            tokio::select! {
                biased;
                // All that is asked for goes out at once.
                command = commands.recv() => match command {
                    Some(Command::Goodbye) => {
                        session.write(Request::Goodbye).await?;
                        // The broker closes next, and may still have to write to us until then.
                        while session.next().await.is_ok() {}
                        return Ok(());
                    }
                    Some(command) => self.keep(command),
                    None => return Ok(()),
                },
                reply = session.next() => match reply? {
                    Reply::Message { mut message, receipt } => {
                        // A slice would keep the whole packet in memory, however long it is.
                        let payload = &message.payload;
                        message.payload =
                            Bytes::copy_from_slice(payload.get(..=MAX_MESSAGE).unwrap_or(payload));
                        if message.topic.len() <= TOPIC_MAX {
                            self.deliver(message);
                        }
                        if let Some(id) = receipt {
                            session.write(Request::Receipt { id }).await?;
                        }
                    }
                    Reply::PublishAcknowledged { id, answer } => {
                        if let Some(done) = self.publishes.remove(&id) {
                            let _ = done.send(answer);
                        }
                    }
                    Reply::SubscribeAcknowledged { id, granted } => match self.subscribes.remove(&id) {
                        Some(Asked::Subscriber(done)) => drop(done.send(granted)),
                        Some(Asked::Again(filter)) if !granted => {
                            tracing::warn!(filter, "the broker no longer allows to subscribe");
                        }
                        Some(Asked::Again(_)) | None => {}
                    },
                    Reply::Goodbye(reason) => return Err(io::Error::other(reason)),
                    Reply::Accepted { .. } | Reply::Refused(_) | Reply::Other => {}
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
            Command::Publish { topic, payload, lasting, done } => {
                let id = self.next_id();
                self.publishes.insert(id, done);
                session.write(Request::Publish { id, topic, payload, lasting }).await
            }
            Command::Subscribe { subscriber, done } => {
                let id = self.next_id();
                let (filter, qos) = (subscriber.filter.clone(), subscriber.qos);
                self.subscribes.insert(id, Asked::Subscriber(done));
                self.subscribers.push(subscriber);
                session.write(Request::Subscribe { id, filter, qos }).await
            }
            Command::Unsubscribe { id } => {
                for filter in self.forget(id) {
                    if self.subscribers.iter().all(|other| other.filter != filter) {
                        let id = self.next_id();
                        session.write(Request::Unsubscribe { id, filter }).await?;
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

    /// Tells every subscription once.
    fn tell_all(&self, what: impl Fn() -> Incoming) {
        for filters in self.subscribers.chunk_by(|one, next| one.id == next.id) {
            if let Some(subscriber) = filters.first() {
                let _ = subscriber.messages.try_send(what());
            }
        }
    }

    fn deliver(&self, message: Message) {
        let mut takers = self.subscribers.iter().filter(|s| takes(&s.filter, &message.topic)).peekable();
        // The last one has it to itself.
        let mut last = None;
        while let Some(taker) = takers.next() {
            match takers.peek() {
                Some(_) => hand(taker, message.clone()),
                None => last = Some(taker),
            }
        }
        if let Some(taker) = last {
            hand(taker, message);
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

fn hand(taker: &Subscriber, message: Message) {
    taker.heard.fetch_add(1, Ordering::Relaxed);
    // One that is closed is about to be unsubscribed.
    if let Err(TrySendError::Full(Incoming::Message(message))) =
        taker.messages.try_send(Incoming::Message(message))
    {
        tracing::warn!(topic = message.topic, "a message was lost: nobody took the ones before it");
    }
}

/// Whether a filter of ours takes a topic. (rumqttc's own `matches` panics at a topic that begins with a
/// character beyond ASCII.)
fn takes<'a>(filter: &'a str, topic: &'a str) -> bool {
    // From their ends, where those of one device differ.
    let levels = |text: &'a str| text.as_bytes().rsplit(|byte| *byte == b'/');
    let (mut filter, mut topic) = (levels(filter), levels(topic));
    loop {
        match (filter.next(), topic.next()) {
            (None, None) => return true,
            (Some(level), Some(found)) if level == b"+" || level == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_its_topics_and_no_others() {
        for (filter, topic) in [("a/b", "a/b"), ("+/OTA/device", "Übung/OTA/device"), ("+/b", "/b")] {
            assert!(takes(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [("a/b", "a/b/c"), ("a/b", "a"), ("+/b", "a/c"), ("+", "a/b"), ("a", "ä")] {
            assert!(!takes(filter, topic), "{filter} {topic}");
        }
    }
}
