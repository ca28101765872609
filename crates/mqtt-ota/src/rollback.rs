//! Request to a device to take a set back.

use std::mem::replace;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::delivery::OFFER_AGAIN;
use crate::error::SendError;
use crate::event::{Event, Observer};
use crate::feed::{Feed, Heard};
use crate::mqtt::{Ack, Retention};
use crate::options::SendOptions;
use crate::outcome::{BackOnline, Outcome, Report};
use crate::postponing::Postponing;
use crate::sender::{Sender, random_id};
use crate::sync::unoffered;
use crate::wire::{AnyOffer, DeviceName, Digest, ExtendedOffer, InstalledSet, State};

/// Options for taking a set back.
#[derive(Debug, Clone)]
pub struct RollbackOptions {
    /// Time to wait for a device that is not subscribed, because it may be at its reboot. Default: 30 s. Needs MQTT 5.
    ///
    /// The sender also waits as long for a device that postpones the request.
    pub connect_timeout: Duration,
    /// Time for a device to be back after its reboot. Default: 60 s.
    pub boot_timeout: Duration,
    /// Observer that receives progress events. `None` disables them.
    pub observer: Option<Observer>,
}

impl Default for RollbackOptions {
    fn default() -> Self {
        let SendOptions { connect_timeout, boot_timeout, .. } = SendOptions::default();
        Self { connect_timeout, boot_timeout, observer: None }
    }
}

impl RollbackOptions {
    fn tell(&self, event: Event) {
        tracing::debug!(?event);
        if let Some(observer) = &self.observer {
            observer.tell(event);
        }
    }
}

impl Sender {
    /// Takes back the set that `device` has announced.
    ///
    /// The device goes back to the files before the set if it still keeps them, reboots, and reports that.
    ///
    /// # Errors
    /// Returns an error only for a failure on this side, of the broker or of the system's random numbers. The device's
    /// behaviour is reported as an [`Outcome`].
    ///
    /// Cancellation: the device goes on with the request.
    pub async fn rollback(&self, device: &DeviceName, options: RollbackOptions) -> Result<Report, SendError> {
        let started = Instant::now();
        let turn = self.turn(device);
        let _turn = turn.lock().await;
        let mut feed = Feed::of(device, self.link()).await?;
        feed.late_announcement().await;
        let announced = feed.announcement.clone();
        let Some(InstalledSet::Set(digest)) = announced.as_ref().and_then(|announced| announced.set) else {
            let outcome = match &announced {
                Some(announced) if announced.understands_sets() => Outcome::NoSet,
                other => Outcome::NoSets { announced: other.is_some() },
            };
            return Ok(unoffered(device, None, outcome, started));
        };
        announced.map(Event::Announced).into_iter().for_each(|event| options.tell(event));
        let mut report = unoffered(device, Some(digest), Outcome::NotTakenBack { link_lost: false }, started);
        let mut postponing = Postponing::default();
        loop {
            report.attempts += 1;
            self.ask_back(digest, &mut report, &mut feed, &options).await?;
            let Outcome::Postponed { after, why } = &report.outcome else { break };
            if !postponing.may_wait(*after, options.connect_timeout) {
                break;
            }
            options.tell(Event::Postponed { after: *after, why: why.clone() });
            feed.hear_for(*after).await;
        }
        report.elapsed = started.elapsed();
        Ok(report)
    }

    /// Asks the device once to take the set back, and puts the outcome into the report.
    async fn ask_back(
        &self,
        set: Digest,
        report: &mut Report,
        feed: &mut Feed,
        options: &RollbackOptions,
    ) -> Result<(), SendError> {
        let offer = ExtendedOffer::rollback(set, random_id()?);
        feed.catch_up();
        let event = Event::Offered { attempt: report.attempts, offer: AnyOffer::Extended(offer.clone()) };
        options.tell(event);
        let topic = report.device.offer_topic();
        let (message, lasting) = (offer.to_string(), Retention::For(options.boot_timeout));
        let limit = options.connect_timeout;
        let give_up = Instant::now() + limit;
        let mut is_told = false;
        let publish = || self.link().publish(&topic, message.clone(), lasting);
        while self.link().patiently(publish).await? == Ack::NoSubscribers {
            if Instant::now() >= give_up {
                report.outcome = Outcome::NotSubscribed { topic, waited: Some(limit) };
                return Ok(());
            }
            if !replace(&mut is_told, true) {
                options.tell(Event::WaitingForDevice { limit });
            }
            // The device has announced itself before, and does so again when it is back.
            feed.announcement_within(OFFER_AGAIN.min(give_up - Instant::now())).await;
        }
        options.tell(Event::WaitingForBoot);
        let asked = Instant::now();
        match timeout(options.boot_timeout, answer(&offer, feed, options, asked)).await {
            Ok(Some((outcome, back_online))) => {
                (report.outcome, report.back_online) = (outcome, back_online);
            }
            Ok(None) | Err(_) => {
                report.outcome = Outcome::NotTakenBack { link_lost: feed.lost_at >= Some(asked) };
            }
        }
        Ok(())
    }
}

/// Waits for the device's answer. `None` once the link is closed.
async fn answer(
    offer: &ExtendedOffer,
    feed: &mut Feed,
    options: &RollbackOptions,
    asked: Instant,
) -> Option<(Outcome, Option<BackOnline>)> {
    let (path, set) = (offer.path(), offer.digest);
    loop {
        match feed.next().await? {
            Heard::Status(status)
                if status.answers(&path, &set)
                    && status.offer.is_none_or(|answered| answered == offer.id) =>
            {
                match status.state {
                    State::Failed => return Some((Outcome::of_failure(&status), None)),
                    State::Receiving => options.tell(Event::Receiving),
                    _ => {}
                }
            }
            // A device that has only lost its connection still has the set.
            Heard::Announced { anew: true } => {
                let Some(announcement) = feed.announcement.clone() else { continue };
                if announcement.rolled_back == Some(set)
                    && announcement.set.and_then(InstalledSet::digest) != Some(set)
                {
                    let back = BackOnline { announcement, after: asked.elapsed() };
                    return Some((Outcome::TakenBack, Some(back)));
                }
            }
            _ => {}
        }
    }
}
