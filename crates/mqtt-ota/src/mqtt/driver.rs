use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::inbox::NotPosted;
use super::message::{Ack, Message, Qos, Retention};
use super::packet::{Answer, Reply, Request};
use super::reason::BrokerReason;
use super::session::Session;
use super::setback::{Loss, Setbacks};
use super::{LinkError, Post, Protocol};
use crate::Broker;
use crate::wire::MAX_MESSAGE;

/// Number of connections in a row that the broker may close after a request, before the request is taken to be the
/// reason.
const TOO_OFTEN: u8 = 3;
/// Largest number of topics and filters that are suspected at once. A further one clears the list.
const SUSPECTS: usize = 256;
/// Longest wait for the acknowledgement of a message whose sender has stopped waiting. After it the acknowledgement
/// counts as lost.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(15);
/// Longest topic of a message that is passed on, in bytes. Far longer than any useful topic, and far shorter than MQTT
/// allows.
const TOPIC_MAX: usize = 512;

/// Request from a link to its driver.
pub(super) enum Command {
    Publish {
        topic: String,
        payload: Bytes,
        lasting: Retention,
        done: Done<Ack>,
        /// Place in the queue of requests.
        _room: OwnedSemaphorePermit,
    },
    Subscribe {
        subscriber: Subscriber,
        done: Done<()>,
        /// Place in the queue of requests.
        _room: OwnedSemaphorePermit,
    },
    Unsubscribe {
        id: u64,
    },
    Disconnect,
}

/// Channel for the answer to a request. Dropped without an answer if the connection is lost.
pub(super) type Done<T> = oneshot::Sender<Result<T, LinkError>>;

/// A filter of a subscription.
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) filter: String,
    pub(super) qos: Qos,
    pub(super) messages: Post<Message>,
    /// Number of messages that matched the filter.
    pub(super) heard: Arc<AtomicUsize>,
}

/// Settings for connecting again.
pub(super) struct Reopen {
    pub(super) broker: Broker,
    pub(super) protocol: Protocol,
    pub(super) client_id: String,
}

impl Reopen {
    /// Tries until there is a session, with growing pauses.
    async fn session(&self, setbacks: &mut Setbacks) -> Session {
        let mut last = None;
        loop {
            // Jitter keeps clients that lost the same broker from coming back in step.
            sleep(setbacks.pause(last.as_ref()).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            match Session::open(&self.broker, self.protocol, &self.client_id, false).await {
                Ok(session) => return session,
                Err(error) => {
                    // A login that is refused now does not pass by itself, and no caller gets this error.
                    match setbacks.refused(&error) {
                        Some(sentence) => tracing::warn!("{sentence}"),
                        None => tracing::debug!(%error, "no connection to the broker"),
                    }
                    last = Some(error);
                }
            }
        }
    }
}

/// Party that waits for the answer to a request to subscribe.
enum Asked {
    Subscriber(String, Done<()>),
    /// Nobody. The driver subscribes to the filter again after a reconnect.
    Again(String),
}

/// Message that the broker has not acknowledged yet.
struct Publishing {
    topic: String,
    is_retained: bool,
    done: Done<Ack>,
    since: Instant,
}

/// State of the task behind a link: its subscribers, and the requests that wait for an answer.
pub(super) struct Driver {
    subscribers: Vec<Subscriber>,
    /// Commands that came while there was no connection, or while too many messages were in flight.
    waiting: VecDeque<Command>,
    publishes: HashMap<u16, Publishing>,
    subscribes: HashMap<u16, Asked>,
    /// Topics and filters, with the number of connections in a row that ended after a request with them.
    suspects: HashMap<String, u8>,
    is_connected: watch::Sender<bool>,
    last_id: u16,
    in_flight: u16,
}

impl Driver {
    pub(super) fn new(in_flight: u16, is_connected: watch::Sender<bool>) -> Self {
        Self {
            subscribers: Vec::new(),
            waiting: VecDeque::new(),
            publishes: HashMap::new(),
            subscribes: HashMap::new(),
            suspects: HashMap::new(),
            is_connected,
            last_id: 0,
            in_flight,
        }
    }

    /// Serves one session after the other, until the link is closed or dropped.
    pub(super) async fn run(
        mut self,
        mut session: Session,
        reopen: Reopen,
        mut setbacks: Setbacks,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        loop {
            let started = Instant::now();
            let loss = match self.serve(&mut session, &mut commands).await {
                Ok(()) => return,
                Err(loss) => loss,
            };
            self.is_connected.send_replace(false);
            self.each_subscription(Post::lost);
            let is_explained = self.answer_lost(&loss);
            match setbacks.ended(&loss, started.elapsed(), is_explained) {
                Some(sentence) => tracing::warn!("{sentence}"),
                None => tracing::debug!(%loss, "the connection to the broker was lost again"),
            }
            let before = session.limits;
            let mut opening = pin!(reopen.session(&mut setbacks));
            session = loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    command = commands.recv() => match command {
                        None | Some(Command::Disconnect) => return,
                        Some(Command::Unsubscribe { id }) => drop(self.forget(id)),
                        Some(command) => self.waiting.push_back(command),
                    },
                }
            };
            if session.limits != before {
                session.limits.warn();
            }
            tracing::debug!("connected to the broker again");
            self.in_flight = session.in_flight;
            self.is_connected.send_replace(true);
            self.each_subscription(Post::reconnected);
        }
    }

    /// Settles the requests that were in flight when a session was lost.
    ///
    /// The session is clean, so these requests are gone with it. A request that may be the reason of the loss gets an
    /// error once it has been repeated too often. Returns true if some request is explained as the reason, or is
    /// suspected for at least the second time.
    fn answer_lost(&mut self, loss: &Loss) -> bool {
        let publishes = std::mem::take(&mut self.publishes).into_values();
        let subscribes = std::mem::take(&mut self.subscribes).into_values();
        // A subscriber that got no answer has asked again for the same filter.
        let mut asked_for = BTreeMap::<String, Vec<_>>::new();
        for asked in subscribes {
            if let Asked::Subscriber(filter, done) = asked {
                asked_for.entry(filter).or_default().push(done);
            }
        }
        let reason = match loss {
            Loss::Told(reason) if reason.is_about_a_request() => Some(reason),
            loss if loss.is_closed() => None,
            _ => return false,
        };
        let mut is_explained = false;
        let is_alone = publishes.len() + asked_for.len() == 1;
        for Publishing { topic, is_retained, done, .. } in publishes {
            if !is_retained && reason.is_some_and(|reason| reason.code() == BrokerReason::NO_RETAIN) {
                continue;
            }
            if self.is_why(&topic, is_alone && reason.is_some()) {
                let _ = done.send(Err(match reason {
                    Some(reason) => LinkError::PublishRefused { topic, reason: reason.clone() },
                    None => LinkError::Closes { topic, is_publish: true },
                }));
                is_explained = true;
            }
        }
        for (topic, waiting) in asked_for {
            if self.is_why(&topic, is_alone && reason.is_some()) {
                for done in waiting {
                    let topic = topic.clone();
                    let _ = done.send(Err(match reason {
                        Some(reason) => LinkError::SubscribeRefused { topic, reason: reason.clone() },
                        None => LinkError::Closes { topic, is_publish: false },
                    }));
                }
                is_explained = true;
            }
        }
        is_explained || self.suspects.values().any(|times| *times > 1)
    }

    /// Returns true if the broker has ended too many connections because of this topic.
    ///
    /// `is_certain` means that no other request can be the reason.
    fn is_why(&mut self, topic: &str, is_certain: bool) -> bool {
        if self.suspects.len() >= SUSPECTS && !self.suspects.contains_key(topic) {
            self.suspects.clear();
        }
        let times = self.suspects.entry(topic.to_owned()).or_default();
        *times = times.saturating_add(1);
        let is_why = is_certain || *times >= TOO_OFTEN;
        if is_why {
            self.suspects.remove(topic);
        }
        is_why
    }

    /// Runs one session until it breaks, or until the link is closed.
    async fn serve(
        &mut self,
        session: &mut Session,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Loss> {
        let mut filters: Vec<_> = self.subscribers.iter().map(|s| (s.filter.clone(), s.qos)).collect();
        filters.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        filters.dedup();
        for (filter, qos) in filters {
            let id = self.next_id();
            self.subscribes.insert(id, Asked::Again(filter.clone()));
            let qos = qos.min(session.limits.qos);
            session.write(Request::Subscribe { id, filter, qos }).await?;
        }
        loop {
            while let Some(command) = self.ready() {
                self.take(command, session).await?;
            }
            tokio::select! {
                biased;
                // Commands come first, so that all of them go out at once.
                command = commands.recv() => match command {
                    Some(Command::Disconnect) => {
                        session.write(Request::Disconnect).await?;
                        // The broker closes next, and may still have to write to us until then.
                        while session.next().await.is_ok() {}
                        return Ok(());
                    }
                    Some(command) => self.waiting.push_back(command),
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
                            session.write(Request::PubAck { id }).await?;
                        }
                    }
                    Reply::PublishAcknowledged { id, answer } => {
                        if let Some(Publishing { topic, done, .. }) = self.publishes.remove(&id) {
                            self.suspects.remove(&topic);
                            let _ = done.send(match answer {
                                Answer::Accepted => Ok(Ack::Accepted),
                                Answer::NoSubscribers => Ok(Ack::NoSubscribers),
                                Answer::Refused(reason) => Err(LinkError::PublishRefused { topic, reason }),
                            });
                        }
                    }
                    Reply::SubscribeAcknowledged { id, refused } => {
                        self.subscribed(id, refused);
                    }
                    Reply::Disconnect(reason) => return Err(Loss::Told(reason)),
                    Reply::Accepted(_) | Reply::Refused(_) | Reply::Other => {}
                },
            }
        }
    }

    fn subscribed(&mut self, id: u16, refused: Option<BrokerReason>) {
        match (self.subscribes.remove(&id), refused) {
            (Some(Asked::Subscriber(topic, done)), refused) => {
                self.suspects.remove(&topic);
                let answer =
                    refused.map_or(Ok(()), |reason| Err(LinkError::SubscribeRefused { topic, reason }));
                let _ = done.send(answer);
            }
            (Some(Asked::Again(topic)), Some(reason)) => {
                let error = LinkError::SubscribeRefused { topic, reason };
                let hint = error.hint().unwrap_or_default();
                tracing::warn!("{error}, which it did before ({hint})");
            }
            (Some(Asked::Again(_)) | None, _) => {}
        }
    }

    /// Removes and returns the next command that can be done now.
    fn ready(&mut self) -> Option<Command> {
        // Mosquitto drops acknowledgements, too, if the network is too slow.
        let is_awaited = |publishing: &&Publishing| {
            !publishing.done.is_closed() || publishing.since.elapsed() < ACKNOWLEDGED_WITHIN
        };
        let full = self.publishes.values().filter(is_awaited).count() >= self.in_flight.into();
        let index = self.waiting.iter().position(|c| !full || !matches!(c, Command::Publish { .. }))?;
        self.waiting.remove(index)
    }

    async fn take(&mut self, command: Command, session: &mut Session) -> io::Result<()> {
        match command {
            // The caller no longer waits for the answer.
            Command::Publish { done, .. } if done.is_closed() => Ok(()),
            Command::Subscribe { done, .. } if done.is_closed() => Ok(()),
            Command::Publish { topic, payload, lasting, done, _room: _ } => {
                if let Err(error) = session.limits.admit_message(&topic, &payload, lasting) {
                    let _ = done.send(Err(error));
                    return Ok(());
                }
                let (id, qos) = (self.next_id(), session.limits.qos);
                let is_retained = lasting == Retention::Retained;
                let since = Instant::now();
                let publishing = Publishing { topic: topic.clone(), is_retained, done, since };
                if qos == Qos::AtLeastOnce {
                    self.publishes.insert(id, publishing);
                    return session.write(Request::Publish { id, topic, payload, lasting, qos }).await;
                }
                // QoS 0 has no acknowledgement.
                session.write(Request::Publish { id, topic, payload, lasting, qos }).await?;
                let _ = publishing.done.send(Ok(Ack::Accepted));
                Ok(())
            }
            Command::Subscribe { subscriber, done, _room: _ } => {
                if let Err(error) = session.limits.admit_filter(&subscriber.filter) {
                    let _ = done.send(Err(error));
                    return Ok(());
                }
                let id = self.next_id();
                let (filter, qos) = (subscriber.filter.clone(), subscriber.qos.min(session.limits.qos));
                self.subscribes.insert(id, Asked::Subscriber(filter.clone(), done));
                // A subscriber that got no answer asks again.
                let is_same = |s: &Subscriber| (s.id, &s.filter) == (subscriber.id, &subscriber.filter);
                if !self.subscribers.iter().any(is_same) {
                    self.subscribers.push(subscriber);
                }
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
            Command::Disconnect => Ok(()),
        }
    }

    /// Forgets a subscription and returns its filters.
    fn forget(&mut self, id: u64) -> Vec<String> {
        self.waiting.retain(|c| !matches!(c, Command::Subscribe { subscriber, .. } if subscriber.id == id));
        self.subscribers.extract_if(.., |s| s.id == id).map(|s| s.filter).collect()
    }

    /// Calls `tell` once for each subscription.
    fn each_subscription(&self, tell: impl Fn(&Post<Message>)) {
        for filters in self.subscribers.chunk_by(|one, next| one.id == next.id) {
            if let Some(subscriber) = filters.first() {
                tell(&subscriber.messages);
            }
        }
    }

    fn deliver(&self, message: Message) {
        let mut takers = self.subscribers.iter().filter(|s| takes(&s.filter, &message.topic)).peekable();
        // The last taker gets the message itself instead of a copy.
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

    /// Returns a packet id that is not in use, never 0.
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
    // A closed inbox is about to be unsubscribed.
    if taker.messages.message(message) == Err(NotPosted::Full) {
        tracing::warn!(
            filter = taker.filter,
            "messages are dropped: they come faster than they are read, and the queue for them is full"
        );
    }
}

/// Returns true if a filter of ours matches a topic. (rumqttc's own `matches` panics at a topic that begins with a
/// character beyond ASCII.)
fn takes<'a>(filter: &'a str, topic: &'a str) -> bool {
    // Compares from the last level, because filters of one device differ there.
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

    #[tokio::test(start_paused = true)]
    async fn acknowledgements_that_were_lost_hold_up_no_later_message() {
        const IN_FLIGHT: u16 = 2;
        let mut driver = Driver::new(IN_FLIGHT, watch::Sender::new(true));
        let room = Arc::new(tokio::sync::Semaphore::new(1));
        let publish = || Publishing {
            topic: "LAMP/OTA".to_owned(),
            is_retained: false,
            done: oneshot::channel().0,
            since: Instant::now(),
        };
        driver.publishes.extend((0..IN_FLIGHT).map(|id| (id, publish())));
        let (done, _answer) = oneshot::channel();
        let (topic, lasting) = ("LAMP/OTA".to_owned(), Retention::Session);
        let _room = room.acquire_owned().await.unwrap();
        driver.waiting.push_back(Command::Publish { topic, payload: Bytes::new(), lasting, done, _room });
        assert!(driver.ready().is_none(), "they may still be on their way");
        tokio::time::advance(ACKNOWLEDGED_WITHIN).await;
        assert!(driver.ready().is_some());
    }

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
