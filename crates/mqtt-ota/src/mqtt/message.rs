use std::time::Duration;

use bytes::Bytes;

/// A received message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// True if the broker had retained the message before the subscription.
    pub(crate) retained: bool,
}

/// Quality of service of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    /// QoS 0, for retained messages, which can be requested again. rumqttd passes on at most 100 retained messages with
    /// QoS 1, and Mosquitto at most 20 until they are acknowledged.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// Time for which the broker keeps a message for clients that are not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Retained on the topic until another message replaces it.
    Retained,
    /// Kept in the sessions that the broker holds, without a limit.
    Session,
    /// Kept like [`Retention::Session`], but no longer than this. MQTT 3.1.1 has no such limit.
    For(Duration),
}

/// Acknowledgement of a published message by the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    Accepted,
    /// The topic has no subscriber. Only MQTT 5 reports this.
    NoSubscribers,
}
