use std::io;
use std::sync::Arc;

use super::install::Root;
use crate::address::route_to;
use crate::mqtt::{Link, LinkError};
use crate::wire::{Algorithm, Announcement, DeviceName};

/// Publishes the device's announcement, independently of the device's other work.
#[derive(Clone)]
pub(super) struct Announcer {
    pub(super) link: Arc<Link>,
    pub(super) name: DeviceName,
    pub(super) root: Root,
}

impl Announcer {
    /// Publishes the announcement, retained if the broker allows it. Returns once the broker has it.
    pub(super) async fn announce(&self) -> Result<Announcement, LinkError> {
        let mut announcement = Announcement::new();
        announcement.client = Some(concat!("mqtt-ota ", env!("CARGO_PKG_VERSION")).to_owned());
        announcement.system = Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
        // The local address that faces the broker is in the network in which senders are.
        announcement.address = self.link.peer().and_then(|broker| route_to(broker).ok());
        announcement.algorithms = Algorithm::ALL.to_vec();
        announcement.asks = true;
        let mut described = announcement.clone();
        let description = self.root.with(move |store| {
            store.describe(&mut described);
            Ok::<_, io::Error>(described)
        });
        let announcement = description.await.unwrap_or(announcement);
        let topic = self.name.announcement_topic();
        let publish = || self.link.publish_retained_if_possible(&topic, announcement.to_string());
        self.link.patiently(publish).await?;
        Ok(announcement)
    }
}
