use std::mem::replace;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Command, Driver, Reopen, Subscriber};
use super::packet::{Answer, Lasting, Message, Qos};
use super::session::Session;
use super::{ConnectError, LinkError, Protocol};
use crate::Broker;

/// Messages that wait for one subscriber. One that does not read loses what comes after.
pub(crate) const BACKLOG: usize = 1024;
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

/// What a subscription yields.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Message),
    /// The connection is lost: what is published from here on is gone.
    Lost,
    /// It is back.
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
        let reopen = Reopen { broker: broker.clone(), protocol, client_id };
        let task = tokio::spawn(Driver::new(session.in_flight).run(session, reopen, receiver));
        Ok(Self { commands, protocol, peer, task })
    }

    /// To a broker that accepts all that is published, at once.
    #[cfg(test)]
    #[cfg(feature = "keeper")]
    pub(crate) fn accepting() -> Self {
        let (commands, mut receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(command) = receiver.recv().await {
                if let Command::Publish { done, .. } = command {
                    let _ = done.send(Answer::Accepted);
                }
            }
        });
        Self { commands, protocol: Protocol::V311, peer: None, task }
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
        lasting: Lasting,
    ) -> Result<Ack, LinkError> {
        let (done, answer) = oneshot::channel();
        let command = Command::Publish { topic: topic.to_owned(), payload: payload.into(), lasting, done };
        self.commands.send(command).map_err(|_| LinkError::Lost)?;
        match answer.await {
            Ok(Answer::Accepted) => Ok(Ack::Accepted),
            Ok(Answer::NoSubscribers) => Ok(Ack::NoSubscribers),
            Ok(Answer::Refused(reason)) => Err(LinkError::PublishRefused { topic: topic.to_owned(), reason }),
            Err(_) => Err(LinkError::Lost),
        }
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

    async fn try_subscribe(
        &self,
        filters: &[(&str, Qos)],
        backlog: usize,
    ) -> Result<Subscription, LinkError> {
        let (messages, receiver) = mpsc::channel(backlog);
        let id = fastrand::u64(..);
        let subscription = Subscription { id, messages: receiver, commands: self.commands.clone() };
        for &(filter, qos) in filters {
            let (done, granted) = oneshot::channel();
            let (messages, heard) = (messages.clone(), Arc::<AtomicUsize>::default());
            let subscriber =
                Subscriber { id, filter: filter.to_owned(), qos, messages, heard: Arc::clone(&heard) };
            self.commands.send(Command::Subscribe { subscriber, done }).map_err(|_| LinkError::Lost)?;
            if !is_granted(granted, &heard).await? {
                return Err(LinkError::SubscribeRefused { topic: filter.to_owned() });
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

/// The broker's answer. Of all the messages that it keeps, Mosquitto drops those that the network is too slow for, and
/// its answer with them: who is sent messages (`heard` counts them) is subscribed.
async fn is_granted(mut granted: oneshot::Receiver<bool>, heard: &AtomicUsize) -> Result<bool, LinkError> {
    let (started, mut count) = (Instant::now(), 0);
    loop {
        if let Ok(answer) = timeout(OWED, &mut granted).await {
            return answer.map_err(|_| LinkError::Lost);
        }
        let before = replace(&mut count, heard.load(Ordering::Relaxed));
        match count {
            0 if started.elapsed() >= PATIENCE => return Err(LinkError::Lost),
            0 => {}
            // What is kept comes to an end, and what devices say besides does not.
            _ if count == before || started.elapsed() >= FLOOD => return Ok(true),
            _ => {}
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Unsubscribe { id: self.id });
    }
}

/// Tries again while the connection comes back.
///
/// # Errors
/// It does not within 15 s, or the broker refuses.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, LinkError>>>(
    ask: impl Fn() -> F,
) -> Result<T, LinkError> {
    let trying = async {
        loop {
            match ask().await {
                // At once would be a busy loop where the link is closed or has no room.
                Err(LinkError::Lost) => sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    };
    timeout(PATIENCE, trying).await.unwrap_or(Err(LinkError::Lost))
}

#[cfg(test)]
mod tests;
