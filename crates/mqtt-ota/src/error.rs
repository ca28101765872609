use std::io;

use crate::address::Listen;
use crate::check::Refused;
use crate::mqtt::LinkError;
use crate::payload::PayloadError;
use crate::set::SetError;
use crate::wire::PathError;

/// Error on the sender's side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The file cannot be sent.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The files of a set cannot be sent.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The check of the files refuses them for this device.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The system has no random numbers for an offer's id.
    #[error("the system gives no random numbers")]
    Random(#[source] io::Error),
    /// The local file's name cannot be a file name on the device.
    #[error("{name:?} cannot be a file's name on the device")]
    Name {
        /// Name of the local file.
        name: String,
        /// Rule that the name breaks.
        source: PathError,
    },
    /// No port to serve the file on is free.
    #[error("cannot listen on {listen}")]
    Listen {
        /// Requested address and ports.
        listen: Listen,
        /// Error of the operating system for the last port that was tried.
        source: io::Error,
    },
    /// The broker still retains a message that was to be cleared.
    #[error("the broker still keeps what is on {topic}")]
    StillThere {
        /// Topic of the message.
        topic: String,
    },
    /// The connection to the broker failed, or the broker refused a request.
    #[error(transparent)]
    Broker(#[from] LinkError),
}

impl SendError {
    /// Returns what to try next, as a sentence.
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
