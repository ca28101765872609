use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::duty::{End, Ended};
use super::error::chain;
use super::folders::Folder;
use super::options::KeeperOptions;
use crate::error::SendError;
use crate::event::Observer;
use crate::feed::Feed;
use crate::options::SendOptions;
use crate::outcome::{Outcome, Report};
use crate::payload::Payload;
use crate::sender::Sender;
use crate::sync::{SyncOptions, SyncReport};
use crate::wire::{Announcement, Delete, DeviceName, DevicePath, Digest, Reason};

/// Transfer of a folder's files to one device.
pub(super) struct Delivery {
    pub(super) sender: Arc<Sender>,
    pub(super) device: DeviceName,
    pub(super) folder: Arc<Folder>,
    /// Digest of the set, in the device's hash function.
    pub(super) set: Digest,
    pub(super) options: Arc<KeeperOptions>,
    /// Observer that receives events. `None` disables them.
    pub(super) observer: Option<Observer>,
}

/// Result of a delivery that nothing hindered on this side.
struct Given {
    outcome: Outcome,
    /// Position that the device reached in the set, in bytes.
    position: u64,
    /// Number of files that the device did not have.
    files: usize,
    /// Bytes sent.
    bytes: u64,
    /// True if the device has fetched the last file at its boot and does not reboot again.
    booted: bool,
}

/// End of a delivery, with its figures.
pub(super) struct Delivered {
    pub(super) end: End,
    /// Position that the device reached in the set, in bytes.
    pub(super) position: u64,
    /// Figures of what was sent. `None` where the delivery failed on this side or was told to end.
    pub(super) sent: Option<Sent>,
}

/// Figures of what a device was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Number of files that the device did not have.
    pub(super) files: usize,
    /// Bytes sent.
    pub(super) bytes: u64,
    /// Time from the offer to the device's confirmation.
    pub(super) elapsed: Duration,
    /// True if the device has fetched the last file at its boot.
    pub(super) booted: bool,
}

impl Delivered {
    pub(super) fn of(set: Digest, result: Ended, position: u64) -> Self {
        Self { end: End { set, result, advanced: false, booted: false }, position, sent: None }
    }
}

impl Delivery {
    /// Gives the device its files: all together where it understands sets, and otherwise one after the other.
    ///
    /// Cancellation: the device keeps what it has, or completes what it has received in full.
    pub(super) async fn run(self, mut feed: Feed) -> Delivered {
        let understands = feed.announcement.as_ref().is_some_and(Announcement::understands_sets);
        let begun = Instant::now();
        let given =
            if understands { self.whole(&mut feed, begun).await } else { self.one_by_one(&mut feed).await };
        match given {
            Ok(Given { outcome, position, files, bytes, booted }) => {
                let sent = Some(Sent { files, bytes, elapsed: begun.elapsed(), booted });
                let delivered = Delivered::of(self.set, ended(&outcome), position);
                Delivered { sent, end: End { booted, ..delivered.end }, ..delivered }
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
                Delivered::of(self.set, Ended::Hindered { why: chain(&error) + &hint }, 0)
            }
        }
    }

    async fn whole(&self, feed: &mut Feed, begun: Instant) -> Result<Given, SendError> {
        let KeeperOptions { connect_timeout, idle_timeout, confirm_timeout, .. } = *self.options;
        let settings = &self.folder.settings;
        let options = SyncOptions {
            delete: settings.delete.unwrap_or(Delete::FormerSet),
            trial: settings.trial,
            // A failed device is tried again after the others had their turn.
            retries: 0,
            connect_timeout,
            // The device is given its files when it announces itself. Others go first until then.
            wait_for_device: false,
            idle_timeout,
            confirm_timeout,
            observer: self.observer.clone(),
            ..SyncOptions::default()
        };
        let algorithm = feed.announcement.as_ref().map(Announcement::set_algorithm).unwrap_or_default();
        let anew;
        let prepared = match self.folder.prepared(algorithm) {
            Some(prepared) => prepared,
            // The device has announced this hash function since its folder was scanned.
            None => {
                anew = self.folder.set().prepare(algorithm).await?;
                &anew
            }
        };
        let synced = self.sender.sync_over(feed, prepared, &self.device, &options, begun).await?;
        let SyncReport { report, fetched, position, .. } = synced;
        let booted = report.at_boot;
        Ok(Given { outcome: report.outcome, position, files: fetched, bytes: report.sent, booted })
    }

    /// Sends the files one by one. Imported files come first, and the device reboots after the last file. Progress in a
    /// file that broke off is not counted.
    async fn one_by_one(&self, feed: &mut Feed) -> Result<Given, SendError> {
        let mut files: Vec<_> = self.folder.set().payloads().collect();
        files.sort_by_key(|(path, _)| matches!(path.as_str(), "main.py" | "boot.py"));
        let last = files.len().saturating_sub(1);
        let (mut changed, mut bytes, mut booted) = (0, 0, false);
        let mut all = None;
        for (index, (path, payload)) in files.into_iter().enumerate() {
            let mut report = self.one(feed, path, payload, index == last).await?;
            changed += usize::from(report.outcome == Outcome::Installed);
            bytes += report.sent;
            if report.outcome == Outcome::Installed {
                booted = report.at_boot;
            }
            let is_over = !report.outcome.is_confirmed();
            if changed > 0 && !is_over {
                report.outcome = Outcome::Installed;
            }
            all = Some(report);
            if is_over {
                break;
            }
        }
        let report = all.ok_or(SendError::Set(crate::set::SetError::Nothing))?;
        Ok(Given { outcome: report.outcome, position: 0, files: changed, bytes, booted })
    }

    async fn one(
        &self,
        feed: &mut Feed,
        path: &DevicePath,
        payload: &Payload,
        reboot: bool,
    ) -> Result<Report, SendError> {
        let KeeperOptions { connect_timeout, idle_timeout, .. } = *self.options;
        let observer = self.observer.clone();
        let options = SendOptions {
            reboot,
            retries: 1,
            connect_timeout,
            wait_for_device: false,
            idle_timeout,
            observer,
            ..SendOptions::default()
        };
        self.sender.send_over(feed, payload, path.clone(), &self.device, &options, Instant::now()).await
    }
}

fn ended(outcome: &Outcome) -> Ended {
    let why = outcome.to_string();
    match outcome {
        Outcome::Installed | Outcome::NotBackOnline { .. } | Outcome::OnTrial => Ended::Installed,
        Outcome::Unchanged => Ended::Unchanged,
        Outcome::RolledBack { text } => Ended::RolledBack { why: text.clone() },
        Outcome::NotSubscribed { .. } => Ended::NotThere,
        Outcome::NobodyConnected { receiving: false, .. } => Ended::NobodyCame { why },
        Outcome::Failed { reason: Reason::Busy, .. } => Ended::Busy,
        Outcome::Postponed { after, why } => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            Ended::Postponed { after: *after, why: format!("asks to wait {} s{why}", after.as_secs()) }
        }
        outcome => {
            // The device may be able to reach the sender from its next place.
            let may_pass = outcome.may_pass() || matches!(outcome, Outcome::NobodyConnected { .. });
            Ended::Failed { why, may_pass }
        }
    }
}
