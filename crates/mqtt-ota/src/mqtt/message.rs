use std::time::Duration;

use bytes::Bytes;

/// A received message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// The broker had retained it before the subscription.
    pub(crate) retained: bool,
}

/// Quality of service of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    /// QoS 0: for what is retained: it can be had again. rumqttd passes on at most 100 retained messages
    /// with QoS 1, and Mosquitto at most 20 until they are acknowledged.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// How long the broker keeps a message for clients that are not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// As a retained message, until another takes its place.
    Retained,
    /// In the sessions that the broker keeps, without a limit.
    Session,
    /// The same, but no longer than this; MQTT 3.1.1 has no such limit.
    For(Duration),
}

/// Acknowledgement of a published message by the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    Accepted,
    /// Nobody is subscribed to the topic, as only MQTT 5 tells.
    NoSubscribers,
}
