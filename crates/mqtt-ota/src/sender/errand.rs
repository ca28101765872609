use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Sender;
use crate::address::Advertised;
use crate::attempt::Attempt;
use crate::boot;
use crate::delivery::{Delivery, Wanted};
use crate::error::SendError;
use crate::event::Event;
use crate::feed::Feed;
use crate::items::Items;
use crate::mqtt::{Ack, Retention};
use crate::options::SendOptions;
use crate::outcome::{Outcome, Report};
use crate::payload::{Payload, PayloadError};
use crate::postponing::Postponing;
use crate::serve::Server;
use crate::stream::Stream;
use crate::wire::{
    Announcement, AnyOffer, Content, DeviceName, DevicePath, Digest, ExtendedOffer, Offer, OfferId, Reason,
};

/// Largest number of earlier offers of a delivery that a device may still answer.
const IDS: usize = 16;
/// Time for a device to announce itself on request. After it, the old announcement counts.
const ANSWERS: Duration = Duration::from_secs(1);

/// Delivery to one device.
pub(crate) struct Errand<'a> {
    pub(crate) device: &'a DeviceName,
    /// Path that stands in the offer for the file's name.
    pub(crate) path: DevicePath,
    pub(crate) digest: Digest,
    /// Length of all files together, in bytes.
    pub(crate) bytes: u64,
    pub(crate) cargo: Cargo,
}

/// Content of an errand, by the kind of its offers.
pub(crate) enum Cargo {
    Plain(Payload),
    /// Extended offers, for a device that understands them.
    Extended {
        items: Items,
        content: Content,
    },
}

impl Cargo {
    /// Returns the same content for plain offers. `None` for a set, and for content that is offered plainly already.
    fn plain(&self) -> Option<Self> {
        match self {
            Self::Extended { items, content: Content::File(_) } => {
                Some(Self::Plain(items.get(0)?.payload.clone()))
            }
            _ => None,
        }
    }

    /// Checks that the content is still what was hashed.
    async fn verify(&self, digest: Digest) -> Result<(), PayloadError> {
        match self {
            Self::Plain(payload) => payload.verify(digest).await,
            Self::Extended { items, .. } => items.verify().await,
        }
    }
}

/// Results of the offers of one errand so far.
#[derive(Default)]
struct Course {
    /// Number of offers made.
    attempts: u32,
    /// Number of failures in a row without progress of the device.
    failures: u32,
    /// Bytes that clients took.
    sent: u64,
    /// Greatest progress of the device, in bytes of all files.
    furthest: u64,
    /// Time at which a client had been sent everything for the first time.
    first_taken: Option<Instant>,
    /// Ids of the last extended offers.
    ids: Vec<OfferId>,
    /// True if anything was heard of the device.
    has_met: bool,
    /// True if the last offer counts as taken and not answered.
    was_silent: bool,
    /// True if the device did not come for the last offer, and the offer before it was taken and not answered.
    is_silent_still: bool,
    postponing: Postponing,
    /// Time at which the device last did something about the last offer, if it fetches that at its boot.
    at_boot: Option<Instant>,
    /// True if an earlier offer may have been installed, and its answer lost.
    may_be_late: bool,
    /// True if an earlier offer was installed, and its answer lost.
    is_late: bool,
    wanted: Wanted,
}

impl Course {
    /// Records the result of an offer. Returns the outcome that the result counts as.
    fn take(&mut self, delivery: Delivery) -> Outcome {
        let Delivery { mut outcome, taken, sent, position, wanted, met, at_boot, .. } = delivery;
        self.at_boot = at_boot;
        self.has_met |= met;
        self.sent += sent;
        self.wanted.items.extend(wanted.items);
        self.wanted.deletions = wanted.deletions;
        self.first_taken = self.first_taken.or(taken);
        self.is_late = outcome == Outcome::Unchanged && self.may_be_late;
        if self.is_late {
            outcome = Outcome::Installed;
        }
        // A device that has the file already does not come for it again.
        self.is_silent_still =
            self.was_silent && matches!(outcome, Outcome::NobodyConnected { receiving: false, .. });
        if self.is_silent_still {
            outcome = Outcome::Silent;
        }
        self.was_silent = outcome == Outcome::Silent;
        // A device that got further than before will be done some time, however often its link breaks.
        self.failures = if position > self.furthest { 1 } else { self.failures + 1 };
        self.furthest = self.furthest.max(position);
        self.wanted.position = self.furthest;
        outcome
    }

    /// Returns true if the outcome of the last offer is final, and the files are not offered again.
    fn is_over(&self, outcome: &Outcome, options: &SendOptions) -> bool {
        !outcome.may_pass() || self.is_silent_still || self.failures > options.retries
    }
}

impl Sender {
    /// Offers the files until the outcome is final, and waits for what follows it.
    pub(crate) async fn deliver(
        &self,
        mut errand: Errand<'_>,
        options: &SendOptions,
        feed: &mut Feed,
        started: Instant,
    ) -> Result<(Report, Wanted), SendError> {
        let mut course = Course::default();
        let mut report = loop {
            course.attempts += 1;
            let (delivery, advertised) = match &errand.cargo {
                Cargo::Plain(payload) => self.offer_plainly(&errand, payload, &course, options, feed).await?,
                Cargo::Extended { items, content } => {
                    self.offer_extended(&errand, items, content, &mut course, options, feed).await?
                }
            };
            let peer = delivery.peer;
            let outcome = course.take(delivery);
            if matches!(&outcome, Outcome::Failed { reason: Reason::HashMismatch, .. }) {
                // The link may not be to blame: the file may have changed between two ticks of its clock.
                errand.cargo.verify(errand.digest).await?;
            }
            if let Outcome::Failed { reason: Reason::NoMemory, text } = &outcome
                && let Some(plain) = errand.cargo.plain()
            {
                options.tell(Event::TooLittleMemory { text: text.clone() });
                course.failures -= 1;
                errand.cargo = plain;
                continue;
            }
            if let Outcome::Postponed { after, why } = &outcome
                && options.wait_for_device
                && course.postponing.may_wait(*after, options.connect_timeout)
            {
                options.tell(Event::Postponed { after: *after, why: why.clone() });
                course.failures -= 1;
                feed.hear_for(*after).await;
                continue;
            }
            if course.is_over(&outcome, options) {
                break Report {
                    outcome,
                    device: errand.device.clone(),
                    path: errand.path.clone(),
                    digest: Some(errand.digest),
                    bytes: errand.bytes,
                    sent: course.sent,
                    attempts: course.attempts,
                    advertised: Some(advertised),
                    peer,
                    elapsed: started.elapsed(),
                    at_boot: course.at_boot.is_some(),
                    back_online: None,
                };
            }
            options.tell(Event::Retrying {
                attempt: course.attempts + 1,
                of: course.attempts + 1 + options.retries - course.failures,
                after: options.retry_pause,
                because: outcome,
            });
            course.may_be_late = true;
            sleep(options.retry_pause).await;
        };
        let is_installed = report.outcome == Outcome::Installed;
        if is_installed {
            options.tell(Event::Installed);
        }
        let on_trial = feed.announcement.as_ref().is_some_and(|said| boot::is_on_trial(said, errand.digest));
        let is_to_boot = is_installed || report.outcome == Outcome::Unchanged && on_trial;
        if is_to_boot && options.wait_for_boot && options.reboot {
            options.tell(Event::WaitingForBoot);
            let lost = course.first_taken.filter(|_| course.is_late);
            let taken = course.at_boot.or(lost);
            report.back_online = taken.and_then(|taken| boot::before_its_word(feed, taken));
            if report.back_online.is_none() {
                boot::wait(&mut report, feed, options).await;
            }
        }
        Ok((report, course.wanted))
    }

    /// Makes one plain offer, at a port of its own.
    async fn offer_plainly(
        &self,
        errand: &Errand<'_>,
        payload: &Payload,
        course: &Course,
        options: &SendOptions,
        feed: &mut Feed,
    ) -> Result<(Delivery, Advertised), SendError> {
        let Errand { device, path, digest, .. } = errand;
        let _port = self.ports.own().await.map_err(|source| self.not_listening(source))?;
        feed.catch_up();
        self.ask_for_room(device, payload, feed).await;
        let (host, why) = self.host(feed);
        let bound = Server::bind(&self.config.listen, host.address()).await;
        let server = bound.map_err(|source| self.not_listening(source))?;
        let advertised = self.advertised(host, why, server.local())?;
        let (host, port) = (advertised.host.clone(), advertised.port);
        let offer = Offer { host, port, path: path.clone(), digest: *digest, reboot: options.reboot };
        tell_offer(course.attempts, server.local(), &advertised, options, || AnyOffer::Plain(offer.clone()));
        let is_known = options.wait_for_device && (course.has_met || feed.announcement.is_some());
        let waits = is_known.then_some(options.connect_timeout);
        let (link, at) = (&self.link, &advertised);
        let attempt = Attempt { link, device, payload, offer: &offer, advertised: at, options, waits };
        Ok((attempt.run(server, feed).await?, advertised))
    }

    /// Makes one extended offer, at the port that all extended offers share.
    async fn offer_extended(
        &self,
        errand: &Errand<'_>,
        items: &Items,
        content: &Content,
        course: &mut Course,
        options: &SendOptions,
        feed: &mut Feed,
    ) -> Result<(Delivery, Advertised), SendError> {
        let (device, digest, reboot) = (errand.device, errand.digest, options.reboot);
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
        let offer = ExtendedOffer { host, port, content, digest, reboot, id, size, answers: true };
        tell_offer(course.attempts, shared.local(), &advertised, options, || {
            AnyOffer::Extended(offer.clone())
        });
        let (link, earlier, at) = (&self.link, &course.ids, &advertised);
        let stream = Stream { link, device, items, offer: &offer, advertised: at, options, earlier };
        let delivery = stream.run(&shared, feed).await?;
        // Offers that each get further may follow one another without end. A late answer is late by one or two offers.
        course.ids.push(id);
        course.ids.drain(..course.ids.len().saturating_sub(IDS));
        Ok((delivery, advertised))
    }

    /// Asks a device to announce itself anew if it has announced too little free space for a file, and waits a moment
    /// for it.
    ///
    /// Files may have gone since. Only a device that has said that it answers such requests is asked.
    async fn ask_for_room(&self, device: &DeviceName, payload: &Payload, feed: &mut Feed) {
        let announcement = feed.announcement.as_ref().filter(|announcement| announcement.asks);
        if announcement.and_then(|announcement| announcement.free).is_none_or(|free| free >= payload.len()) {
            return;
        }
        let (topic, request) = (device.offer_topic(), Announcement::REQUEST);
        if self.link.publish(&topic, request, Retention::For(ANSWERS)).await == Ok(Ack::Accepted) {
            feed.announcement_within(ANSWERS).await;
        }
    }
}

/// Reports where the next offer is served, and what it says.
fn tell_offer(
    attempt: u32,
    local: SocketAddr,
    advertised: &Advertised,
    options: &SendOptions,
    offer: impl FnOnce() -> AnyOffer,
) {
    options.tell_own(|| Event::Listening { local, advertised: advertised.clone() });
    options.tell_own(|| Event::Offered { attempt, offer: offer() });
}

/// Returns a new id that nobody can guess.
///
/// # Errors
/// Returns an error if the system provides no random bytes.
pub(crate) fn random_id() -> Result<OfferId, SendError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| SendError::Random(error.into()))?;
    Ok(OfferId::from_bytes(bytes))
}
