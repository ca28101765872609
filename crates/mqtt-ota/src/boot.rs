use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::event::Event;
use crate::feed::{Feed, Heard};
use crate::options::SendOptions;
use crate::outcome::{BackOnline, Outcome, Report};
use crate::wire::{Announcement, Digest, InstalledSet, State};

/// How long a device that fetches at its boot may take to connect: it reboots, and looks for its network.
pub(crate) const UNTIL_IT_CONNECTS: Duration = Duration::from_secs(120);
/// How long it may then be silent: it puts in place what it has, reboots, and looks for its network and for the broker
/// before it can say anything.
pub(crate) const UNTIL_ITS_WORD: Duration = Duration::from_secs(180);

/// A boot that was heard of before the device's word on what it had taken, or asked for, at `taken`. It does not boot
/// again after that word, which was lost and comes as the answer to a further offer, or which it could not say before.
pub(crate) fn before_its_word(feed: &Feed, taken: Instant) -> Option<BackOnline> {
    let back = feed.announced_at.filter(|back| *back > taken)?;
    let announcement = feed.announcement.clone().filter(|announcement| announcement.boots.is_none())?;
    Some(BackOnline { announcement, after: back - taken })
}

/// Returns true while the device has this set on trial, and may take it back.
pub(crate) fn is_on_trial(announcement: &Announcement, set: Digest) -> bool {
    announcement.boots.is_some() && announcement.set.and_then(InstalledSet::digest) == Some(set)
}

/// Waits until the device has announced itself after its reboot, and has confirmed what it has on trial; puts that into
/// the report.
///
/// What the device says while the connection to the broker is lost is lost as well, but for its announcement:
/// the broker keeps that, and the feed knows it to be new where it differs from the one before. A device that
/// announced the very same has perhaps booted and perhaps not, and the outcome does not say that it has not.
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
                // What was retained is from before the reboot.
                Heard::Announced { anew: true } => {
                    let announcement = feed.announcement.clone()?;
                    // Only a set is named so; a file's digest can be no manifest's.
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
