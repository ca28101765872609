use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{self, ConnectReturnCode as Code};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::packet::{FOR_EVER, Malformed, Packet, Version};
use crate::session::Terms;
use crate::stream::{PacketStream, StreamError};
use crate::{Credentials, limits, message, topic};

/// A client that passed the handshake.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Client id. Empty if the client leaves the choice to the broker.
    pub(crate) id: String,
    /// True if an earlier session of the client is discarded first.
    pub(crate) clean: bool,
    /// Longest silence of the client: one and a half times its keep-alive. `None` means no limit.
    pub(crate) patience: Option<Duration>,
    /// Last will, and the delay before it is published.
    pub(crate) will: Option<(v5::Publish, Duration)>,
    pub(crate) terms: Terms,
    /// True if the client requested a longer session than [`limits::SESSION_LIFE`].
    pub(crate) wanted_too_much: bool,
}

/// Reason for refusing a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the client left before it said who it is")]
    Left,
    #[error("the client said nothing while others waited for its place")]
    GaveWay,
    #[error("the client began with another packet than CONNECT")]
    NotConnect,
    #[error("the client's login is wrong or missing")]
    NotAuthorised,
    #[error("a client without an id asks for a session that outlives its connection")]
    Nameless,
    #[error("the client's id is too long")]
    Id,
    #[error("the topic of the client's last will is not valid")]
    Will,
    #[error("the client wants to be authenticated in a way that is not known here")]
    Authentication,
    #[error("the client says that it takes nothing")]
    Nothing,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Reads the client's CONNECT. If MQTT has a code for a refusal, the client receives it before the connection closes.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut PacketStream<S>,
    credentials: Option<&Credentials>,
) -> Result<Guest, Refusal> {
    match read(stream, credentials).await {
        Ok(guest) => Ok(guest),
        Err(refusal) => {
            if let Some(code) = refusal.code() {
                let ack = v5::ConnAck { session_present: false, code, properties: None };
                stream.send(Packet::ConnAck(ack)).await?;
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
    let version = stream.greet().await?.ok_or(Refusal::Left)?;
    let received = stream.receive().await?.ok_or(Refusal::Left)?;
    let Packet::Connect(connect, will, login) = received else { return Err(Refusal::NotConnect) };
    let properties = connect.properties.unwrap_or_else(v5::ConnectProperties::new);
    if properties.authentication_method.is_some() {
        return Err(Refusal::Authentication);
    }
    if let Some(credentials) = credentials {
        let login = login.ok_or(Refusal::NotAuthorised)?;
        if !credentials.allow(&login.username, &login.password) {
            return Err(Refusal::NotAuthorised);
        }
    }
    if connect.client_id.is_empty() && !connect.clean_start && version == Version::V311 {
        return Err(Refusal::Nameless);
    }
    if connect.client_id.len() > limits::CLIENT_ID {
        return Err(Refusal::Id);
    }
    if will.as_ref().is_some_and(|will| !topic::is_topic(&will.topic)) {
        return Err(Refusal::Will);
    }
    let window = properties.receive_maximum.map_or(limits::WINDOW, usize::from);
    let max_packet =
        properties.max_packet_size.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if window == 0 || max_packet == 0 {
        return Err(Refusal::Nothing);
    }
    let wanted = properties.session_expiry_interval.unwrap_or_default();
    let life = life(wanted);
    let keep_alive = Duration::from_secs(connect.keep_alive.into());
    Ok(Guest {
        id: connect.client_id,
        clean: connect.clean_start,
        patience: (!keep_alive.is_zero()).then(|| keep_alive + keep_alive / 2),
        will: will.map(message::of_will),
        terms: Terms { life, window: window.min(limits::WINDOW), max_packet, is_inside: false },
        wanted_too_much: life < Duration::from_secs(wanted.into()),
    })
}

/// Returns the life of a session for which a client requests this many seconds.
pub(crate) fn life(seconds: u32) -> Duration {
    let wanted = if seconds == FOR_EVER { Duration::MAX } else { Duration::from_secs(seconds.into()) };
    wanted.min(limits::SESSION_LIFE)
}

/// Returns the CONNACK for an accepted client, which lists the features that are not available.
pub(crate) fn welcome(
    guest: &Guest,
    assigned: Option<String>,
    is_resumed: bool,
    max_packet: usize,
) -> Packet {
    let life = u32::try_from(guest.terms.life.as_secs()).unwrap_or(u32::MAX);
    let properties = v5::ConnAckProperties {
        session_expiry_interval: guest.wanted_too_much.then_some(life),
        receive_max: u16::try_from(limits::WINDOW).ok(),
        max_qos: None,
        retain_available: None,
        max_packet_size: u32::try_from(max_packet).ok(),
        assigned_client_identifier: assigned,
        // MQTT 5 takes a missing value for 0. Some clients overlook that.
        topic_alias_max: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let ack = v5::ConnAck { session_present: is_resumed, code: Code::Success, properties: Some(properties) };
    Packet::ConnAck(ack)
}

impl Refusal {
    fn code(&self) -> Option<Code> {
        Some(match self {
            Self::Stream(StreamError::Malformed(Malformed::Version(_))) => Code::UnsupportedProtocolVersion,
            Self::Stream(StreamError::Malformed(Malformed::TooLong(_))) => Code::PacketTooLarge,
            Self::NotAuthorised => Code::NotAuthorized,
            Self::Nameless | Self::Id => Code::ClientIdentifierNotValid,
            Self::Will => Code::TopicNameInvalid,
            Self::Authentication => Code::BadAuthenticationMethod,
            Self::Nothing => Code::ProtocolError,
            _ => return None,
        })
    }
}
