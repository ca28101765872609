//! Suggestions for a device that is not found: it may exist under a similar name.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Outcome, Report, SendError, Sender};
use tokio::sync::OnceCell;

use crate::line::Line;
use crate::report::Track;
use crate::settings::Settings;
use crate::similar;

/// Time limit for the broker to name the devices that it knows.
const NAMES: Duration = Duration::from_secs(2);
/// Time for which a device that has never announced itself may be silent before its name is doubted.
const DOUBT: Duration = Duration::from_millis(300);
/// Maximum number of device names for which similar names are searched. Each is compared with all known names.
const NAMES_IN_DOUBT: usize = 16;

/// Devices that the broker knows, and groups of the settings. The broker is asked once, and only if a device is not
/// found.
pub(crate) struct Neighbours<'a> {
    sender: &'a Sender,
    groups: Vec<String>,
    known: OnceCell<Vec<DeviceName>>,
    left: Cell<usize>,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn new(sender: &'a Sender, settings: &Settings) -> Self {
        let groups = settings.groups.keys().map(|name| format!("@{name}")).collect();
        Self { sender, groups, known: OnceCell::new(), left: Cell::new(NAMES_IN_DOUBT) }
    }

    /// Returns a question that suggests another name. `None` if the device is known, if no name is similar, or if too
    /// many names were asked about already.
    pub(crate) async fn question(&self, device: &DeviceName) -> Option<String> {
        self.question_of(device, |_| true).await
    }

    /// Like [`Self::question`], but suggests only those devices for which `meant` returns true.
    pub(crate) async fn question_of(
        &self,
        device: &DeviceName,
        meant: impl Fn(&DeviceName) -> bool,
    ) -> Option<String> {
        self.left.set(self.left.get().checked_sub(1)?);
        let known = self.known.get_or_init(async || {
            // If the user may not list devices, no name is suggested, and the other hints still apply.
            self.sender.device_names(NAMES).await.unwrap_or_default()
        });
        let known = known.await;
        if known.contains(device) {
            return None;
        }
        let names = known.iter().filter(|name| meant(name)).map(DeviceName::as_str);
        similar::question(device.as_str(), self.groups.iter().map(String::as_str).chain(names))
    }

    /// Waits for a delivery, and meanwhile warns that the device may have another name. Not every broker reports that
    /// no device is subscribed.
    pub(crate) async fn watch<T>(&self, track: &Track, delivery: impl Future<Output = T>) -> T {
        let mut delivery = std::pin::pin!(delivery);
        let doubt = async {
            tokio::time::sleep(DOUBT).await;
            if track.was_heard() {
                return;
            }
            let Some(question) = self.question(&track.device).await else { return };
            if !track.was_heard() {
                let waiting = format!(": no such device has announced itself; {question}");
                let about = Line::new().doubtful("warning:").plain(' ').plain(&track.device);
                track.printer.note(&about.plain(waiting));
            }
            track.ask(question);
        };
        tokio::select! {
            biased;
            result = &mut delivery => return result,
            () = doubt => {}
        }
        delivery.await
    }

    /// Suggests a similar name if the result is that no such device was found.
    pub(crate) async fn doubt(&self, track: &Track, result: Result<&Report, &SendError>) {
        let is_nobody = result.is_ok_and(|report| {
            matches!(
                report.outcome,
                Outcome::NotSubscribed { .. }
                    | Outcome::NobodyConnected { receiving: false, .. }
                    | Outcome::NoSets { announced: false }
            )
        });
        if is_nobody
            && !track.was_asked()
            && !track.was_heard()
            && let Some(question) = self.question(&track.device).await
        {
            track.ask(question);
        }
    }
}
