use std::mem::replace;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Command, Driver, Reopen, Subscriber};
use super::message::{Ack, Message, Qos, Retention};
use super::session::Session;
use super::setback::Setbacks;
use super::{ConnectError, Inbox, Incoming, LinkError, Protocol, inbox, tls};
use crate::Broker;

/// Number of messages that wait for one subscriber. A subscriber that does not read loses further ones.
pub(crate) const BACKLOG: usize = 1024;
/// Number of requests that wait for the broker. Further callers wait until one of them is done.
const REQUESTS: usize = 256;
/// Time for a lost connection to come back while a caller waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time without a message after which a broker that is sending retained messages is taken to have lost its answer to a
/// request to subscribe.
///
/// A broker that sends nothing at all within this time has not answered.
const OWED: Duration = Duration::from_secs(2);
/// Longest time for which retained messages may arrive before the subscription counts as granted.
const FLOOD: Duration = Duration::from_secs(60);
/// Pause before a failed request is made again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Longest time to say goodbye to the broker.
const GOODBYE: Duration = Duration::from_millis(500);

/// Settings of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkConfig {
    /// Client id. `None` for a random one.
    pub(crate) client_id: Option<String>,
}

/// A connection to the broker, kept alive by a task of its own, which ends when this value is dropped.
pub(crate) struct Link {
    commands: mpsc::UnboundedSender<Command>,
    /// Room for requests. Commands that end something need none.
    room: Arc<Semaphore>,
    is_connected: watch::Receiver<bool>,
    protocol: Protocol,
    peer: Option<IpAddr>,
    task: JoinHandle<()>,
}

impl Link {
    /// Connects, and returns once the broker has accepted the client.
    ///
    /// Cancellation: nothing is left behind.
    pub(crate) async fn connect(broker: &Broker, config: LinkConfig) -> Result<Self, ConnectError> {
        tls::warn_of_open_key(broker);
        let fixed_id = config.client_id;
        // Every broker must accept 23 letters and digits (MQTT 3.1.1, 3.1.3.1).
        let client_id = fixed_id.clone().unwrap_or_else(|| format!("mqttota{:016x}", fastrand::u64(..)));
        let first = broker.protocol().unwrap_or(Protocol::V5);
        let is_first = broker.protocol().is_none();
        let (session, protocol) = match Session::open(broker, first, &client_id, is_first).await {
            Err(error) if is_first && error.may_be_the_protocol() => {
                let session = Session::open(broker, Protocol::V311, &client_id, false).await?;
                if matches!(error, ConnectError::Silent { .. }) {
                    tracing::warn!(
                        "the broker does not answer MQTT 5, so MQTT 3.1.1 is spoken with it; \
                         asking for that (the setting `protocol`) saves the wait"
                    );
                }
                (session, Protocol::V311)
            }
            session => (session?, first),
        };
        tracing::debug!(%broker, ?protocol, "connected to the broker");
        session.limits.warn();
        let client_id = session.limits.client_id.clone().unwrap_or(client_id);
        let peer = session.peer;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (connected, is_connected) = watch::channel(true);
        let reopen = Reopen { broker: broker.clone(), protocol, client_id };
        let driver = Driver::new(session.in_flight, connected);
        let task = tokio::spawn(driver.run(session, reopen, Setbacks::new(fixed_id), receiver));
        let room = Arc::new(Semaphore::new(REQUESTS));
        Ok(Self { commands, room, is_connected, protocol, peer, task })
    }

    /// Creates a link to a broker that accepts every message at once.
    #[cfg(test)]
    #[cfg(feature = "keeper")]
    pub(crate) fn accepting() -> Self {
        let (commands, mut receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(command) = receiver.recv().await {
                if let Command::Publish { done, .. } = command {
                    let _ = done.send(Ok(Ack::Accepted));
                }
            }
        });
        let (room, (_, is_connected)) = (Arc::new(Semaphore::new(REQUESTS)), watch::channel(true));
        Self { commands, room, is_connected, protocol: Protocol::V311, peer: None, task }
    }

    /// Returns the broker's address at the first connection. `None` if the broker is in this process.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Publishes with QoS 1 and waits for the broker's acknowledgement. While the connection is down, waits for it to
    /// come back.
    ///
    /// # Errors
    /// Returns an error if the connection was lost before the acknowledgement, or if the broker refuses the message.
    ///
    /// Cancellation: the message may still be published.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        lasting: Retention,
    ) -> Result<Ack, LinkError> {
        let (done, answer) = oneshot::channel();
        let (topic, payload) = (topic.to_owned(), payload.into());
        let command = Command::Publish { topic, payload, lasting, done, _room: self.room().await? };
        self.commands.send(command).map_err(|_| LinkError::Lost)?;
        answer.await.unwrap_or(Err(LinkError::Lost))
    }

    /// Publishes a retained message, as [`Link::publish`] does, or an ordinary one if the broker retains nothing.
    ///
    /// # Errors
    /// Fails as [`Link::publish`] does.
    ///
    /// Cancellation: the message may still be published.
    pub(crate) async fn publish_retained_if_possible(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<Ack, LinkError> {
        let payload = payload.into();
        match self.publish(topic, payload.clone(), Retention::Retained).await {
            Err(LinkError::NoRetain { .. }) => self.publish(topic, payload, Retention::Session).await,
            answer => answer,
        }
    }

    /// Waits until there is room for one more request.
    async fn room(&self) -> Result<OwnedSemaphorePermit, LinkError> {
        Arc::clone(&self.room).acquire_owned().await.map_err(|_| LinkError::Lost)
    }

    /// Repeats a request until the connection is back.
    ///
    /// # Errors
    /// Returns an error if there is no answer within 15 s, or if the broker refuses.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T, LinkError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, LinkError> {
        let trying = async {
            loop {
                match ask().await {
                    // Without the pause, this would be a busy loop once the link is closed.
                    Err(LinkError::Lost) => sleep(ASK_AGAIN).await,
                    answer => return answer,
                }
            }
        };
        timeout(PATIENCE, trying).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Returns the error for a request without an answer.
    fn late(&self) -> LinkError {
        if *self.is_connected.borrow() { LinkError::Unanswered } else { LinkError::Lost }
    }

    /// Subscribes to one filter after the other, each once the broker has acknowledged the one before. Starts again if
    /// the connection is lost and comes back.
    ///
    /// Retained messages come first: on return they have arrived for all filters but the last. (Brokers handle one
    /// client's packets in order. rumqttd does so only if it is asked for one filter at a time.)
    ///
    /// # Errors
    /// Returns an error if the connection does not come back within 15 s, if the broker neither answers nor sends
    /// messages for a filter within as long, or if it refuses a filter.
    ///
    /// Cancellation: the subscription ends.
    pub(crate) async fn subscribe(
        &self,
        filters: &[(&str, Qos)],
        backlog: usize,
    ) -> Result<Subscription, LinkError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.try_subscribe(filters, backlog).await {
                Err(LinkError::Lost) if Instant::now() < give_up => sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    }

    /// Subscribes like [`Link::subscribe`]. If the broker forbids a filter that is not `needed`, leaves out all such
    /// filters.
    ///
    /// # Errors
    /// Fails as [`Link::subscribe`] does for the needed filters.
    ///
    /// Cancellation: the subscription ends.
    pub(crate) async fn subscribe_as_allowed(
        &self,
        filters: &[(&str, Qos)],
        needed: impl Fn(&str) -> bool,
        backlog: usize,
    ) -> Result<Subscription, LinkError> {
        let refused = match self.subscribe(filters, backlog).await {
            Err(error @ LinkError::SubscribeRefused { .. }) => error,
            // Some brokers close the connection instead.
            Err(LinkError::Lost) => LinkError::Lost,
            answer => return answer,
        };
        let is_needed = matches!(&refused, LinkError::SubscribeRefused { topic, .. } if needed(topic));
        let fewer: Vec<_> = filters.iter().copied().filter(|(filter, _)| needed(filter)).collect();
        if is_needed || fewer.len() == filters.len() {
            return Err(refused);
        }
        tracing::debug!(%refused, "not all is subscribed to");
        self.subscribe(&fewer, backlog).await
    }

    async fn try_subscribe(
        &self,
        filters: &[(&str, Qos)],
        backlog: usize,
    ) -> Result<Subscription, LinkError> {
        let (messages, receiver) = inbox(backlog);
        let id = fastrand::u64(..);
        let subscription = Subscription { id, messages: receiver, commands: self.commands.clone() };
        for &(filter, qos) in filters {
            let (started, heard) = (Instant::now(), Arc::<AtomicUsize>::default());
            // The answer to any of the requests will do.
            let mut answers = FuturesUnordered::new();
            loop {
                let (done, granted) = oneshot::channel();
                answers.push(granted);
                let (filter, messages, heard) = (filter.to_owned(), messages.clone(), Arc::clone(&heard));
                let subscriber = Subscriber { id, filter, qos, messages, heard: Arc::clone(&heard) };
                let command = Command::Subscribe { subscriber, done, _room: self.room().await? };
                self.commands.send(command).map_err(|_| LinkError::Lost)?;
                match granted_within(&mut answers, &heard).await {
                    // The answer for this filter may be lost among the messages for another filter.
                    Err(LinkError::Unanswered) if started.elapsed() < PATIENCE => {}
                    granted => break granted?,
                }
            }
        }
        Ok(subscription)
    }

    /// Sends the queued requests, says goodbye and ends the connection. Gives up after half a second.
    pub(crate) async fn close(mut self) {
        let _ = self.commands.send(Command::Disconnect);
        let _ = timeout(GOODBYE, &mut self.task).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Messages for the filters of one subscription, which ends when this value is dropped.
pub(crate) struct Subscription {
    id: u64,
    messages: Inbox<Message>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Subscription {
    /// Waits for the next message. `None` once the link is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming<Message>> {
        self.messages.next().await
    }

    /// Returns the next message if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Incoming<Message>> {
        self.messages.try_next()
    }
}

/// Waits for the broker's answer, at least [`OWED`].
///
/// If the network is too slow for all the retained messages, Mosquitto drops some of them, and its answers with them. A
/// subscriber that receives messages (`heard` counts them) is therefore taken to be subscribed.
async fn granted_within(
    answers: &mut FuturesUnordered<oneshot::Receiver<Result<(), LinkError>>>,
    heard: &AtomicUsize,
) -> Result<(), LinkError> {
    let (started, mut count) = (Instant::now(), 0);
    loop {
        if let Ok(Some(answer)) = timeout(OWED, answers.next()).await {
            return answer.unwrap_or(Err(LinkError::Lost));
        }
        let before = replace(&mut count, heard.load(Ordering::Relaxed));
        match count {
            0 => return Err(LinkError::Unanswered),
            // Retained messages come to an end, but messages that devices publish meanwhile do not.
            _ if count == before || started.elapsed() >= FLOOD => return Ok(()),
            _ => {}
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Unsubscribe { id: self.id });
    }
}

#[cfg(test)]
mod tests;
