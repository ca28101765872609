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

/// Settings of a [`Sender`].
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// MQTT client id. `None` for a random one. Two clients with the same id disconnect each other.
    pub client_id: Option<String>,
    /// Address and ports at which files are served.
    pub listen: Listen,
    /// Host, and perhaps port, that offers name instead of an address of this machine.
    pub advertise: Option<Advertise>,
}

/// Offers files to devices over one connection to the broker.
///
/// Any number of files can be sent at once. Files for the same device are sent one after the other. A lost connection
/// to the broker is restored.
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
    /// Returns an error if the broker cannot be reached, does not speak MQTT or does not let this client in.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn connect(broker: Broker, config: Config) -> Result<Self, ConnectError> {
        let link = Link::connect(&broker, LinkConfig { client_id: config.client_id.clone() }).await?;
        // If every offer names the same port, two ports at once would get each other's devices.
        let is_only_one = config.advertise.as_ref().is_some_and(|advertise| advertise.port.is_some());
        let ports = Ports::new(config.listen.clone(), is_only_one);
        Ok(Self { link, config, ports, routes: Routes::default(), devices: Mutex::default() })
    }

    /// Returns the version of MQTT that is spoken with the broker.
    pub fn protocol(&self) -> Protocol {
        self.link.protocol()
    }

    /// Offers `payload` to `device`, serves it, and returns the result.
    ///
    /// A device that understands extended offers resumes where its link broke.
    ///
    /// # Errors
    /// Returns an error only for failures on this side: of the file, the port or the broker. Failures of the device are
    /// not errors, but an [`Outcome`](crate::Outcome) in the report.
    ///
    /// Cancellation: dropping the future closes the port. The device keeps its old file, or finishes if it has taken
    /// the whole new file.
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

    /// Sends like [`Sender::send`], under the name `path`, to a device that is heard already.
    ///
    /// The caller makes sure that nobody else sends to the device.
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

    /// Says goodbye to the broker. Dropping a sender closes the connection without a goodbye.
    pub async fn close(self) {
        self.link.close().await;
    }

    /// Returns the connection to the broker.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Returns the lock that keeps two offers to one device apart.
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

    /// Returns the host that an offer names, and the reason for it.
    fn host(&self, feed: &Feed) -> (Host, Why) {
        let Config { advertise, listen, .. } = &self.config;
        choose(advertise.as_ref(), listen, feed.device_address(), self.link.peer(), |to| {
            self.routes.local(to)
        })
    }

    /// Returns the address that an offer names for a file that is served at `local`.
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
