use std::io;

use crate::address::Listen;
use crate::check::Refused;
use crate::mqtt::LinkError;
use crate::payload::PayloadError;
use crate::set::SetError;
use crate::wire::PathError;

/// What went wrong on the sender's side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The file.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The files of a set.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The check of the files refuses them for this device.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The system has no random numbers for an offer's id.
    #[error("the system gives no random numbers")]
    Random(#[source] io::Error),
    /// The file's own name cannot be its name on the device.
    #[error("{name:?} cannot be a file's name on the device")]
    Name {
        /// The file's name here.
        name: String,
        /// The rule that it breaks.
        source: PathError,
    },
    /// No port to serve the file on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// What was asked for.
        listen: Listen,
        /// What the system says of the last port that was tried.
        source: io::Error,
    },
    /// The broker still retains what was to be cleared.
    #[error("the broker still keeps what is on {topic}")]
    StillThere {
        /// The topic.
        topic: String,
    },
    /// The broker.
    #[error(transparent)]
    Broker(#[from] LinkError),
}

impl SendError {
    /// What to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Set(error) => error.hint(),
            Self::Refused(refused) => Some(refused.hint()),
            Self::Broker(error) if *error != LinkError::Lost => error.hint(),
            _ => self.plain_hint().map(str::to_owned),
        }
    }

    fn plain_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Payload(PayloadError::Changed { .. }) => {
                "the device keeps its old file: send again once the file is written"
            }
            Self::Payload(PayloadError::NotAFile { folder: true, .. }) => "name the files in it",
            Self::Name { .. } => "give it another name on the device (--as on the command line)",
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program has this port: choose another one, or a range"
            }
            Self::Listen { .. } => "the address must be one of this machine's",
            Self::StillThere { .. } => {
                "the device has just announced itself again, or the broker's access list does not let this user write there"
            }
            Self::Broker(LinkError::Lost) => {
                "the device keeps its old file unless it has taken the whole new one: send again once the broker is back"
            }
            Self::Payload(_) | Self::Set(_) | Self::Refused(_) | Self::Random(_) | Self::Broker(_) => {
                return None;
            }
        })
    }
}
