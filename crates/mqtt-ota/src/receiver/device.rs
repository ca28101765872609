use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::announcer::Announcer;
use super::failure::Failure;
use super::fetch::fetch;
use super::install::Root;
use super::noted::{Noted, Requests, are_of_one_file};
use super::recovery::Recovery;
use super::store::Store;
use super::{ReceiverConfig, ReceiverEvent};
use crate::mqtt::{Incoming, Link, LinkError, Retention, Subscription};
use crate::wire::{
    Announcement, DeviceName, DevicePath, Digest, ExtendedOffer, ExtendedOfferError, LogRequest, Offer,
    OfferError, OfferId, Reason, State, Status,
};

/// Text in place of the file's name in a status about a set.
const SET: &str = "set";

/// Command from the user of a receiver.
#[derive(Debug)]
pub(super) enum Command {
    Rebooted,
    Confirm(oneshot::Sender<io::Result<bool>>),
    Note(String, oneshot::Sender<io::Result<()>>),
}

/// Task behind a [`Receiver`](super::Receiver).
pub(super) struct Device {
    link: Arc<Link>,
    name: DeviceName,
    pub(super) root: Root,
    pub(super) config: ReceiverConfig,
    pub(super) events: mpsc::Sender<ReceiverEvent>,
    /// Held while a thread works on an extended offer. [`Device::close`] and the next thread wait until it is idle.
    pub(super) busy: Arc<Mutex<()>>,
    /// True if an installation waits for its reboot.
    pub(super) reboot_due: bool,
    /// True if the user was told to reboot, and has not reported yet that it is done.
    is_rebooting: bool,
    /// File that was installed last.
    pub(super) last: Option<(DevicePath, Digest)>,
    /// True once there is a newer offer of the file that is being received.
    pub(super) newer: watch::Receiver<bool>,
}

impl Device {
    pub(super) fn new(
        link: Link,
        name: DeviceName,
        root: Root,
        config: ReceiverConfig,
        events: mpsc::Sender<ReceiverEvent>,
    ) -> Self {
        let (link, busy, newer) = (Arc::new(link), Arc::default(), watch::channel(false).1);
        Self {
            link,
            name,
            root,
            config,
            events,
            busy,
            reboot_due: false,
            is_rebooting: false,
            last: None,
            newer,
        }
    }

    pub(super) async fn run(
        &mut self,
        recovery: Recovery,
        mut offers: Subscription,
        mut commands: mpsc::Receiver<Command>,
    ) {
        self.recovered(recovery).await;
        let (mut noted, mut requests) = (Noted::default(), Requests::default());
        loop {
            if let Some(message) = noted.next() {
                if !self.take_listening(&message, &mut offers, &mut noted, &mut requests).await {
                    return;
                }
                continue;
            }
            tokio::select! {
                Some(command) = commands.recv() => match command {
                    Command::Rebooted => self.booted().await,
                    Command::Confirm(done) => drop(done.send(self.confirm().await)),
                    Command::Note(text, done) => {
                        drop(done.send(self.root.with(move |store| store.note(&text)).await));
                    }
                },
                incoming = offers.next() => match incoming {
                    None => return,
                    // Senders repeat offers that were missed.
                    Some(Incoming::Lost | Incoming::Missed(_)) => {}
                    Some(Incoming::Reconnected) => self.back_online().await,
                    Some(Incoming::Message(message)) => {
                        hear(message.payload, &mut noted, &mut requests);
                    }
                },
                // A board that reboots is away, and its next announcement reports that it is back.
                () = requests.due(), if !self.is_rebooting => {
                    // If the broker does not take the announcement, the next connection makes a new one.
                    let _ = self.announcer().announce().await;
                    requests.answered();
                }
            }
        }
    }

    /// Handles an offer while listening to other messages. Returns false if the connection has ended for good.
    async fn take_listening(
        &mut self,
        message: &Bytes,
        offers: &mut Subscription,
        noted: &mut Noted,
        requests: &mut Requests,
    ) -> bool {
        let (announcer, is_rebooting) = (self.announcer(), self.is_rebooting);
        let (newer, is_newer) = watch::channel(false);
        self.newer = is_newer;
        let (mut is_back, mut is_over) = (false, false);
        let listening = async {
            loop {
                tokio::select! {
                    incoming = offers.next(), if !is_over => match incoming {
                        None => is_over = true,
                        Some(Incoming::Lost | Incoming::Missed(_)) => {}
                        Some(Incoming::Reconnected) => is_back = true,
                        Some(Incoming::Message(heard)) => {
                            if heard.payload != message && are_of_one_file(&heard.payload, message) {
                                newer.send_replace(true);
                            }
                            hear(heard.payload, noted, requests);
                        }
                    },
                    () = requests.due(), if !is_rebooting => {
                        let _ = announcer.announce().await;
                        requests.answered();
                    }
                }
            }
        };
        tokio::select! {
            () = self.take(message) => {}
            () = listening => {}
        }
        if is_back {
            self.back_online().await;
        }
        !is_over
    }

    pub(super) fn announcer(&self) -> Announcer {
        Announcer { link: Arc::clone(&self.link), name: self.name.clone(), root: self.root.clone() }
    }

    /// Waits for work that cannot be interrupted, and disconnects from the broker.
    pub(super) async fn close(self) {
        drop(self.busy.lock().await);
        if let Some(link) = Arc::into_inner(self.link) {
            link.close().await;
        }
    }

    async fn back_online(&mut self) {
        if let Err(error) = self.online().await {
            tracing::warn!(%error, "the device could not be announced");
        }
    }

    /// Announces the device, and confirms the set on trial if it has booted.
    pub(super) async fn online(&mut self) -> Result<(), LinkError> {
        let announcement = self.announcer().announce().await?;
        let has_booted = announcement.boots.is_some_and(|boots| boots > 0);
        self.tell(ReceiverEvent::Online(announcement)).await;
        if has_booted
            && self.config.confirms
            && let Err(error) = self.confirm().await
        {
            tracing::warn!(%error, "the set on trial cannot be confirmed");
        }
        Ok(())
    }

    /// Handles one offer, from its message to its status. No offer can end the receiver.
    async fn take(&mut self, message: &Bytes) {
        if ExtendedOffer::is_meant(message) {
            match ExtendedOffer::parse(message) {
                Ok(offer) => self.take_extended(&offer).await,
                Err(error) => {
                    let is_path = matches!(error, ExtendedOfferError::Plain(OfferError::Path(_)));
                    self.refuse(message, is_path, &error).await;
                }
            }
            return;
        }
        match Offer::parse(message) {
            Ok(offer) => self.take_plain(&offer).await,
            Err(error) => self.refuse(message, matches!(error, OfferError::Path(_)), &error).await,
        }
    }

    async fn refuse(&self, message: &Bytes, is_path: bool, error: &(dyn std::error::Error + Sync)) {
        let (path, digest) = Offer::fields_of_invalid(message);
        let reason = if is_path { Reason::BadName } else { Reason::BadOffer };
        let text = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        let (path, digest) = (path.to_owned(), digest.to_owned());
        let status = Status { state: State::Failed, path, digest, detail: String::new(), offer: None };
        let status = status.answering(ExtendedOffer::id_to_name(message));
        self.failed(status, Failure { reason, text }).await;
    }

    async fn take_plain(&mut self, offer: &Offer) {
        match self.installed(offer).await {
            Ok(bytes) => self.have(&offer.path, offer.digest, bytes, None).await,
            Err(failure) => {
                self.failed(Status::new(State::Failed, &offer.path, &offer.digest, ""), failure).await;
                return;
            }
        }
        self.reboot(offer.reboot).await;
    }

    /// Reports a file that is in place. `bytes` is `None` if it was there before. `offer` is the id that the answer
    /// names.
    pub(super) async fn have(
        &mut self,
        path: &DevicePath,
        digest: Digest,
        bytes: Option<u64>,
        offer: Option<OfferId>,
    ) {
        let path = path.clone();
        let detail = if bytes.is_none() { Status::UNCHANGED } else { "" };
        let status = Status::new(State::Installed, &path, &digest, detail).answering(offer);
        match bytes {
            Some(bytes) => {
                self.reboot_due = true;
                self.last = Some((path.clone(), digest));
                self.publish(status).await;
                self.tell(ReceiverEvent::Installed { path, digest, bytes }).await;
            }
            None => {
                self.publish(status).await;
                self.tell(ReceiverEvent::Unchanged { path }).await;
            }
        }
    }

    /// Tells the user to reboot, if that is wanted and an installation waits for it.
    pub(super) async fn reboot(&mut self, is_wanted: bool) {
        if is_wanted && self.reboot_due {
            self.tell_to_reboot().await;
        }
    }

    async fn tell_to_reboot(&mut self) {
        (self.reboot_due, self.is_rebooting) = (false, true);
        self.tell(ReceiverEvent::Reboot).await;
    }

    /// Fetches and installs an offered file. Returns its length in bytes, or `None` if it is already there.
    async fn installed(&self, offer: &Offer) -> Result<Option<u64>, Failure> {
        let place = self.root.place(&offer.path).await?;
        if place.holds(offer.digest).await {
            return Ok(None);
        }
        let install = async {
            self.tell(ReceiverEvent::Receiving(offer.clone())).await;
            let incoming = self.root.incoming().await?;
            let newer = self.newer.clone();
            let (incoming, bytes) = fetch(offer, incoming, &self.config, &self.events, newer).await?;
            place.install(incoming).await?;
            Ok(Some(bytes))
        };
        // The broker may take its time to acknowledge the first status, so the file is fetched meanwhile.
        let receiving = self.publish(Status::new(State::Receiving, &offer.path, &offer.digest, ""));
        let ((), installed) = tokio::join!(receiving, install);
        installed
    }

    /// Reports why an offer failed. `status` has no detail yet. Does nothing if a newer offer of the file has come,
    /// because that offer is answered instead.
    pub(super) async fn failed(&self, status: Status, failure: Failure) {
        let Failure { reason, text } = failure;
        let path = status.path.clone();
        if *self.newer.borrow() {
            return;
        }
        self.publish(Status { detail: format!("{reason} {text}"), ..status }).await;
        self.tell(ReceiverEvent::Failed { path, reason, text }).await;
    }

    /// Boots the device again after a reboot, or whatever stands for one.
    async fn booted(&mut self) {
        let recovery = self.root.with(Store::boot).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was begun with a set cannot be ended");
            Recovery::Nothing
        });
        self.is_rebooting = false;
        let _ = self.online().await;
        if let (Some((path, digest)), Recovery::Nothing) = (&self.last, recovery) {
            self.say(State::Running, path.as_str(), *digest, "").await;
        }
        self.recovered(recovery).await;
    }

    /// Reports the result of a boot. If files have changed, the user is told to reboot, because programs that already
    /// run were started from the old files.
    async fn recovered(&mut self, recovery: Recovery) {
        match recovery {
            Recovery::Nothing => return,
            Recovery::Finished => {}
            Recovery::Undone(digest) => {
                let error = self.root.with(|store| Ok::<_, io::Error>(store.error()));
                let text = error.await.ok().flatten().unwrap_or_default();
                self.rolled_back(digest, text).await;
            }
        }
        self.tell_to_reboot().await;
    }

    pub(super) async fn rolled_back(&mut self, digest: Digest, text: String) {
        self.last = None;
        self.say(State::RolledBack, SET, digest, &text).await;
        self.tell(ReceiverEvent::RolledBack { digest, text }).await;
    }

    /// Confirms the set on trial and reports it. Returns true if there was one.
    async fn confirm(&self) -> io::Result<bool> {
        let Some(digest) = self.root.with(Store::confirm).await? else { return Ok(false) };
        self.say(State::Running, SET, digest, "").await;
        self.tell(ReceiverEvent::Confirmed { digest }).await;
        // If the broker does not take the announcement, the next connection repeats it.
        let _ = self.announcer().announce().await;
        Ok(true)
    }

    async fn say(&self, state: State, path: &str, digest: Digest, detail: &str) {
        let (path, digest, detail) = (path.to_owned(), digest.to_string(), detail.to_owned());
        self.publish(Status { state, path, digest, detail, offer: None }).await;
    }

    /// Publishes a status. A status that the broker does not take is lost, and the next offer of the same file is
    /// answered with `unchanged`.
    pub(super) async fn publish(&self, status: Status) {
        let topic = self.name.status_topic();
        let publish = || self.link.publish(&topic, status.to_string(), Retention::Session);
        if let Err(error) = self.link.patiently(publish).await {
            tracing::warn!(%error, %status, "a status could not be published");
        }
    }

    pub(super) async fn tell(&self, event: ReceiverEvent) {
        let _ = self.events.send(event).await;
    }
}

/// Notes an offer, or a request to announce.
///
/// A request for the log is ignored. This device publishes no log, and its announcement does not offer one.
fn hear(message: Bytes, noted: &mut Noted, requests: &mut Requests) {
    if Announcement::is_request(&message) {
        requests.add();
    } else if !LogRequest::is_meant(&message) {
        noted.note(message);
    }
}
