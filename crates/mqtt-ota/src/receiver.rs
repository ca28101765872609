//! The device's side in Rust: for Linux boards, and for tests.

mod fetch;
mod install;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::fetch::fetch;
use self::install::{Failure, Root};
use crate::Broker;
use crate::address::route_to;
use crate::mqtt::{
    self, ConnectError, Incoming, Link, LinkConfig, LinkError, Protocol, Qos, Subscription, patiently,
};
use crate::wire::{Algorithm, Announcement, DeviceName, DevicePath, Digest, Offer, Reason, State, Status};

/// Events that wait to be read; the receiver waits for their reader after that.
const BACKLOG: usize = 256;

/// How a receiver behaves.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// The MQTT client id; None: the device's name behind `mqtt-ota-`.
    pub client_id: Option<String>,
    /// The version of MQTT; None: 5, and 3.1.1 where the broker does not speak it.
    pub protocol: Option<Protocol>,
    /// How long to wait for a sender to accept the connection. 10 s.
    pub connect_timeout: Duration,
    /// How long a sender may send nothing. Every byte renews it. 20 s.
    pub idle_timeout: Duration,
    /// The longest file, in bytes: a plain offer does not say how long its file is, and a stream may not
    /// end. 4 GiB.
    pub max_size: u64,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            client_id: None,
            protocol: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(20),
            max_size: 4 << 30,
        }
    }
}

/// What a receiver does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReceiverEvent {
    /// It is subscribed and has announced itself: at the start, and after each lost connection.
    Online(Announcement),
    /// It takes this offer.
    Receiving(Offer),
    /// Bytes came in.
    Progress {
        /// How many so far.
        received: u64,
    },
    /// A file is in place, and its status is published.
    Installed {
        /// Its name.
        path: DevicePath,
        /// Its digest.
        digest: Digest,
        /// Its length.
        bytes: u64,
    },
    /// The file was there already.
    Unchanged {
        /// Its name.
        path: DevicePath,
    },
    /// An offer was not taken, or not to its end. The old file is untouched.
    Failed {
        /// The offer's file, as far as it could be read. From a peer.
        path: String,
        /// The code.
        reason: Reason,
        /// The words. Partly from a peer.
        text: String,
    },
    /// A board would reboot now. Call [`Receiver::rebooted`] once what stands for it is done.
    Reboot,
}

/// A device: takes offers for `name`, and keeps its files below a folder.
///
/// A file is streamed to a temporary file in the same file system, checked, synced to the disk, renamed
/// over the old one, and the folder is synced. The old file stays whole until then.
pub struct Receiver {
    events: mpsc::Receiver<ReceiverEvent>,
    rebooted: mpsc::Sender<()>,
    task: JoinHandle<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Receiver {
    /// Connects, subscribes and announces the device.
    ///
    /// # Errors
    /// The folder cannot be used, or the broker not be reached.
    ///
    /// Cancellation: the connection is closed. An announcement that was made already stays.
    pub async fn start(
        broker: Broker,
        name: DeviceName,
        root: impl AsRef<Path>,
        config: ReceiverConfig,
    ) -> Result<Self, ReceiverError> {
        let path = root.as_ref().to_owned();
        let root = Root::open(path.clone()).await.map_err(|source| ReceiverError::Root { path, source })?;
        let client_id = config.client_id.clone().unwrap_or_else(|| format!("mqtt-ota-{name}"));
        let link = Link::connect(&broker, LinkConfig { client_id, protocol: config.protocol }).await?;
        let offer_topic = name.offer_topic();
        let offers = link.subscribe(&[(&offer_topic, Qos::AtLeastOnce)], mqtt::BACKLOG).await?;
        let (events, receiver) = mpsc::channel(BACKLOG);
        let (rebooted, reboots) = mpsc::channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let device = Device { link, name, root, config, events, reboot_due: false, last: None };
        device.announce().await?;
        let task = tokio::spawn(async move {
            let mut device = device;
            tokio::select! {
                _ = stopped => {}
                () = device.run(offers, reboots) => {}
            }
            device.link.close().await;
        });
        Ok(Self { events: receiver, rebooted, task, stop: Some(stop) })
    }

    /// What happens next; None once the receiver has ended. Cancel safe.
    ///
    /// The events must be read: with 256 of them waiting, the receiver waits as well.
    pub async fn next(&mut self) -> Option<ReceiverEvent> {
        self.events.recv().await
    }

    /// Says that what stands for a reboot is done: the device announces itself again, and reports that what
    /// was installed is running.
    pub async fn rebooted(&self) {
        let _ = self.rebooted.send(()).await;
    }

    /// Finishes what is under way with the broker and says goodbye. A file that is being received is
    /// abandoned, and the old one stays.
    pub async fn stop(mut self) {
        self.stop.take();
        self.events.close();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a receiver cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The folder.
    #[error("cannot keep a device's files in {}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No connection to the broker.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker does not let the device subscribe or announce itself.
    #[error(transparent)]
    Broker(#[from] LinkError),
}

/// The task behind a [`Receiver`].
struct Device {
    link: Link,
    name: DeviceName,
    root: Root,
    config: ReceiverConfig,
    events: mpsc::Sender<ReceiverEvent>,
    /// A file that was installed waits for its reboot.
    reboot_due: bool,
    /// The file that was installed last.
    last: Option<(DevicePath, Digest)>,
}

impl Device {
    async fn run(&mut self, mut offers: Subscription, mut reboots: mpsc::Receiver<()>) {
        loop {
            tokio::select! {
                Some(()) = reboots.recv() => self.running().await,
                incoming = offers.next() => match incoming {
                    None => return,
                    Some(Incoming::Lost) => {}
                    Some(Incoming::Reconnected) => drop(self.announce().await),
                    Some(Incoming::Message(message)) => self.take(&message.payload).await,
                },
            }
        }
    }

    /// Publishes the announcement, retained.
    async fn announce(&self) -> Result<(), LinkError> {
        let mut announcement = Announcement::new();
        announcement.client = Some(concat!("mqtt-ota ", env!("CARGO_PKG_VERSION")).to_owned());
        announcement.system = Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
        // The local address that faces the broker: where the network is in which senders are.
        announcement.address = self.link.peer().and_then(|broker| route_to(broker).ok());
        announcement.algorithms = vec![Algorithm::Sha1, Algorithm::Sha256];
        let topic = self.name.announcement_topic();
        patiently(|| self.link.publish(&topic, announcement.to_string(), true)).await?;
        self.tell(ReceiverEvent::Online(announcement)).await;
        Ok(())
    }

    /// Takes one offer from its message to its status. Nothing that it says can end the receiver.
    async fn take(&mut self, message: &Bytes) {
        let offer = match Offer::parse(message) {
            Ok(offer) => offer,
            Err(error) => {
                let (path, digest) = Offer::fields_of_invalid(message);
                let reason = match error {
                    crate::wire::OfferError::Path(_) => Reason::BadName,
                    _ => Reason::BadOffer,
                };
                let text = match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                self.failed(path, digest, reason, text).await;
                return;
            }
        };
        match self.installed(&offer).await {
            Ok(Some(bytes)) => {
                self.reboot_due = true;
                self.last = Some((offer.path.clone(), offer.digest));
                self.say(State::Installed, &offer, "").await;
                let Offer { path, digest, .. } = offer.clone();
                self.tell(ReceiverEvent::Installed { path, digest, bytes }).await;
            }
            Ok(None) => {
                self.say(State::Installed, &offer, Status::UNCHANGED).await;
                self.tell(ReceiverEvent::Unchanged { path: offer.path.clone() }).await;
            }
            Err(Failure { reason, text }) => {
                self.failed(offer.path.as_str(), &offer.digest.to_string(), reason, text).await;
                return;
            }
        }
        if offer.reboot && self.reboot_due {
            self.reboot_due = false;
            self.tell(ReceiverEvent::Reboot).await;
        }
    }

    /// Fetches and installs what is offered; yields its length, or nothing where it is there already.
    async fn installed(&self, offer: &Offer) -> Result<Option<u64>, Failure> {
        let place = self.root.place(&offer.path).await?;
        if place.holds(offer.digest).await {
            return Ok(None);
        }
        let install = async {
            self.tell(ReceiverEvent::Receiving(offer.clone())).await;
            let incoming = self.root.incoming().await?;
            let (incoming, bytes) = fetch(offer, incoming, &self.config, &self.events).await?;
            place.install(incoming).await?;
            Ok(Some(bytes))
        };
        // The broker may take its time to acknowledge what it is told first.
        let ((), installed) = tokio::join!(self.say(State::Receiving, offer, ""), install);
        installed
    }

    async fn failed(&self, path: &str, digest: &str, reason: Reason, text: String) {
        let detail = format!("{reason} {text}");
        let status =
            Status { state: State::Failed, path: path.to_owned(), digest: digest.to_owned(), detail };
        self.publish(status).await;
        self.tell(ReceiverEvent::Failed { path: path.to_owned(), reason, text }).await;
    }

    /// What follows a reboot.
    async fn running(&self) {
        let _ = self.announce().await;
        if let Some((path, digest)) = &self.last {
            self.publish(Status::new(State::Running, path, digest, "")).await;
        }
    }

    async fn say(&self, state: State, offer: &Offer, detail: &str) {
        self.publish(Status::new(state, &offer.path, &offer.digest, detail)).await;
    }

    /// Publishes a status. One that the broker does not take is lost: the next offer of the same file is
    /// answered with `unchanged`.
    async fn publish(&self, status: Status) {
        let topic = self.name.status_topic();
        if let Err(error) = patiently(|| self.link.publish(&topic, status.to_string(), false)).await {
            tracing::warn!(%error, %status, "a status could not be published");
        }
    }

    async fn tell(&self, event: ReceiverEvent) {
        let _ = self.events.send(event).await;
    }
}
