use std::time::Duration;

use rumqttd::protocol::{ConnAck, ConnectReturnCode, Error, Packet, Publish};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec::Received;
use crate::stream::{PacketStream, StreamError};
use crate::{Credentials, topic};

/// The answer of MQTT 5 to a client that speaks it: unsupported protocol version, and no properties.
const UNSUPPORTED_VERSION_V5: [u8; 5] = [0x20, 3, 0, 0x84, 0];

/// What every connection begins with.
const CONNECT: u8 = 0x10;

/// A client that may come in.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Its name in the router. Empty where the client leaves it to the broker.
    pub(crate) name: String,
    pub(crate) clean_session: bool,
    /// How long it may be silent: one and a half times what it promised. `None` is for ever.
    pub(crate) patience: Option<Duration>,
    pub(crate) will: Option<Publish>,
}

/// Why a client may not come in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the client left before it said who it is")]
    Left,
    #[error("the client said nothing while others waited for its place")]
    GaveWay,
    #[error("the client began with another packet than CONNECT")]
    NotConnect,
    #[error("the client speaks version {0} of the protocol")]
    Version(u8),
    #[error("the client's login is wrong or missing")]
    NotAuthorised,
    #[error("a client without a name asks for a session that outlives its connection")]
    Nameless,
    #[error("the topic of the client's last will is not valid")]
    Will,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Reads who the client is. Where it may not come in, it is told why before the connection closes.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    credentials: Option<&Credentials>,
) -> Result<Guest, Refusal> {
    match read(stream, credentials).await {
        Ok(guest) => Ok(guest),
        Err(refusal) => {
            if let Some(answer) = refusal.answer() {
                stream.queue_bytes(&answer);
                stream.flush().await?;
                stream.close().await;
            }
            Err(refusal)
        }
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    credentials: Option<&Credentials>,
) -> Result<Guest, Refusal> {
    // What is no MQTT at all often looks like the beginning of a long packet, and would be waited for.
    if stream.peek().await?.ok_or(Refusal::Left)? != CONNECT {
        return Err(Refusal::NotConnect);
    }
    let received = match stream.receive().await {
        Ok(received) => received.ok_or(Refusal::Left)?,
        Err(StreamError::Protocol(Error::InvalidProtocolLevel(level))) => {
            return Err(Refusal::Version(level));
        }
        // The name that version 3 goes by.
        Err(StreamError::Protocol(Error::InvalidProtocol)) => return Err(Refusal::Version(3)),
        Err(error) => return Err(error.into()),
    };
    let Received::Connect { connect, will, login } = received else { return Err(Refusal::NotConnect) };
    if let Some(credentials) = credentials {
        let login = login.ok_or(Refusal::NotAuthorised)?;
        if !credentials.allow(&login.username, &login.password) {
            return Err(Refusal::NotAuthorised);
        }
    }
    if connect.client_id.is_empty() && !connect.clean_session {
        return Err(Refusal::Nameless);
    }
    let will = match will {
        Some(will) if topic::into_router(&will.topic).is_none() => return Err(Refusal::Will),
        will => will.map(|will| Publish::new(will.topic, will.message, will.retain)),
    };
    let keep_alive = Duration::from_secs(connect.keep_alive.into());
    Ok(Guest {
        name: topic::client_id_into_router(&connect.client_id),
        clean_session: connect.clean_session,
        patience: (!keep_alive.is_zero()).then(|| keep_alive + keep_alive / 2),
        will,
    })
}

impl Refusal {
    fn answer(&self) -> Option<Vec<u8>> {
        let code = match self {
            Self::Version(level) if *level >= 5 => return Some(UNSUPPORTED_VERSION_V5.to_vec()),
            Self::Version(_) => ConnectReturnCode::RefusedProtocolVersion,
            Self::NotAuthorised => ConnectReturnCode::NotAuthorized,
            Self::Nameless => ConnectReturnCode::ClientIdentifierNotValid,
            _ => return None,
        };
        let mut answer = bytes::BytesMut::new();
        let ack = ConnAck { session_present: false, code };
        crate::codec::encode(Packet::ConnAck(ack, None), &mut answer).ok()?;
        Some(answer.to_vec())
    }
}
