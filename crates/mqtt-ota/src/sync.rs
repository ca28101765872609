//! Sending of sets.

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

/// Options for sending a set.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Files outside the set that the device deletes. Default: none.
    pub delete: Delete,
    /// Asks the device only to report what it would do. Default: false.
    pub dry_run: bool,
    /// Number of boots within which the set has to be confirmed, or is taken back. Default: `None`, which leaves it to
    /// the device. A device allows three.
    pub trial: Option<Trial>,
    /// Reboots the device afterwards. Default: true.
    pub reboot: bool,
    /// Waits until the device has announced itself again, with the set or with the one before. Default: false.
    pub wait_for_boot: bool,
    /// Number of retries after a transient failure. An attempt in which the device got further than before restarts the
    /// count. Default: 2.
    pub retries: u32,
    /// Pause before a retry. Default: 2 s.
    pub retry_pause: Duration,
    /// Time for a device to react, from the broker's acknowledgement on. Default: 30 s.
    pub connect_timeout: Duration,
    /// Waits as long for a device that is not subscribed, because it may be at its reboot. Default: true.
    ///
    /// Needs MQTT 5. A broker of 3.1.1 does not report subscribers, so the sender waits for every device. The sender
    /// also waits as long for a device that postpones the offer, from the first time that it does.
    pub wait_for_device: bool,
    /// Longest time for which a connected device may take no byte that it asked for. Default: 20 s.
    pub idle_timeout: Duration,
    /// Longest time, beyond the connect time-out, for which a device may neither report, ask nor take a byte, because
    /// it hashes and copies its files. Default: 2 min.
    pub confirm_timeout: Duration,
    /// Time for a device to be back after its reboot. A device that takes the set back needs several boots for it.
    /// Default: 60 s.
    pub boot_timeout: Duration,
    /// Findings about the files. Files with a refused finding are not offered, and warnings are reported as
    /// [`Event::Noticed`]. `None` skips both.
    pub check: Option<Findings>,
    /// Observer that receives progress events. `None` disables them.
    pub observer: Option<Observer>,
}

impl SyncOptions {
    /// Calls `tell` with every event. `tell` must not block, because it is called during the transfer.
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

/// Report on a set that was sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncReport {
    /// Report on the offer. Its path is `set`, and its digest is the set's.
    pub report: Report,
    /// Number of files in the set.
    pub files: usize,
    /// Number of files that the device asked for.
    pub fetched: usize,
    /// Plan of the device, if a dry run was asked for.
    pub plan: Option<Plan>,
    /// Progress of the device in bytes of all files, whatever the outcome.
    #[cfg_attr(not(feature = "keeper"), expect(dead_code, reason = "only the keeper asks"))]
    pub(crate) position: u64,
}

/// Changes that a device would make for a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Plan {
    /// Files that would be sent, with their lengths in bytes.
    pub send: Vec<(DevicePath, u64)>,
    /// Files that the device has already, with their lengths in bytes.
    pub keep: Vec<(DevicePath, u64)>,
    /// Files that would be deleted. The paths come from a peer, but are valid. At most 10,000 are listed.
    pub delete: Vec<DevicePath>,
}

impl Sender {
    /// Installs the files of `set` on `device`, all or none of them, and returns the outcome.
    ///
    /// Only files that differ are sent. A device that loses its link or its power in between resumes.
    ///
    /// # Errors
    /// Returns an error only for a failure on this side: a file, the port, or the broker. The device's behaviour is
    /// reported as an [`Outcome`], also if the device does not understand sets.
    ///
    /// Cancellation: dropping the future closes the port. The device keeps its old files, or finishes with the data
    /// that it has taken whole.
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

    /// Sends a set like [`Sender::sync`] to a device that is heard already, while nobody else sends to it.
    ///
    /// `prepared` uses the hash function that the device prefers.
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

/// Creates the report on a set for which no port was opened.
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
