use std::path::PathBuf;

use super::folders::FolderError;
use super::outbox::LEASES;
use super::window::ZoneError;
use crate::mqtt::LinkError;

/// Error that prevents a keeper from keeping devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// Problem with the folder that has the devices' folders in it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Folder that another keeper on this machine has.
    #[error("{} has a keeper already", path.display())]
    Taken {
        /// Folder.
        path: PathBuf,
    },
    /// Folder whose changes the system does not report.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// Folder.
        path: PathBuf,
        /// Error of the system.
        source: notify::Error,
    },
    /// Unknown time zone, while a window is set.
    #[error("cannot tell when the window is open")]
    Zone(#[from] ZoneError),
    /// Problem with the broker.
    #[error(transparent)]
    Broker(#[from] LinkError),
    /// Broker that accepts this keeper's claims to be at work and does not pass them on.
    #[error("the broker does not pass on what this keeper says on {topic}")]
    Unheard {
        /// Topic on which keepers say which of them is at work.
        topic: String,
    },
}

impl KeeperError {
    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unheard { topic } | Self::Broker(LinkError::PublishRefused { topic, .. }) => Some(format!(
                "the broker's access list has to let this user read and write {topic} (in Mosquitto: `topic readwrite {LEASES}+`); docs/broker.md lists what else a keeper needs"
            )),
            Self::Broker(error) => error.hint(),
            other => other.plain_hint().map(str::to_owned),
        }
    }

    fn plain_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Folder(FolderError::Unreadable { .. }) => {
                "name the folder that has one folder for each device in it, such as devices/NIGHTLAMP"
            }
            Self::Taken { .. } => {
                "one is enough; a second one, for when the first one fails, belongs on another machine"
            }
            Self::Watch { .. } => {
                "the system may allow more folders to be watched: on Linux, see fs.inotify.max_user_watches"
            }
            Self::Zone(_) => {
                "name one that there is, as in TZ=Europe/Berlin, or the system's with TZ=:/etc/localtime"
            }
            Self::Folder(_) | Self::Broker(_) | Self::Unheard { .. } => return None,
        })
    }
}

/// Returns an error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
