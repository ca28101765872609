use std::io;
use std::time::Duration;

use crate::payload::PayloadError;
use crate::wire::RequestError;

/// Reason why a client is no longer served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DropCause {
    /// It closed the connection before it had everything.
    #[error("it closed the connection")]
    Closed,
    /// It reset the connection, or the network did.
    #[error("the connection broke ({0})")]
    Broke(io::ErrorKind),
    /// It took nothing for too long.
    #[error("it took nothing for {0:?}")]
    Stalled(Duration),
    /// It did not say in time which offer it came for.
    #[error("it asked for nothing within {0:?}")]
    Silent(Duration),
    /// It sent something. A device that takes a plain offer only reads.
    #[error("it sent data, which no device does")]
    Spoke,
    /// Others waited, and it had taken the least.
    #[error("it had taken the least when others waited")]
    Crowded,
    /// What it sent to the port of an extended offer is no request.
    #[error("it sent what is no request ({0})")]
    NoRequest(RequestError),
    /// Its request does not name this offer: it has not read it.
    #[error("it does not know this offer")]
    Stranger,
    /// It asked for what the offer does not have.
    #[error("it asked for what is not offered")]
    NotOffered,
}

/// End of a connection that did not get everything.
#[derive(Debug)]
pub(super) enum End {
    Dropped(DropCause),
    Spoilt(PayloadError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Dropped(DropCause::Broke(error.kind()))
    }
}
