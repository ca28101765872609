use std::io;
use std::time::Duration;

use crate::payload::PayloadError;
use crate::wire::RequestError;

/// Reason for which a client is no longer served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DropCause {
    /// The client closed the connection before it had everything.
    #[error("it closed the connection")]
    Closed,
    /// The client reset the connection, or the network did.
    #[error("the connection broke ({0})")]
    Broke(io::ErrorKind),
    /// The client took nothing for this time.
    #[error("it took nothing for {0:?}")]
    Stalled(Duration),
    /// The client did not say within this time which offer it came for.
    #[error("it asked for nothing within {0:?}")]
    Silent(Duration),
    /// The client sent something. A device that takes a plain offer only reads.
    #[error("it sent data, which no device does")]
    Spoke,
    /// Other clients needed the place. This client had taken the least, or had come first.
    #[error("it had taken the least when others waited")]
    Crowded,
    /// The client sent something to the port of an extended offer that is no request.
    #[error("it sent what is no request ({0})")]
    NoRequest(RequestError),
    /// The client's request does not name this offer, so the client has not read the offer.
    #[error("it does not know this offer")]
    Stranger,
    /// The client asked for something that the offer does not have.
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
