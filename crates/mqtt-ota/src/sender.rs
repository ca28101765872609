mod errand;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

pub(crate) use self::errand::{Cargo, Errand, random_id};
use crate::Broker;
use crate::address::{Advertise, Advertised, Listen, Routes, Why, choose};
use crate::error::SendError;
use crate::event::Event;
use crate::feed::Feed;
use crate::items::Items;
use crate::mqtt::{ConnectError, Link, LinkConfig, Protocol};
use crate::options::SendOptions;
use crate::outcome::Report;
use crate::payload::Payload;
use crate::serve::Ports;
use crate::wire::{Announcement, Content, DeviceName, DevicePath, Host};

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
    /// do, is the [`Outcome`](crate::Outcome).
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
        let mut feed = match options.wait_for_boot {
            true => Feed::with_crashes(device, &self.link).await?,
            false => Feed::of(device, &self.link).await?,
        };
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
