//! What a sender does with sets.

use std::time::Duration;

use tokio::time::Instant;

use crate::check::Findings;
use crate::error::SendError;
use crate::event::{Event, Observer};
use crate::feed::Feed;
use crate::options::SendOptions;
use crate::outcome::{Outcome, Report};
use crate::sender::{Cargo, Errand, Sender};
use crate::set::{FileSet, Prepared};
use crate::wire::{Announcement, Content, Delete, DeviceName, DevicePath, Digest, SetTerms, Trial};

/// How a set is sent.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Which files of the device are deleted that the set does not have. None.
    pub delete: Delete,
    /// Whether the device only says what it would do. False.
    pub dry_run: bool,
    /// In how many boots the set has to be confirmed, or is taken back; None: what the device likes, which is
    /// three.
    pub trial: Option<Trial>,
    /// Whether the device reboots afterwards. True.
    pub reboot: bool,
    /// Whether to wait until the device has announced itself again, with the set or with the one before. False.
    pub wait_for_boot: bool,
    /// How often a failure that may pass by itself is offered again; not counting where the device got further
    /// than before. 2.
    pub retries: u32,
    /// The pause before offering again. 2 s.
    pub retry_pause: Duration,
    /// How long to wait for a word of the device, from the broker's acknowledgement on. 30 s.
    pub connect_timeout: Duration,
    /// Whether a device that is not subscribed is waited for as long: it may be at its reboot. True. Needs MQTT 5; a
    /// broker of 3.1.1 does not tell, and every device is waited for. So is one that postpones what it is offered, from
    /// the first time on that it does.
    pub wait_for_device: bool,
    /// How long a connected device may take nothing of what it asked for. 20 s.
    pub idle_timeout: Duration,
    /// How long, beyond the connect time-out, a device may say, ask and take nothing: it hashes and copies
    /// its files. 2 min.
    pub confirm_timeout: Duration,
    /// How long to wait for a device to be back after its reboot. One that takes the set back needs several
    /// boots for it. 60 s.
    pub boot_timeout: Duration,
    /// What was found in the files: what is refused is not offered, and warnings are told as
    /// [`Event::Noticed`]. `None` skips both.
    pub check: Option<Findings>,
    /// Who is told what happens; None: nobody.
    pub observer: Option<Observer>,
}

impl SyncOptions {
    /// Calls `tell` with everything that happens. It is called in between, so it must not block.
    #[must_use]
    pub fn on_event(mut self, tell: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(tell));
        self
    }

    fn sending(&self) -> SendOptions {
        SendOptions {
            path: None,
            reboot: self.reboot,
            wait_for_boot: self.wait_for_boot && !self.dry_run,
            retries: self.retries,
            retry_pause: self.retry_pause,
            connect_timeout: self.connect_timeout,
            wait_for_device: self.wait_for_device,
            idle_timeout: self.idle_timeout,
            confirm_timeout: self.confirm_timeout,
            boot_timeout: self.boot_timeout,
            check: self.check.clone(),
            observer: self.observer.clone(),
        }
    }
}

impl Default for SyncOptions {
    fn default() -> Self {
        let SendOptions {
            reboot,
            retries,
            retry_pause,
            connect_timeout,
            wait_for_device,
            idle_timeout,
            boot_timeout,
            ..
        } = SendOptions::default();
        Self {
            delete: Delete::Nothing,
            dry_run: false,
            trial: None,
            reboot,
            wait_for_boot: false,
            retries,
            retry_pause,
            connect_timeout,
            wait_for_device,
            idle_timeout,
            confirm_timeout: Duration::from_secs(120),
            boot_timeout,
            check: None,
            observer: None,
        }
    }
}

/// What became of a set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncReport {
    /// What became of the offer. Its path is `set`, and its digest the set's.
    pub report: Report,
    /// How many files the set has.
    pub files: usize,
    /// How many of them the device asked for.
    pub fetched: usize,
    /// What the device would do, where that was asked.
    pub plan: Option<Plan>,
    /// How far the device got, in bytes of all files, whatever became of it.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper asks"))]
    pub(crate) position: u64,
}

/// What a device would do with a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The files that would be sent, with their lengths in bytes.
    pub send: Vec<(DevicePath, u64)>,
    /// The files that the device has already, with their lengths in bytes.
    pub keep: Vec<(DevicePath, u64)>,
    /// The files that would be deleted. From a peer, but valid as paths. At most 10,000 are listed.
    pub delete: Vec<DevicePath>,
}

impl Sender {
    /// Makes the files of `set` those of `device`, all or none of them, and hears what became of it.
    ///
    /// Only what differs travels. A device that loses its link, or its power, in between goes on where it was.
    ///
    /// # Errors
    /// Only what went wrong on this side: a file, the port, the broker. What the device did, or did not do, is
    /// the [`Outcome`], and that it does not understand sets is one too.
    ///
    /// Cancellation: dropping the future closes the port. The device keeps its old files, or finishes with what
    /// it has taken whole.
    pub async fn sync(
        &self,
        set: &FileSet,
        device: &DeviceName,
        options: SyncOptions,
    ) -> Result<SyncReport, SendError> {
        let started = Instant::now();
        let turn = self.turn(device);
        let _turn = turn.lock().await;
        let mut feed = match options.wait_for_boot {
            true => Feed::with_crashes(device, self.link()).await?,
            false => Feed::of(device, self.link()).await?,
        };
        feed.late_announcement().await;
        let algorithm = feed.announcement.as_ref().map(Announcement::set_algorithm).unwrap_or_default();
        let prepared = set.prepare(algorithm).await?;
        self.sync_over(&mut feed, &prepared, device, &options, started).await
    }

    /// [`Sender::sync`] to a device that is heard already, with nobody else sending to it. `prepared`: with the hash
    /// function that the device prefers.
    pub(crate) async fn sync_over(
        &self,
        feed: &mut Feed,
        prepared: &Prepared,
        device: &DeviceName,
        options: &SyncOptions,
        started: Instant,
    ) -> Result<SyncReport, SendError> {
        let sending = options.sending();
        if let Some(announcement) = &feed.announcement {
            sending.tell_own(|| Event::Announced(announcement.clone()));
        }
        sending.allow(feed.announcement.as_ref())?;
        let Prepared { manifest, digest, items } = prepared;
        let (digest, files) = (*digest, manifest.lines().len());
        if !feed.announcement.as_ref().is_some_and(Announcement::understands_sets) {
            let outcome = Outcome::NoSets { announced: feed.announcement.is_some() };
            let mut report = unoffered(device, Some(digest), outcome, started);
            report.bytes = manifest.total();
            return Ok(SyncReport { report, files, fetched: 0, plan: None, position: 0 });
        }
        let terms = SetTerms { delete: options.delete, dry_run: options.dry_run, trial: options.trial };
        let errand = Errand {
            device,
            path: SetTerms::path(),
            digest,
            bytes: manifest.total(),
            cargo: Cargo::Extended { items: items.clone(), content: Content::Set(terms) },
        };
        let (report, wanted) = self.deliver(errand, &sending, feed, started).await?;
        let plan = (report.outcome == Outcome::Planned).then(|| {
            let mut plan = Plan { delete: wanted.deletions, ..Plan::default() };
            for (item, line) in (1..).zip(manifest.lines()) {
                let list = if wanted.items.contains(&item) { &mut plan.send } else { &mut plan.keep };
                list.push((line.path.clone(), line.size));
            }
            plan
        });
        let fetched = if options.dry_run { 0 } else { wanted.items.len() };
        Ok(SyncReport { report, files, fetched, plan, position: wanted.position })
    }
}

/// The report on a set for which no port was opened.
pub(crate) fn unoffered(
    device: &DeviceName,
    digest: Option<Digest>,
    outcome: Outcome,
    started: Instant,
) -> Report {
    Report {
        outcome,
        device: device.clone(),
        path: SetTerms::path(),
        digest,
        bytes: 0,
        sent: 0,
        attempts: 0,
        advertised: None,
        peer: None,
        elapsed: started.elapsed(),
        at_boot: false,
        back_online: None,
    }
}
