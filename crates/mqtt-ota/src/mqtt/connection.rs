use std::io;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Outgoing, TlsConfiguration, Transport, v5};

use super::{ConnectError, Message, tls};
use crate::Broker;

/// Packets in flight at once. rumqttc reserves a slot for each, at MQTT 5 otherwise 65,536 of them (16 MB).
const IN_FLIGHT: u16 = 64;
/// Requests that wait for the network.
pub(super) const REQUESTS: usize = 256;
/// The longest packet that is read over MQTT 5, in bytes: the broker is told, and drops longer ones.
const MAX_PACKET_V5: u32 = 64 * 1024;
/// The longest packet that is read over MQTT 3.1.1, in bytes. The broker cannot be told, and a longer one
/// ends the connection: so it is far above what anyone sends by mistake.
const MAX_PACKET_V311: usize = 16 * 1024 * 1024;
/// How long to wait for the broker to accept a connection and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the broker is pinged.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The version of MQTT that is spoken with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// MQTT 5: a broker that has no subscriber for an offer says so.
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// What happened on the connection, the same for both versions of MQTT.
#[derive(Debug)]
pub(super) enum Event {
    Connected,
    Message(Message),
    PublishSent { id: u16 },
    PublishAcknowledged { id: u16, answer: Answer },
    SubscribeSent { id: u16 },
    SubscribeAcknowledged { id: u16, granted: bool },
    Goodbye,
    Other,
}

/// The broker's answer to a message with QoS 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    NoSubscribers,
    Refused(String),
}

/// The side that takes requests. None of them waits.
pub(super) enum Client {
    V5(v5::AsyncClient),
    V311(rumqttc::AsyncClient),
}

/// The side that must be polled.
pub(super) enum Events {
    V5(Box<v5::EventLoop>, String),
    V311(Box<rumqttc::EventLoop>, String),
}

/// Prepares a connection. Nothing is sent before the events are polled.
pub(super) async fn open(
    broker: &Broker,
    protocol: Protocol,
    client_id: &str,
) -> Result<(Client, Events), ConnectError> {
    let transport = if broker.is_tls() {
        let broker = broker.clone();
        let config = tokio::task::spawn_blocking(move || tls::client_config(&broker))
            .await
            .map_err(|_| ConnectError::NoSystemRoots)??;
        Transport::tls_with_config(TlsConfiguration::Rustls(config))
    } else {
        Transport::tcp()
    };
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    let (host, port) = (broker.bracketed_host(), broker.port());
    Ok(match protocol {
        Protocol::V5 => {
            let mut options = v5::MqttOptions::new(client_id, host, port);
            options
                .set_transport(transport)
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_start(true)
                .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
                .set_outgoing_inflight_upper_limit(IN_FLIGHT)
                .set_max_packet_size(Some(MAX_PACKET_V5))
                .set_network_options(network);
            if let Some((user, password)) = broker.login() {
                options.set_credentials(user, password);
            }
            let (client, events) = v5::AsyncClient::new(options, REQUESTS);
            (Client::V5(client), Events::V5(Box::new(events), broker.to_string()))
        }
        Protocol::V311 => {
            let mut options = rumqttc::MqttOptions::new(client_id, host, port);
            options
                .set_transport(transport)
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_session(true)
                .set_inflight(IN_FLIGHT)
                .set_max_packet_size(MAX_PACKET_V311, MAX_PACKET_V311);
            if let Some((user, password)) = broker.login() {
                options.set_credentials(user, password);
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
            events.set_network_options(network);
            (Client::V311(client), Events::V311(Box::new(events), broker.to_string()))
        }
    })
}

impl Client {
    /// Queues a message with QoS 1. False where the queue is full.
    pub(super) fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        match self {
            Self::V5(client) => {
                client.try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload).is_ok()
            }
            Self::V311(client) => {
                client.try_publish(topic, rumqttc::QoS::AtLeastOnce, retain, payload).is_ok()
            }
        }
    }

    /// Queues a subscription with QoS 1. False where the queue is full.
    pub(super) fn subscribe(&self, filter: &str) -> bool {
        match self {
            Self::V5(client) => client.try_subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).is_ok(),
            Self::V311(client) => client.try_subscribe(filter, rumqttc::QoS::AtLeastOnce).is_ok(),
        }
    }

    /// Queues the end of a subscription. False where the queue is full.
    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        match self {
            Self::V5(client) => client.try_unsubscribe(filter).is_ok(),
            Self::V311(client) => client.try_unsubscribe(filter).is_ok(),
        }
    }

    /// Queues the goodbye. False where the queue is full.
    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V5(client) => client.try_disconnect().is_ok(),
            Self::V311(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Events {
    /// Waits for what happens next; connects where there is no connection.
    pub(super) async fn next(&mut self) -> Result<Event, ConnectError> {
        match self {
            Self::V5(events, broker) => match events.poll().await {
                Ok(v5::Event::Incoming(packet)) => Ok(from_v5(packet)),
                Ok(v5::Event::Outgoing(packet)) => Ok(from_outgoing(&packet)),
                Err(error) => Err(error_v5(error, broker, events.options.credentials().map(|l| l.username))),
            },
            Self::V311(events, broker) => match events.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => Ok(from_v311(packet)),
                Ok(rumqttc::Event::Outgoing(packet)) => Ok(from_outgoing(&packet)),
                Err(error) => {
                    Err(error_v311(error, broker, events.mqtt_options.credentials().map(|l| l.username)))
                }
            },
        }
    }
}

fn from_outgoing(packet: &Outgoing) -> Event {
    match packet {
        Outgoing::Publish(id) => Event::PublishSent { id: *id },
        Outgoing::Subscribe(id) => Event::SubscribeSent { id: *id },
        Outgoing::Disconnect => Event::Goodbye,
        _ => Event::Other,
    }
}

fn from_v5(packet: v5::mqttbytes::v5::Packet) -> Event {
    use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(_) => Event::Connected,
        Packet::Publish(publish) => match String::from_utf8(publish.topic.to_vec()) {
            Ok(topic) => {
                Event::Message(Message { topic, payload: publish.payload, retained: publish.retain })
            }
            Err(_) => Event::Other,
        },
        Packet::PubAck(ack) => Event::PublishAcknowledged {
            id: ack.pkid,
            answer: match ack.reason {
                PubAckReason::Success => Answer::Accepted,
                PubAckReason::NoMatchingSubscribers => Answer::NoSubscribers,
                reason => Answer::Refused(format!("{reason:?}")),
            },
        },
        Packet::SubAck(ack) => Event::SubscribeAcknowledged {
            id: ack.pkid,
            granted: ack.return_codes.iter().all(|c| matches!(c, SubscribeReasonCode::Success(_))),
        },
        _ => Event::Other,
    }
}

fn from_v311(packet: rumqttc::Packet) -> Event {
    use rumqttc::{Packet, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(_) => Event::Connected,
        Packet::Publish(publish) => Event::Message(Message {
            topic: publish.topic,
            payload: publish.payload,
            retained: publish.retain,
        }),
        Packet::PubAck(ack) => Event::PublishAcknowledged { id: ack.pkid, answer: Answer::Accepted },
        Packet::SubAck(ack) => Event::SubscribeAcknowledged {
            id: ack.pkid,
            granted: ack.return_codes.iter().all(|c| matches!(c, SubscribeReasonCode::Success(_))),
        },
        _ => Event::Other,
    }
}

fn error_v5(error: v5::ConnectionError, broker: &str, user: Option<String>) -> ConnectError {
    use v5::mqttbytes::v5::ConnectReturnCode as Code;
    use v5::{ConnectionError as Error, StateError};
    let broker = broker.to_owned();
    match error {
        Error::Io(source) | Error::MqttState(StateError::Io(source)) => {
            ConnectError::Unreachable { broker, source }
        }
        Error::Timeout(_) => ConnectError::Timeout { broker },
        Error::Tls(source) => from_tls(source, broker),
        Error::ConnectionRefused(Code::NotAuthorized | Code::BadUserNamePassword) => {
            ConnectError::NotAuthorised { broker, user }
        }
        Error::ConnectionRefused(code) => ConnectError::Refused { broker, reason: format!("{code:?}") },
        Error::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            ConnectError::Refused { broker, reason: format!("{reason_code:?}") }
        }
        Error::MqttState(StateError::Deserialization(_)) | Error::NotConnAck(_) => {
            ConnectError::NotMqtt { broker }
        }
        _ => ConnectError::Closed { broker },
    }
}

fn error_v311(error: rumqttc::ConnectionError, broker: &str, user: Option<String>) -> ConnectError {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as Error, StateError};
    let broker = broker.to_owned();
    match error {
        Error::Io(source) | Error::MqttState(StateError::Io(source)) => {
            ConnectError::Unreachable { broker, source }
        }
        Error::NetworkTimeout | Error::FlushTimeout => ConnectError::Timeout { broker },
        Error::Tls(source) => from_tls(source, broker),
        Error::ConnectionRefused(Code::NotAuthorized | Code::BadUserNamePassword) => {
            ConnectError::NotAuthorised { broker, user }
        }
        Error::ConnectionRefused(code) => ConnectError::Refused { broker, reason: format!("{code:?}") },
        Error::MqttState(StateError::Deserialization(_)) | Error::NotConnAck(_) => {
            ConnectError::NotMqtt { broker }
        }
        _ => ConnectError::Closed { broker },
    }
}

/// rumqttc wraps the network's own errors into those of TLS.
fn from_tls(error: rumqttc::TlsError, broker: String) -> ConnectError {
    match error {
        rumqttc::TlsError::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut
            ) =>
        {
            ConnectError::Unreachable { broker, source }
        }
        source => ConnectError::Tls { broker, source: source.into() },
    }
}
