use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::Broker;
use crate::address::{Advertise, Advertised, Listen, choose, route_to};
use crate::attempt::{Attempt, Delivery};
use crate::event::{Event, Observer};
use crate::mqtt::{ConnectError, Incoming, Link, LinkConfig, LinkError, Protocol, Qos, Subscription};
use crate::outcome::{BackOnline, Outcome, Report};
use crate::payload::{Payload, PayloadError};
use crate::serve::Server;
use crate::wire::{Announcement, DeviceName, DevicePath, Offer, PathError, Reason, State, Status};

/// How long a connection to the broker that was lost may take to come back.
const BROKER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a device's announcement may come after the broker has said that it sent everything it keeps:
/// brokers with a distributed store do that.
const LATE_ANNOUNCEMENT: Duration = Duration::from_millis(50);
/// How long the broker may be silent before the list of devices is taken to be whole.
const LAST_DEVICE: Duration = Duration::from_millis(200);

/// How a sender connects and serves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The MQTT client id; None: a random one. Two clients with one id throw each other out.
    pub client_id: Option<String>,
    /// The version of MQTT; None: 5, and 3.1.1 where the broker does not speak it.
    pub protocol: Option<Protocol>,
    /// Where files are served.
    pub listen: Listen,
    /// What offers say instead of an address of this machine.
    pub advertise: Option<Advertise>,
}

/// How one file is sent.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// The file's name on the device; None: the payload's.
    pub path: Option<DevicePath>,
    /// Whether the device reboots afterwards. True.
    pub reboot: bool,
    /// Whether to wait until the device has announced itself again. False.
    pub wait_for_boot: bool,
    /// How often a failure that may pass by itself is offered again. 2.
    pub retries: u32,
    /// The pause before offering again. 2 s.
    pub retry_pause: Duration,
    /// How long to wait for a device to connect, from the broker's acknowledgement on. 30 s.
    pub connect_timeout: Duration,
    /// How long a connected device may take nothing. Every byte that it takes renews it. 20 s.
    pub idle_timeout: Duration,
    /// How long to wait for a device's word once it has the whole file. 30 s.
    pub confirm_timeout: Duration,
    /// How long to wait for a device to be back after its reboot. 60 s.
    pub boot_timeout: Duration,
    /// Who is told what happens; None: nobody.
    pub observer: Option<Observer>,
}

impl SendOptions {
    /// Calls `tell` with everything that happens. It is called in between, so it must not block.
    #[must_use]
    pub fn on_event(mut self, tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(tell));
        self
    }

    pub(crate) fn tell(&self, event: Event) {
        tracing::debug!(?event);
        if let Some(observer) = &self.observer {
            observer.tell(event);
        }
    }
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            path: None,
            reboot: true,
            wait_for_boot: false,
            retries: 2,
            retry_pause: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(20),
            confirm_timeout: Duration::from_secs(30),
            boot_timeout: Duration::from_secs(60),
            observer: None,
        }
    }
}

/// Offers files to devices over one connection to the broker.
///
/// Any number of files can be sent at once; to one device, one after the other. The connection is brought
/// back when it is lost.
pub struct Sender {
    link: Link,
    config: Config,
    broker_address: Option<IpAddr>,
    /// One permit a port, where the ports are limited.
    ports: Arc<Semaphore>,
    devices: Mutex<HashMap<DeviceName, Weak<tokio::sync::Mutex<()>>>>,
}

impl Sender {
    /// Connects to the broker.
    ///
    /// # Errors
    /// The broker cannot be reached, does not speak MQTT or does not let this client in.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn connect(broker: Broker, config: Config) -> Result<Self, ConnectError> {
        let client_id =
            config.client_id.clone().unwrap_or_else(|| format!("mqtt-ota-{:016x}", fastrand::u64(..)));
        let link = Link::connect(&broker, LinkConfig { client_id, protocol: config.protocol }).await?;
        // Only a way to choose an address: no reason to fail.
        let broker_address = match lookup_host((broker.host(), broker.port())).await {
            Ok(mut addresses) => addresses.next().map(|address| address.ip()),
            Err(_) => None,
        };
        let ports =
            if config.listen.any_port() { Semaphore::MAX_PERMITS } else { config.listen.ports().len() };
        Ok(Self {
            link,
            config,
            broker_address,
            ports: Arc::new(Semaphore::new(ports)),
            devices: Mutex::default(),
        })
    }

    /// The version of MQTT that is spoken with the broker.
    pub fn protocol(&self) -> Protocol {
        self.link.protocol()
    }

    /// Offers `payload` to `device`, serves it once, and hears what became of it.
    ///
    /// # Errors
    /// Only what went wrong on this side: the file, the port, the broker. What the device did, or did not
    /// do, is the [`Outcome`].
    ///
    /// Cancellation: dropping the future closes the port and the device keeps its old file, or finishes with
    /// what it has taken whole.
    pub async fn send(
        &self,
        payload: &Payload,
        device: &DeviceName,
        options: SendOptions,
    ) -> Result<Report, SendError> {
        let started = Instant::now();
        let path = match &options.path {
            Some(path) => path.clone(),
            None => payload
                .name()
                .parse()
                .map_err(|source| SendError::Name { name: payload.name().to_owned(), source })?,
        };
        let turn = self.turn(device);
        let _turn = turn.lock().await;
        let mut subscription = self.subscribe(device).await?;
        let mut announcement = self.announcement(device, &mut subscription).await;
        if let Some(announcement) = &announcement {
            options.tell(Event::Announced(announcement.clone()));
        }
        let algorithm = announcement.as_ref().map(Announcement::preferred_algorithm).unwrap_or_default();
        let digest = payload.digest(algorithm).await?;

        let mut attempts = 0;
        let mut taken_before = false;
        let mut report = loop {
            attempts += 1;
            let _port = self.ports.acquire().await;
            let (server, advertised) = self.listen(announcement.as_ref().and_then(|a| a.address)).await?;
            options.tell(Event::Listening { local: server.local(), advertised: advertised.clone() });
            let offer = Offer {
                host: advertised.host.clone(),
                port: advertised.port,
                path: path.clone(),
                digest,
                reboot: options.reboot,
            };
            options.tell(Event::Offered { attempt: attempts, offer: offer.clone() });
            let attempt = Attempt {
                link: &self.link,
                device,
                payload,
                offer: &offer,
                advertised: &advertised,
                options: &options,
            };
            let Delivery { mut outcome, peer } =
                attempt.run(server, &mut subscription, &mut announcement).await?;
            if outcome == Outcome::Unchanged && taken_before {
                // The answer to an earlier attempt was lost on the way.
                outcome = Outcome::Installed;
            }
            taken_before |= peer.is_some();
            if matches!(&outcome, Outcome::Failed { reason: Reason::HashMismatch, .. }) {
                // Perhaps it was not the link: the file may have changed between two ticks of its clock.
                payload.verify(digest).await?;
            }
            if !outcome.may_pass() || attempts > options.retries {
                break Report {
                    outcome,
                    device: device.clone(),
                    path,
                    digest,
                    bytes: payload.len(),
                    attempts,
                    advertised,
                    peer,
                    elapsed: started.elapsed(),
                    back_online: None,
                };
            }
            options.tell(Event::Retrying {
                attempt: attempts + 1,
                of: options.retries + 1,
                after: options.retry_pause,
                because: outcome,
            });
            sleep(options.retry_pause).await;
        };
        if report.outcome == Outcome::Installed {
            options.tell(Event::Installed);
            if options.wait_for_boot && options.reboot {
                options.tell(Event::WaitingForBoot);
                self.back_online(&mut report, &mut subscription, options.boot_timeout).await;
                report.elapsed = started.elapsed();
            }
        }
        Ok(report)
    }

    /// The devices that have announced themselves, by name. Waits until the broker has sent what it keeps.
    ///
    /// # Errors
    /// The connection to the broker is lost, or it forbids to subscribe.
    ///
    /// Cancel safe.
    pub async fn devices(&self) -> Result<Vec<(DeviceName, Announcement)>, SendError> {
        let mut found = HashMap::new();
        let filters = [(DeviceName::ANNOUNCEMENTS, Qos::AtMostOnce)];
        let mut subscription = patiently(|| self.link.subscribe(&filters)).await?;
        while let Ok(Some(incoming)) = timeout(LAST_DEVICE, subscription.next()).await {
            let Incoming::Message(message) = incoming else { continue };
            let Some(name) = DeviceName::from_announcement_topic(&message.topic) else { continue };
            match Announcement::parse(&message.payload) {
                Ok(announcement) => drop(found.insert(name, announcement)),
                Err(error) => tracing::warn!(device = %name, %error, "an announcement cannot be read"),
            }
        }
        let mut devices: Vec<_> = found.into_iter().collect();
        devices.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(devices)
    }

    /// Says goodbye to the broker. Dropping a sender closes the connection without one.
    pub async fn close(self) {
        self.link.close().await;
    }

    /// What keeps two offers to one device apart.
    fn turn(&self, device: &DeviceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|_, turn| turn.strong_count() > 0);
        let known = devices.get(device).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            devices.insert(device.clone(), Arc::downgrade(&turn));
            turn
        })
    }

    async fn subscribe(&self, device: &DeviceName) -> Result<Subscription, SendError> {
        let (announcement, status) = (device.announcement_topic(), device.status_topic());
        // The status comes second: its acknowledgement shows that a retained announcement has come.
        let filters = [(announcement.as_str(), Qos::AtMostOnce), (status.as_str(), Qos::AtLeastOnce)];
        Ok(patiently(|| self.link.subscribe(&filters)).await?)
    }

    /// What the device has announced, as far as the broker knows.
    async fn announcement(
        &self,
        device: &DeviceName,
        subscription: &mut Subscription,
    ) -> Option<Announcement> {
        let topic = device.announcement_topic();
        let mut incoming = subscription.try_next();
        if incoming.is_none() {
            incoming = timeout(LATE_ANNOUNCEMENT, subscription.next()).await.ok().flatten();
        }
        let Some(Incoming::Message(message)) = incoming else { return None };
        announcement(&message.topic, &message.payload, &topic)
    }

    /// Opens a port, and says how a device gets there.
    async fn listen(&self, device: Option<IpAddr>) -> Result<(Server, Advertised), SendError> {
        let Config { advertise, listen, .. } = &self.config;
        let (host, why) = choose(advertise.as_ref(), listen, device, self.broker_address, route_to);
        let failed = |source| SendError::Listen { listen: listen.clone(), source };
        let server = Server::bind(listen, host.address()).await.map_err(failed)?;
        let told = advertise.as_ref().and_then(|advertise| advertise.port);
        let port =
            told.or_else(|| server.port()).ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        Ok((server, Advertised { host, port, why }))
    }

    async fn back_online(&self, report: &mut Report, subscription: &mut Subscription, limit: Duration) {
        let installed = Instant::now();
        let topic = report.device.announcement_topic();
        let back = async {
            loop {
                let Incoming::Message(message) = subscription.next().await? else { continue };
                if let Ok(Status { state: State::RolledBack, detail: text, .. }) =
                    Status::parse(&message.payload)
                {
                    return Some(Err(Outcome::RolledBack { text }));
                }
                // What was retained is from before the reboot.
                if let Some(announcement) = announcement(&message.topic, &message.payload, &topic)
                    && !message.retained
                {
                    return Some(Ok(BackOnline { announcement, after: installed.elapsed() }));
                }
            }
        };
        match timeout(limit, back).await {
            Ok(Some(Ok(back))) => report.back_online = Some(back),
            Ok(Some(Err(rolled_back))) => report.outcome = rolled_back,
            Ok(None) | Err(_) => report.outcome = Outcome::NotBackOnline,
        }
    }
}

/// Tries again while the connection comes back.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, LinkError>>>(
    ask: impl Fn() -> F,
) -> Result<T, LinkError> {
    let trying = async {
        loop {
            match ask().await {
                Err(LinkError::Lost) => {}
                answer => return answer,
            }
        }
    };
    timeout(BROKER_PATIENCE, trying).await.unwrap_or(Err(LinkError::Lost))
}

/// The announcement in a message, if it is one.
pub(crate) fn announcement(topic: &str, payload: &[u8], expected: &str) -> Option<Announcement> {
    if topic != expected || payload.is_empty() {
        return None;
    }
    Announcement::parse(payload)
        .inspect_err(|error| tracing::warn!(topic, %error, "an announcement cannot be read"))
        .ok()
}

/// What went wrong on the sender's side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The file.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The file's own name cannot be its name on the device.
    #[error("{name:?} cannot be a file's name on the device")]
    Name {
        /// The file's name here.
        name: String,
        /// The rule that it breaks.
        source: PathError,
    },
    /// No port to serve the file on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// What was asked for.
        listen: Listen,
        /// What the system says of the last port that was tried.
        source: io::Error,
    },
    /// The broker.
    #[error(transparent)]
    Broker(#[from] LinkError),
}

impl SendError {
    /// What to try next, as a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Payload(PayloadError::Changed { .. }) => {
                "the device keeps its old file: send again once the file is written"
            }
            Self::Payload(PayloadError::NotAFile { folder: true, .. }) => "name the files in it",
            Self::Name { .. } => "give it another name on the device (--as on the command line)",
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program has this port: choose another one, or a range"
            }
            Self::Listen { .. } => "the address must be one of this machine's",
            Self::Broker(LinkError::Lost) => {
                "the device keeps its old file unless it has taken the whole new one: send again once the broker is back"
            }
            Self::Broker(_) => "check the broker's access list for this user",
            Self::Payload(_) => return None,
        })
    }
}
