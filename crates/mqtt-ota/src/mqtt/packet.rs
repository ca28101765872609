use std::io;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use tokio_util::codec::{Decoder, Encoder};

use super::limits::Limits;
use super::message::{Message, Qos, Retention};
use super::reason::BrokerReason;

/// Longest packet that is read over MQTT 5, in bytes. The broker is told of it, and drops longer ones.
const MAX_PACKET_V5: u32 = 64 * 1024;
/// Longest packet that is read over MQTT 3.1.1, in bytes.
///
/// The broker cannot be told, and a longer packet ends the connection. The limit is therefore far above any packet that
/// is sent by mistake.
const MAX_PACKET_V311: usize = 16 * 1024 * 1024;

/// Version of MQTT that is spoken with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// MQTT 5. The broker reports if an offer has no subscriber.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// Packet from the client. Sessions are clean.
#[derive(Debug)]
pub(super) enum Request {
    Connect { client_id: String, keep_alive: u16, login: Option<(String, String)> },
    Publish { id: u16, topic: String, payload: Bytes, lasting: Retention, qos: Qos },
    PubAck { id: u16 },
    Subscribe { id: u16, filter: String, qos: Qos },
    Unsubscribe { id: u16, filter: String },
    Ping,
    Disconnect,
}

/// Packet from the broker.
#[derive(Debug)]
pub(super) enum Reply {
    Accepted(Box<Limits>),
    Refused(BrokerReason),
    Message {
        message: Message,
        receipt: Option<u16>,
    },
    PublishAcknowledged {
        id: u16,
        answer: Answer,
    },
    SubscribeAcknowledged {
        id: u16,
        refused: Option<BrokerReason>,
    },
    /// Packet that ends the connection, with the reason.
    Disconnect(BrokerReason),
    Other,
}

/// Broker's answer to a published message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    NoSubscribers,
    Refused(BrokerReason),
}

/// Encodes and decodes packets of either version.
pub(super) enum Codec {
    V5(v5::Codec),
    V311(v4::Codec),
}

impl Codec {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::V5 => {
                Self::V5(v5::Codec { max_incoming_size: Some(MAX_PACKET_V5), max_outgoing_size: None })
            }
            Protocol::V311 => Self::V311(v4::Codec {
                max_incoming_size: MAX_PACKET_V311,
                max_outgoing_size: MAX_PACKET_V311,
            }),
        }
    }
}

impl Encoder<Request> for Codec {
    type Error = io::Error;

    fn encode(&mut self, request: Request, bytes: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::V5(codec) => codec.encode(to_v5(request), bytes).map_err(malformed),
            Self::V311(codec) => codec.encode(to_v311(request), bytes).map_err(malformed),
        }
    }
}

impl Decoder for Codec {
    type Item = Reply;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Reply>> {
        match self {
            Self::V5(codec) => match acknowledged(bytes) {
                Some(reply) => Ok(Some(reply)),
                None => Ok(codec.decode(bytes).map_err(malformed)?.map(from_v5)),
            },
            Self::V311(codec) => Ok(codec.decode(bytes).map_err(malformed)?.map(from_v311)),
        }
    }
}

/// Creates the error for bytes that are not an MQTT packet.
fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn to_v5(request: Request) -> v5::Packet {
    let level = |qos| match qos {
        Qos::AtMostOnce => mqttbytes5::QoS::AtMostOnce,
        Qos::AtLeastOnce => mqttbytes5::QoS::AtLeastOnce,
    };
    match request {
        Request::Connect { client_id, keep_alive, login } => {
            let mut properties = v5::ConnectProperties::new();
            properties.max_packet_size = Some(MAX_PACKET_V5);
            let connect =
                v5::Connect { keep_alive, client_id, clean_start: true, properties: Some(properties) };
            let login = login.map(|(user, password)| v5::Login::new(user, password));
            v5::Packet::Connect(connect, None, login)
        }
        Request::Publish { id, topic, payload, lasting, qos } => {
            let properties = match lasting {
                Retention::For(time) => {
                    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
                    Some(v5::PublishProperties {
                        message_expiry_interval: Some(seconds),
                        ..v5::PublishProperties::default()
                    })
                }
                Retention::Retained | Retention::Session => None,
            };
            let mut publish = v5::Publish::new(topic, level(qos), payload, properties);
            (publish.pkid, publish.retain) = (id, lasting == Retention::Retained);
            v5::Packet::Publish(publish)
        }
        Request::PubAck { id } => v5::Packet::PubAck(v5::PubAck::new(id, None)),
        Request::Subscribe { id, filter, qos } => {
            let mut subscribe = v5::Subscribe::new(v5::Filter::new(filter, level(qos)), None);
            subscribe.pkid = id;
            v5::Packet::Subscribe(subscribe)
        }
        Request::Unsubscribe { id, filter } => {
            let mut unsubscribe = v5::Unsubscribe::new(filter, None);
            unsubscribe.pkid = id;
            v5::Packet::Unsubscribe(unsubscribe)
        }
        Request::Ping => v5::Packet::PingReq(v5::PingReq),
        Request::Disconnect => {
            v5::Packet::Disconnect(v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection))
        }
    }
}

fn to_v311(request: Request) -> v4::Packet {
    let level = |qos| match qos {
        Qos::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        Qos::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
    };
    match request {
        Request::Connect { client_id, keep_alive, login } => {
            let mut connect = v4::Connect::new(client_id);
            connect.keep_alive = keep_alive;
            connect.login = login.map(|(user, password)| v4::Login::new(user, password));
            v4::Packet::Connect(connect)
        }
        Request::Publish { id, topic, payload, lasting, qos } => {
            let mut publish = v4::Publish::from_bytes(topic, level(qos), payload);
            (publish.pkid, publish.retain) = (id, lasting == Retention::Retained);
            v4::Packet::Publish(publish)
        }
        Request::PubAck { id } => v4::Packet::PubAck(v4::PubAck::new(id)),
        Request::Subscribe { id, filter, qos } => {
            let mut subscribe = v4::Subscribe::new(filter, level(qos));
            subscribe.pkid = id;
            v4::Packet::Subscribe(subscribe)
        }
        Request::Unsubscribe { id, filter } => {
            let mut unsubscribe = v4::Unsubscribe::new(filter);
            unsubscribe.pkid = id;
            v4::Packet::Unsubscribe(unsubscribe)
        }
        Request::Ping => v4::Packet::PingReq,
        Request::Disconnect => v4::Packet::Disconnect,
    }
}

fn from_v5(packet: v5::Packet) -> Reply {
    use v5::{ConnectReturnCode as Code, DisconnectReasonCode, PubAckReason, SubscribeReasonCode};
    match packet {
        v5::Packet::ConnAck(ack) => match ack.code {
            Code::Success => Reply::Accepted(Box::new(limits_of(ack.properties))),
            code => {
                let text = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
                Reply::Refused(BrokerReason::saying(code_of_connack(code), text))
            }
        },
        v5::Packet::Publish(publish) => Reply::Message {
            receipt: (publish.qos == mqttbytes5::QoS::AtLeastOnce).then_some(publish.pkid),
            message: Message {
                // A topic that is not UTF-8 becomes one without a subscriber.
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                retained: publish.retain,
            },
        },
        v5::Packet::PubAck(ack) => Reply::PublishAcknowledged {
            id: ack.pkid,
            answer: match ack.reason {
                PubAckReason::Success => Answer::Accepted,
                PubAckReason::NoMatchingSubscribers => Answer::NoSubscribers,
                // `acknowledged` has read the other reasons.
                _ => Answer::Refused(BrokerReason::new(BrokerReason::UNSPECIFIED)),
            },
        },
        v5::Packet::SubAck(ack) => {
            let text = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
            let refused = ack.return_codes.iter().find_map(|code| match code {
                SubscribeReasonCode::Success(_) => None,
                code => Some(BrokerReason::saying(code_of_suback(code), text)),
            });
            Reply::SubscribeAcknowledged { id: ack.pkid, refused }
        }
        v5::Packet::Disconnect(goodbye) => {
            let text = goodbye.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
            let code = match goodbye.reason_code {
                DisconnectReasonCode::NormalDisconnection
                | DisconnectReasonCode::DisconnectWithWillMessage => BrokerReason::UNSPECIFIED,
                code => code as u8,
            };
            Reply::Disconnect(BrokerReason::saying(code, text))
        }
        _ => Reply::Other,
    }
}

/// Reads the limits from a broker's CONNACK packet. A limit that the broker does not state does not apply.
fn limits_of(properties: Option<v5::ConnAckProperties>) -> Limits {
    let Some(said) = properties else { return Limits::unknown() };
    Limits {
        in_flight: said.receive_max,
        keep_alive: said.server_keep_alive,
        packet: said.max_packet_size,
        qos: if said.max_qos == Some(0) { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retains: said.retain_available != Some(0),
        wildcards: said.wildcard_subscription_available != Some(0),
        client_id: said.assigned_client_identifier,
    }
}

fn code_of_connack(code: v5::ConnectReturnCode) -> u8 {
    use v5::ConnectReturnCode as Code;
    match code {
        Code::MalformedPacket => BrokerReason::MALFORMED,
        Code::ProtocolError => BrokerReason::PROTOCOL_ERROR,
        Code::ImplementationSpecificError => BrokerReason::IMPLEMENTATION_SPECIFIC,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => BrokerReason::UNSUPPORTED_VERSION,
        Code::BadClientId | Code::ClientIdentifierNotValid => BrokerReason::CLIENT_ID,
        Code::BadUserNamePassword => BrokerReason::BAD_LOGIN,
        Code::NotAuthorized => BrokerReason::NOT_AUTHORIZED,
        Code::ServiceUnavailable | Code::ServerUnavailable => BrokerReason::UNAVAILABLE,
        Code::ServerBusy => BrokerReason::BUSY,
        Code::Banned => BrokerReason::BANNED,
        Code::BadAuthenticationMethod => BrokerReason::BAD_METHOD,
        Code::TopicNameInvalid => BrokerReason::TOPIC_NAME,
        Code::PacketTooLarge => BrokerReason::TOO_LARGE,
        Code::QuotaExceeded => BrokerReason::QUOTA,
        Code::PayloadFormatInvalid => BrokerReason::PAYLOAD_FORMAT,
        Code::RetainNotSupported => BrokerReason::NO_RETAIN,
        Code::QoSNotSupported => BrokerReason::QOS,
        Code::UseAnotherServer => BrokerReason::OTHER_SERVER,
        Code::ServerMoved => BrokerReason::MOVED,
        Code::ConnectionRateExceeded => BrokerReason::RATE,
        Code::Success | Code::UnspecifiedError => BrokerReason::UNSPECIFIED,
    }
}

fn code_of_suback(code: &v5::SubscribeReasonCode) -> u8 {
    use v5::SubscribeReasonCode as Code;
    match code {
        Code::ImplementationSpecific => BrokerReason::IMPLEMENTATION_SPECIFIC,
        Code::NotAuthorized => BrokerReason::NOT_AUTHORIZED,
        Code::TopicFilterInvalid => BrokerReason::TOPIC_FILTER,
        Code::PkidInUse => BrokerReason::PACKET_ID,
        Code::QuotaExceeded => BrokerReason::QUOTA,
        Code::SharedSubscriptionsNotSupported => BrokerReason::NO_SHARING,
        Code::SubscriptionIdNotSupported => BrokerReason::NO_IDENTIFIERS,
        Code::WildcardSubscriptionsNotSupported => BrokerReason::NO_WILDCARDS,
        Code::Success(_) | Code::Failure | Code::Unspecified => BrokerReason::UNSPECIFIED,
    }
}

/// Takes an acknowledgement (PUBACK) with a reason from the front of `bytes`, if a whole one is there.
///
/// Mosquitto answers a message that is too large with a reason that the specification does not allow there, and rumqttc
/// would take that for no MQTT at all.
fn acknowledged(bytes: &mut BytesMut) -> Option<Reply> {
    const PUBACK: u8 = 0x40;
    /// Shortest length with a reason, in bytes: the packet id and the reason, without properties.
    const SHORTEST: usize = 3;
    let &[PUBACK, length @ 0..0x80, high, low, code, ..] = bytes.as_ref() else { return None };
    let whole = usize::from(length) + 2;
    if usize::from(length) < SHORTEST || bytes.len() < whole || code < BrokerReason::UNSPECIFIED {
        return None;
    }
    let packet = bytes.split_to(whole);
    // The length of the properties, followed by the text if there is one. Brokers write the text first.
    let text = match packet.get(5..) {
        Some([_, REASON_STRING, high, low, text @ ..]) => {
            text.get(..usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    };
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    let answer = Answer::Refused(BrokerReason::saying(code, text));
    Some(Reply::PublishAcknowledged { id: u16::from_be_bytes([high, low]), answer })
}

/// Property of MQTT 5 that has a text for people.
const REASON_STRING: u8 = 0x1f;

fn from_v311(packet: v4::Packet) -> Reply {
    use v4::{ConnectReturnCode as Code, SubscribeReasonCode};
    match packet {
        v4::Packet::ConnAck(ack) => Reply::Refused(BrokerReason::new(match ack.code {
            Code::Success => return Reply::Accepted(Box::new(Limits::unknown())),
            Code::RefusedProtocolVersion => BrokerReason::UNSUPPORTED_VERSION,
            Code::BadClientId => BrokerReason::CLIENT_ID,
            Code::ServiceUnavailable => BrokerReason::UNAVAILABLE,
            Code::BadUserNamePassword => BrokerReason::BAD_LOGIN,
            Code::NotAuthorized => BrokerReason::NOT_AUTHORIZED,
        })),
        v4::Packet::Publish(publish) => Reply::Message {
            receipt: (publish.qos == mqttbytes::QoS::AtLeastOnce).then_some(publish.pkid),
            message: Message { topic: publish.topic, payload: publish.payload, retained: publish.retain },
        },
        v4::Packet::PubAck(ack) => Reply::PublishAcknowledged { id: ack.pkid, answer: Answer::Accepted },
        v4::Packet::SubAck(ack) => {
            let is_granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
            let is_refused = !ack.return_codes.iter().all(is_granted);
            let refused = is_refused.then(|| BrokerReason::new(BrokerReason::UNSPECIFIED));
            Reply::SubscribeAcknowledged { id: ack.pkid, refused }
        }
        _ => Reply::Other,
    }
}
