use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::event::Event;
use crate::feed::{Feed, Heard};
use crate::options::SendOptions;
use crate::outcome::{BackOnline, Outcome, Report};
use crate::wire::{Announcement, Digest, InstalledSet, State};

/// Time for a device that fetches at its boot to connect. It reboots and looks for its network.
pub(crate) const UNTIL_IT_CONNECTS: Duration = Duration::from_secs(120);
/// Time for such a device to report after that. It puts the files in place, reboots, and looks for its network and for
/// the broker first.
pub(crate) const UNTIL_ITS_WORD: Duration = Duration::from_secs(180);

/// Returns the boot of a device between `taken`, when it took or asked for data, and its report.
///
/// The device does not boot again after that report. The report was lost and comes as the answer to a further offer, or
/// the device could not send it before.
pub(crate) fn before_its_word(feed: &Feed, taken: Instant) -> Option<BackOnline> {
    let back = feed.announced_at.filter(|back| *back > taken)?;
    let announcement = feed.announcement.clone().filter(|announcement| announcement.boots.is_none())?;
    Some(BackOnline { announcement, after: back - taken })
}

/// Returns true while the device has this set on trial, and may take it back.
pub(crate) fn is_on_trial(announcement: &Announcement, set: Digest) -> bool {
    announcement.boots.is_some() && announcement.set.and_then(InstalledSet::digest) == Some(set)
}

/// Waits until the device has announced itself after its reboot, and has confirmed a set on trial. Puts the result into
/// the report.
///
/// Messages sent while the connection to the broker is lost are lost too, except the announcement. The broker retains
/// that, and the feed recognises it as new if it differs from the one before. A device with an unchanged announcement
/// may have booted or not, and the outcome leaves that open.
pub(crate) async fn wait(report: &mut Report, feed: &mut Feed, options: &SendOptions) {
    let Some(digest) = report.digest else { return };
    let installed = Instant::now();
    let mut on_trial = feed.announcement.as_ref().is_some_and(|said| is_on_trial(said, digest));
    let back = async {
        loop {
            match feed.next().await? {
                Heard::Status(status)
                    if status.state == State::RolledBack && status.answers(&report.path, &digest) =>
                {
                    return Some(Err(Outcome::RolledBack { text: status.detail }));
                }
                Heard::Crashed(crash) => options.tell(Event::Crashed(crash)),
                // A retained announcement is from before the reboot.
                Heard::Announced { anew: true } => {
                    let announcement = feed.announcement.clone()?;
                    // Only a set is named so, because a file's digest cannot be a manifest's.
                    if announcement.rolled_back == Some(digest)
                        && announcement.set.and_then(InstalledSet::digest) != Some(digest)
                    {
                        let text = announcement.error.unwrap_or_default();
                        return Some(Err(Outcome::RolledBack { text }));
                    }
                    on_trial = is_on_trial(&announcement, digest);
                    if on_trial {
                        continue;
                    }
                    return Some(Ok(BackOnline { announcement, after: installed.elapsed() }));
                }
                _ => {}
            }
        }
    };
    match timeout(options.boot_timeout, back).await {
        Ok(Some(Ok(back))) => report.back_online = Some(back),
        Ok(Some(Err(rolled_back))) => report.outcome = rolled_back,
        Ok(None) | Err(_) => {
            let link_lost = feed.lost_at >= Some(installed);
            report.outcome =
                if on_trial && !link_lost { Outcome::OnTrial } else { Outcome::NotBackOnline { link_lost } };
        }
    }
}
