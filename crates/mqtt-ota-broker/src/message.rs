use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{QoS, v5};
use tokio::time::Instant;

use crate::limits;
use crate::packet::{Packet, own};

/// Message as the broker keeps it: in memory of its own, shared by all recipients.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    /// Other properties of MQTT 5, without expiry, topic alias and subscription identifiers. Boxed, because hardly
    /// any message has them.
    properties: Option<Box<v5::PublishProperties>>,
    /// Time from which the message must not be delivered.
    expires: Option<Instant>,
}

impl Message {
    /// Copies a message out of the packet that carried it.
    pub(crate) fn new(publish: &v5::Publish, now: Instant) -> Self {
        let mut properties = publish.properties.clone().unwrap_or_default();
        let expires = properties.message_expiry_interval.take();
        properties.topic_alias = None;
        properties.subscription_identifiers.clear();
        properties.correlation_data = properties.correlation_data.as_ref().map(own);
        let is_plain = properties == v5::PublishProperties::default();
        Self {
            topic: own(&publish.topic),
            payload: own(&publish.payload),
            qos: publish.qos,
            properties: (!is_plain).then(|| Box::new(properties)),
            expires: expires.map(|seconds| now + Duration::from_secs(seconds.into())),
        }
    }

    /// Appends the message in the form in which it waits in a log: the time of its expiry, then a PUBLISH packet.
    /// Returns `None` if the codec refuses the message.
    pub(crate) fn write(&self, buffer: &mut BytesMut, epoch: Instant) -> Option<()> {
        let expires = self.expires.map_or(u64::MAX, |expires| {
            u64::try_from(expires.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
        });
        buffer.put_u64(expires);
        let publish = v5::Publish {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            properties: self.properties.as_deref().cloned(),
            ..v5::Publish::default()
        };
        Packet::Publish(publish).write(buffer, None).ok().map(drop)
    }

    /// Reads a message that [`Self::write`] wrote.
    pub(crate) fn read(mut bytes: Bytes, qos: QoS, epoch: Instant) -> Option<Self> {
        let expires = bytes.try_get_u64().ok()?;
        let Ok(Packet::Publish(publish)) = Packet::read(&mut BytesMut::from(bytes), None) else {
            return None;
        };
        Some(Self {
            topic: publish.topic,
            payload: publish.payload,
            qos,
            properties: publish.properties.map(Box::new),
            expires: (expires != u64::MAX).then(|| epoch + Duration::from_millis(expires)),
        })
    }

    /// Returns true if the message must not be delivered any more.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Returns the bytes of memory that the message takes, including its place in a queue.
    pub(crate) fn cost(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| {
            let texts = properties.user_properties.iter().map(|(key, value)| 48 + key.len() + value.len());
            texts.sum::<usize>()
                + properties.response_topic.as_ref().map_or(0, String::len)
                + properties.content_type.as_ref().map_or(0, String::len)
                + properties.correlation_data.as_ref().map_or(0, Bytes::len)
                + size_of::<v5::PublishProperties>()
        });
        limits::OVERHEAD + self.topic.len() + self.payload.len() + properties
    }

    /// Returns the packet that delivers the message. Its expiry interval is the remaining life of the message.
    pub(crate) fn to_publish(
        &self,
        qos: QoS,
        retain: bool,
        pkid: u16,
        dup: bool,
        now: Instant,
    ) -> v5::Publish {
        let mut properties = self.properties.as_deref().cloned();
        if let Some(expires) = self.expires {
            let left = expires.saturating_duration_since(now).as_secs();
            let left = u32::try_from(left).unwrap_or(u32::MAX).max(1);
            properties.get_or_insert_default().message_expiry_interval = Some(left);
        }
        v5::Publish {
            dup,
            qos,
            retain,
            topic: self.topic.clone(),
            pkid,
            payload: self.payload.clone(),
            properties,
        }
    }
}

/// Returns the message of a client's last will, and the delay before it is published.
pub(crate) fn of_will(will: v5::LastWill) -> (v5::Publish, Duration) {
    let properties = will.properties;
    let delay = properties.as_ref().and_then(|properties| properties.delay_interval).unwrap_or_default();
    let properties = properties.map(|properties| v5::PublishProperties {
        payload_format_indicator: properties.payload_format_indicator,
        message_expiry_interval: properties.message_expiry_interval,
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user_properties: properties.user_properties,
        ..v5::PublishProperties::default()
    });
    let publish = v5::Publish {
        qos: will.qos,
        retain: will.retain,
        topic: own(&will.topic),
        payload: own(&will.message),
        properties,
        ..v5::Publish::default()
    };
    (publish, Duration::from_secs(delay.into()))
}
