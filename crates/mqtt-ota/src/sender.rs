use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Broker;
use crate::address::{Advertise, Advertised, Listen, Routes, Why, choose};
use crate::attempt::{Attempt, Delivery};
use crate::boot;
use crate::error::SendError;
use crate::event::Event;
use crate::feed::Feed;
use crate::items::Items;
use crate::mqtt::{Ack, ConnectError, Lasting, Link, LinkConfig, Protocol};
use crate::options::SendOptions;
use crate::outcome::{Outcome, Report};
use crate::payload::Payload;
use crate::serve::{Ports, Server};
use crate::stream::{Stream, Wanted};
use crate::sync::random_id;
use crate::wire::{
    Announcement, AnyOffer, Content, DeviceName, DevicePath, Digest, ExtendedOffer, Host, Offer, Reason,
};

/// Ids of earlier offers of a delivery that a device may still answer.
const IDS: usize = 16;
/// How long a device may take to announce itself when it is asked to, before the old announcement counts.
const ANSWERS: Duration = Duration::from_secs(1);

/// How a sender connects and serves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The MQTT client id; None: a random one. Two clients with one id throw each other out.
    pub client_id: Option<String>,
    /// Where files are served.
    pub listen: Listen,
    /// What offers say instead of an address of this machine.
    pub advertise: Option<Advertise>,
}

/// What is brought to one device.
pub(crate) struct Errand<'a> {
    pub(crate) device: &'a DeviceName,
    /// What stands in the offer for the file's name.
    pub(crate) path: DevicePath,
    pub(crate) digest: Digest,
    /// The length of all files together, in bytes.
    pub(crate) bytes: u64,
    pub(crate) cargo: Cargo,
}

/// How it is offered.
pub(crate) enum Cargo {
    Plain(Payload),
    /// To a device that understands it.
    Extended {
        items: Items,
        content: Content,
    },
}

/// Offers files to devices over one connection to the broker.
///
/// Any number of files can be sent at once; to one device, one after the other. The connection is brought
/// back when it is lost.
pub struct Sender {
    link: Link,
    config: Config,
    ports: Ports,
    routes: Routes,
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
        let link = Link::connect(&broker, LinkConfig { client_id: config.client_id.clone() }).await?;
        // Where every offer names one port, two ports at once would get each other's devices.
        let is_only_one = config.advertise.as_ref().is_some_and(|advertise| advertise.port.is_some());
        let ports = Ports::new(config.listen.clone(), is_only_one);
        Ok(Self { link, config, ports, routes: Routes::default(), devices: Mutex::default() })
    }

    /// The version of MQTT that is spoken with the broker.
    pub fn protocol(&self) -> Protocol {
        self.link.protocol()
    }

    /// Offers `payload` to `device`, serves it once, and hears what became of it. A device that understands
    /// extended offers resumes where its link broke.
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
        let mut feed = Feed::of(device, &self.link).await?;
        self.send_over(&mut feed, payload, path, device, &options, started).await
    }

    /// [`Sender::send`] to a device that is heard already, under this name, with nobody else sending to it.
    pub(crate) async fn send_over(
        &self,
        feed: &mut Feed,
        payload: &Payload,
        path: DevicePath,
        device: &DeviceName,
        options: &SendOptions,
        started: Instant,
    ) -> Result<Report, SendError> {
        if let Some(announcement) = &feed.announcement {
            options.tell_own(|| Event::Announced(announcement.clone()));
        }
        let announced = feed.announcement.as_ref();
        options.allow(announced)?;
        let digest = payload.digest(announced.map(Announcement::file_algorithm).unwrap_or_default()).await?;
        let cargo = if announced.is_some_and(Announcement::understands_extended) {
            let items = Items::file(path.clone(), payload.clone(), digest);
            Cargo::Extended { items, content: Content::File(path.clone()) }
        } else {
            Cargo::Plain(payload.clone())
        };
        let errand = Errand { device, path, digest, bytes: payload.len(), cargo };
        Ok(self.deliver(errand, options, feed, started).await?.0)
    }

    /// Offers until there is an outcome that does not pass by itself, and waits for what follows it.
    pub(crate) async fn deliver(
        &self,
        errand: Errand<'_>,
        options: &SendOptions,
        feed: &mut Feed,
        started: Instant,
    ) -> Result<(Report, Wanted), SendError> {
        let Errand { device, path, digest, bytes, cargo } = errand;
        let (mut attempts, mut failures, mut sent, mut furthest) = (0, 0, 0, 0);
        let (mut first_taken, mut ids, mut has_met) = (None, Vec::new(), false);
        let mut was_silent = false;
        let mut all_wanted = Wanted::default();
        let (mut report, is_late) = loop {
            attempts += 1;
            let reboot = options.reboot;
            let offered = |advertised: &Advertised, local, offer: &dyn Fn() -> AnyOffer| {
                options.tell_own(|| Event::Listening { local, advertised: advertised.clone() });
                options.tell_own(|| Event::Offered { attempt: attempts, offer: offer() });
            };
            let (delivery, advertised) = match &cargo {
                Cargo::Plain(payload) => {
                    let _port = self.ports.own().await.map_err(|source| self.not_listening(source))?;
                    feed.catch_up();
                    self.ask_for_room(device, payload, feed).await;
                    let (host, why) = self.host(feed);
                    let bound = Server::bind(&self.config.listen, host.address()).await;
                    let server = bound.map_err(|source| self.not_listening(source))?;
                    let advertised = self.advertised(host, why, server.local())?;
                    let (host, port) = (advertised.host.clone(), advertised.port);
                    let offer = Offer { host, port, path: path.clone(), digest, reboot };
                    offered(&advertised, server.local(), &|| AnyOffer::Plain(offer.clone()));
                    let (link, offer, at) = (&self.link, &offer, &advertised);
                    let is_known = options.wait_for_device && (has_met || feed.announcement.is_some());
                    let waits = is_known.then_some(options.connect_timeout);
                    let attempt = Attempt { link, device, payload, offer, advertised: at, options, waits };
                    (attempt.run(server, feed).await?, advertised)
                }
                Cargo::Extended { items, content } => {
                    let device_at = feed.device_address();
                    let (mut host, mut why) = self.host(feed);
                    let shared = self.ports.shared(host.address()).await;
                    let shared = shared.map_err(|source| self.not_listening(source))?;
                    feed.catch_up();
                    if feed.device_address() != device_at {
                        (host, why) = self.host(feed);
                    }
                    let advertised = self.advertised(host, why, shared.local())?;
                    let (host, port) = (advertised.host.clone(), advertised.port);
                    let (content, id) = (content.clone(), random_id()?);
                    let size = items.get(0).map_or(0, |item| item.payload.len());
                    let offer =
                        ExtendedOffer { host, port, content, digest, reboot, id, size, answers: true };
                    offered(&advertised, shared.local(), &|| AnyOffer::Extended(offer.clone()));
                    let (link, offer, at) = (&self.link, &offer, &advertised);
                    let earlier = &ids;
                    let stream = Stream { link, device, items, offer, advertised: at, options, earlier };
                    let delivery = stream.run(&shared, feed).await?;
                    // A try that gets further may follow another without end; what is late is late by one or two.
                    ids.push(id);
                    ids.drain(..ids.len().saturating_sub(IDS));
                    (delivery, advertised)
                }
            };
            let Delivery { mut outcome, peer, taken, position, wanted, met, .. } = delivery;
            has_met |= met;
            sent += delivery.sent;
            all_wanted.items.extend(wanted.items);
            all_wanted.deletions = wanted.deletions;
            first_taken = first_taken.or(taken);
            // The answer to an earlier attempt was lost on the way.
            let is_late = outcome == Outcome::Unchanged && attempts > 1;
            if is_late {
                outcome = Outcome::Installed;
            }
            // A device that has the file already does not come for it again.
            let is_silent_still =
                was_silent && matches!(outcome, Outcome::NobodyConnected { receiving: false, .. });
            if is_silent_still {
                outcome = Outcome::Silent;
            }
            was_silent = outcome == Outcome::Silent;
            if matches!(&outcome, Outcome::Failed { reason: Reason::HashMismatch, .. }) {
                // Perhaps it was not the link: the file may have changed between two ticks of its clock.
                match &cargo {
                    Cargo::Plain(payload) => payload.verify(digest).await?,
                    Cargo::Extended { items, .. } => items.verify().await?,
                }
            }
            // A device that got further than before will be done some time, however often its link breaks.
            let advanced = position > furthest;
            furthest = furthest.max(position);
            all_wanted.position = furthest;
            failures = if advanced { 1 } else { failures + 1 };
            if !outcome.may_pass() || is_silent_still || failures > options.retries {
                let report = Report {
                    outcome,
                    device: device.clone(),
                    path,
                    digest: Some(digest),
                    bytes,
                    sent,
                    attempts,
                    advertised: Some(advertised),
                    peer,
                    elapsed: started.elapsed(),
                    back_online: None,
                };
                break (report, is_late);
            }
            options.tell(Event::Retrying {
                attempt: attempts + 1,
                of: attempts + 1 + options.retries - failures,
                after: options.retry_pause,
                because: outcome,
            });
            sleep(options.retry_pause).await;
        };
        if report.outcome == Outcome::Installed {
            options.tell(Event::Installed);
            if options.wait_for_boot && options.reboot {
                options.tell(Event::WaitingForBoot);
                report.back_online =
                    first_taken.filter(|_| is_late).and_then(|taken| boot::before_its_word(feed, taken));
                if report.back_online.is_none() {
                    boot::wait(&mut report, feed, options.boot_timeout).await;
                }
            }
        }
        Ok((report, all_wanted))
    }

    /// Asks a device to announce itself anew where it has announced too little free space for a file, and waits a moment
    /// for it: files may have gone since. Only if it has said that it answers that.
    async fn ask_for_room(&self, device: &DeviceName, payload: &Payload, feed: &mut Feed) {
        let announcement = feed.announcement.as_ref().filter(|announcement| announcement.asks);
        if announcement.and_then(|announcement| announcement.free).is_none_or(|free| free >= payload.len()) {
            return;
        }
        let (topic, request) = (device.offer_topic(), Announcement::REQUEST);
        if self.link.publish(&topic, request, Lasting::For(ANSWERS)).await == Ok(Ack::Accepted) {
            feed.announcement_within(ANSWERS).await;
        }
    }

    /// Says goodbye to the broker. Dropping a sender closes the connection without one.
    pub async fn close(self) {
        self.link.close().await;
    }

    /// The connection to the broker.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// What keeps two offers to one device apart.
    pub(crate) fn turn(&self, device: &DeviceName) -> Arc<tokio::sync::Mutex<()>> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|_, turn| turn.strong_count() > 0);
        let known = devices.get(device).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            devices.insert(device.clone(), Arc::downgrade(&turn));
            turn
        })
    }

    /// The host that an offer names, and why.
    fn host(&self, feed: &Feed) -> (Host, Why) {
        let Config { advertise, listen, .. } = &self.config;
        choose(advertise.as_ref(), listen, feed.device_address(), self.link.peer(), |to| {
            self.routes.local(to)
        })
    }

    /// What an offer says about where the file is that is served at `local`.
    fn advertised(&self, host: Host, why: Why, local: SocketAddr) -> Result<Advertised, SendError> {
        let told = self.config.advertise.as_ref().and_then(|advertise| advertise.port);
        let port = told.or_else(|| NonZeroU16::new(local.port()));
        let port = port.ok_or_else(|| self.not_listening(io::ErrorKind::AddrNotAvailable.into()))?;
        Ok(Advertised { host, port, why })
    }

    fn not_listening(&self, source: io::Error) -> SendError {
        SendError::Listen { listen: self.config.listen.clone(), source }
    }
}
