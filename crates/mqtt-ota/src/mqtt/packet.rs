use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use tokio_util::codec::{Decoder, Encoder};

/// The longest packet that is read over MQTT 5, in bytes: the broker is told, and drops longer ones.
const MAX_PACKET_V5: u32 = 64 * 1024;
/// The longest packet that is read over MQTT 3.1.1, in bytes. The broker cannot be told, and a longer one
/// ends the connection: so it is far above what anyone sends by mistake.
const MAX_PACKET_V311: usize = 16 * 1024 * 1024;

/// The version of MQTT that is spoken with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// MQTT 5: a broker that has no subscriber for an offer says so.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// How surely messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qos {
    /// QoS 0. For what is retained: it can be had again. rumqttd passes on at most 100 retained messages
    /// with QoS 1, and Mosquitto at most 20 until they are acknowledged.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// How long a message is there for those who are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// The broker retains it.
    Retained,
    /// It waits for those whose session the broker keeps.
    Session,
    /// It does so for no longer than this; over MQTT 3.1.1, which knows no such thing, for ever.
    For(Duration),
}

/// What a client says. Messages have QoS 1, sessions are clean.
#[derive(Debug)]
pub(super) enum Request {
    Connect { client_id: String, keep_alive: u16, login: Option<(String, String)> },
    Publish { id: u16, topic: String, payload: Bytes, lasting: Lasting },
    Receipt { id: u16 },
    Subscribe { id: u16, filter: String, qos: Qos },
    Unsubscribe { id: u16, filter: String },
    Ping,
    Goodbye,
}

/// What a broker says.
#[derive(Debug)]
pub(super) enum Reply {
    Accepted {
        in_flight: Option<u16>,
        keep_alive: Option<u16>,
    },
    Refused(Refusal),
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
        granted: bool,
    },
    /// It ends the connection, and says why.
    Goodbye(String),
    Other,
}

/// Why a client is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Login,
    Version,
    Other(String),
}

/// The broker's answer to a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    NoSubscribers,
    Refused(String),
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// Stored by the broker before we subscribed, rather than published now.
    pub(crate) retained: bool,
}

/// Puts packets of either version on the network, and takes them off it.
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
            Self::V5(codec) => Ok(codec.decode(bytes).map_err(malformed)?.map(from_v5)),
            Self::V311(codec) => Ok(codec.decode(bytes).map_err(malformed)?.map(from_v311)),
        }
    }
}

/// Bytes that are no MQTT packet.
fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn to_v5(request: Request) -> v5::Packet {
    const QOS: mqttbytes5::QoS = mqttbytes5::QoS::AtLeastOnce;
    match request {
        Request::Connect { client_id, keep_alive, login } => {
            let mut properties = v5::ConnectProperties::new();
            properties.max_packet_size = Some(MAX_PACKET_V5);
            let connect =
                v5::Connect { keep_alive, client_id, clean_start: true, properties: Some(properties) };
            let login = login.map(|(user, password)| v5::Login::new(user, password));
            v5::Packet::Connect(connect, None, login)
        }
        Request::Publish { id, topic, payload, lasting } => {
            let properties = match lasting {
                Lasting::For(time) => {
                    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
                    Some(v5::PublishProperties {
                        message_expiry_interval: Some(seconds),
                        ..v5::PublishProperties::default()
                    })
                }
                Lasting::Retained | Lasting::Session => None,
            };
            let mut publish = v5::Publish::new(topic, QOS, payload, properties);
            (publish.pkid, publish.retain) = (id, lasting == Lasting::Retained);
            v5::Packet::Publish(publish)
        }
        Request::Receipt { id } => v5::Packet::PubAck(v5::PubAck::new(id, None)),
        Request::Subscribe { id, filter, qos } => {
            let qos = match qos {
                Qos::AtMostOnce => mqttbytes5::QoS::AtMostOnce,
                Qos::AtLeastOnce => QOS,
            };
            let mut subscribe = v5::Subscribe::new(v5::Filter::new(filter, qos), None);
            subscribe.pkid = id;
            v5::Packet::Subscribe(subscribe)
        }
        Request::Unsubscribe { id, filter } => {
            let mut unsubscribe = v5::Unsubscribe::new(filter, None);
            unsubscribe.pkid = id;
            v5::Packet::Unsubscribe(unsubscribe)
        }
        Request::Ping => v5::Packet::PingReq(v5::PingReq),
        Request::Goodbye => {
            v5::Packet::Disconnect(v5::Disconnect::new(v5::DisconnectReasonCode::NormalDisconnection))
        }
    }
}

fn to_v311(request: Request) -> v4::Packet {
    const QOS: mqttbytes::QoS = mqttbytes::QoS::AtLeastOnce;
    match request {
        Request::Connect { client_id, keep_alive, login } => {
            let mut connect = v4::Connect::new(client_id);
            connect.keep_alive = keep_alive;
            connect.login = login.map(|(user, password)| v4::Login::new(user, password));
            v4::Packet::Connect(connect)
        }
        Request::Publish { id, topic, payload, lasting } => {
            let mut publish = v4::Publish::from_bytes(topic, QOS, payload);
            (publish.pkid, publish.retain) = (id, lasting == Lasting::Retained);
            v4::Packet::Publish(publish)
        }
        Request::Receipt { id } => v4::Packet::PubAck(v4::PubAck::new(id)),
        Request::Subscribe { id, filter, qos } => {
            let qos = match qos {
                Qos::AtMostOnce => mqttbytes::QoS::AtMostOnce,
                Qos::AtLeastOnce => QOS,
            };
            let mut subscribe = v4::Subscribe::new(filter, qos);
            subscribe.pkid = id;
            v4::Packet::Subscribe(subscribe)
        }
        Request::Unsubscribe { id, filter } => {
            let mut unsubscribe = v4::Unsubscribe::new(filter);
            unsubscribe.pkid = id;
            v4::Packet::Unsubscribe(unsubscribe)
        }
        Request::Ping => v4::Packet::PingReq,
        Request::Goodbye => v4::Packet::Disconnect,
    }
}

fn from_v5(packet: v5::Packet) -> Reply {
    use v5::{ConnectReturnCode as Code, PubAckReason, SubscribeReasonCode};
    match packet {
        v5::Packet::ConnAck(ack) => match ack.code {
            Code::Success => {
                let properties = ack.properties.as_ref();
                Reply::Accepted {
                    in_flight: properties.and_then(|p| p.receive_max),
                    keep_alive: properties.and_then(|p| p.server_keep_alive),
                }
            }
            Code::NotAuthorized | Code::BadUserNamePassword => Reply::Refused(Refusal::Login),
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
                Reply::Refused(Refusal::Version)
            }
            code => Reply::Refused(Refusal::Other(format!("{code:?}"))),
        },
        v5::Packet::Publish(publish) => Reply::Message {
            receipt: (publish.qos == mqttbytes5::QoS::AtLeastOnce).then_some(publish.pkid),
            message: Message {
                // A topic that is not UTF-8 becomes one that nobody has subscribed to.
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
                reason => Answer::Refused(format!("{reason:?}")),
            },
        },
        v5::Packet::SubAck(ack) => Reply::SubscribeAcknowledged {
            id: ack.pkid,
            granted: ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))),
        },
        v5::Packet::Disconnect(goodbye) => Reply::Goodbye(format!("{:?}", goodbye.reason_code)),
        _ => Reply::Other,
    }
}

fn from_v311(packet: v4::Packet) -> Reply {
    use v4::{ConnectReturnCode as Code, SubscribeReasonCode};
    match packet {
        v4::Packet::ConnAck(ack) => match ack.code {
            Code::Success => Reply::Accepted { in_flight: None, keep_alive: None },
            Code::NotAuthorized | Code::BadUserNamePassword => Reply::Refused(Refusal::Login),
            Code::RefusedProtocolVersion => Reply::Refused(Refusal::Version),
            code => Reply::Refused(Refusal::Other(format!("{code:?}"))),
        },
        v4::Packet::Publish(publish) => Reply::Message {
            receipt: (publish.qos == mqttbytes::QoS::AtLeastOnce).then_some(publish.pkid),
            message: Message { topic: publish.topic, payload: publish.payload, retained: publish.retain },
        },
        v4::Packet::PubAck(ack) => Reply::PublishAcknowledged { id: ack.pkid, answer: Answer::Accepted },
        v4::Packet::SubAck(ack) => Reply::SubscribeAcknowledged {
            id: ack.pkid,
            granted: ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))),
        },
        _ => Reply::Other,
    }
}
