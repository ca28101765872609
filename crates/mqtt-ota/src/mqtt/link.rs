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

/// Messages that wait for one subscriber. One that does not read loses what comes after.
pub(crate) const BACKLOG: usize = 1024;
/// Requests that wait for the broker; who asks for more waits for one of them.
const REQUESTS: usize = 256;
/// How long a connection that was lost may take to come back for somebody who waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a broker that sends what it keeps may be silent, and still owe its answer to a request to subscribe.
const OWED: Duration = Duration::from_secs(2);
/// How long what it keeps may come before it is taken to be all.
const FLOOD: Duration = Duration::from_secs(60);
/// The pause before a request that was not taken is made again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// How to connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkConfig {
    /// None: a random one.
    pub(crate) client_id: Option<String>,
}

/// One connection to the broker, kept alive by a task of its own, which ends with this value.
pub(crate) struct Link {
    commands: mpsc::UnboundedSender<Command>,
    /// For requests; what ends something needs none.
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
        // 23 letters and digits: that much every broker must take (MQTT 3.1.1, 3.1.3.1).
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

    /// To a broker that accepts all that is published, at once.
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

    /// The broker's address, as it was first reached; None where it is in this process.
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
        lasting: Retention,
    ) -> Result<Ack, LinkError> {
        let (done, answer) = oneshot::channel();
        let (topic, payload) = (topic.to_owned(), payload.into());
        let command = Command::Publish { topic, payload, lasting, done, _room: self.room().await? };
        self.commands.send(command).map_err(|_| LinkError::Lost)?;
        answer.await.unwrap_or(Err(LinkError::Lost))
    }

    /// Publishes what is to be retained, as [`Link::publish`] does, or, where the broker retains nothing, once.
    ///
    /// # Errors
    /// As of [`Link::publish`].
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

    /// Tries again while the connection comes back.
    ///
    /// # Errors
    /// It does not within 15 s, or the broker refuses.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T, LinkError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, LinkError> {
        let trying = async {
            loop {
                match ask().await {
                    // At once would be a busy loop where the link is closed.
                    Err(LinkError::Lost) => sleep(ASK_AGAIN).await,
                    answer => return answer,
                }
            }
        };
        timeout(PATIENCE, trying).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Why nothing was heard for so long.
    fn late(&self) -> LinkError {
        if *self.is_connected.borrow() { LinkError::Unanswered } else { LinkError::Lost }
    }

    /// Subscribes to one filter after the other, each once the broker has acknowledged the one before; again, where the
    /// connection is lost and comes back.
    ///
    /// What the broker has retained comes first: when this returns, it has arrived for all filters but the
    /// last. (Brokers handle one client's packets in order; rumqttd does so only if it is asked one by one.)
    ///
    /// # Errors
    /// The connection does not come back within 15 s, the broker neither answers nor sends what was asked for within as
    /// long, or it refuses.
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

    /// The same, without the filters that are not `needed` where the broker forbids one of them.
    ///
    /// # Errors
    /// As of [`Link::subscribe`], of those that are needed.
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
                    // The answer to this filter may be lost among the messages for another one.
                    Err(LinkError::Unanswered) if started.elapsed() < PATIENCE => {}
                    granted => break granted?,
                }
            }
        }
        Ok(subscription)
    }

    /// Sends what is queued, says goodbye and ends the connection; gives up after half a second.
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

/// What comes in for one topic filter. Ends with the value.
pub(crate) struct Subscription {
    id: u64,
    messages: Inbox<Message>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Subscription {
    /// The next message; None once the link is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming<Message>> {
        self.messages.next().await
    }

    /// A message that is here already.
    pub(crate) fn try_next(&mut self) -> Option<Incoming<Message>> {
        self.messages.try_next()
    }
}

/// Waits for the broker's answer, [`OWED`] at least. Where the network is too slow for all the messages that it retains, Mosquitto
/// drops some, and its answers with them: a subscriber that is sent messages (`heard` counts them) is subscribed.
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
            // What is kept comes to an end, and what devices say besides does not.
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
