use super::LinkError;
use super::message::{Qos, Retention};

/// Largest size of a packet beyond its topic and its payload, in bytes: kind, length, length of the topic, packet id,
/// and the properties that we use.
const OVERHEAD: u64 = 1 + 4 + 2 + 2 + 6;

/// Limits that a broker states when it accepts a client (MQTT 5, 3.2.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Number of messages that may wait for their acknowledgement at once. `None` if the broker does not state it.
    pub(super) in_flight: Option<u16>,
    /// Interval of pings that the broker demands, in seconds.
    pub(super) keep_alive: Option<u16>,
    /// Longest packet that the broker accepts, in bytes.
    pub(super) packet: Option<u32>,
    /// Highest quality of service that the broker supports.
    pub(super) qos: Qos,
    /// True if the broker retains messages.
    pub(super) retains: bool,
    /// True if the broker supports filters with `+` and `#`.
    pub(super) wildcards: bool,
    /// Client id that the broker has assigned instead of ours.
    pub(super) client_id: Option<String>,
}

impl Limits {
    /// Returns the limits of a broker that states none, as with MQTT 3.1.1.
    pub(super) fn unknown() -> Self {
        Self {
            in_flight: None,
            keep_alive: None,
            packet: None,
            qos: Qos::AtLeastOnce,
            retains: true,
            wildcards: true,
            client_id: None,
        }
    }

    /// Warns of limits that affect every use. The other limits matter only to a request that exceeds one.
    pub(super) fn warn(&self) {
        if !self.retains {
            tracing::warn!(
                "the broker retains no messages, so nothing is known of a device until it speaks (in Mosquitto: \
                 retain_available)"
            );
        }
        if self.qos == Qos::AtMostOnce {
            tracing::warn!(
                "the broker takes QoS 0 only, and confirms no message: an offer or an answer may be lost without a word \
                 (in Mosquitto: max_qos)"
            );
        }
    }

    /// Checks that the broker accepts this message.
    ///
    /// # Errors
    /// Returns an error if the broker retains no messages and this one has to be retained, or if the message is too
    /// long.
    pub(super) fn admit_message(
        &self,
        topic: &str,
        payload: &[u8],
        lasting: Retention,
    ) -> Result<(), LinkError> {
        // If nothing is retained, there is nothing to clear.
        if lasting == Retention::Retained && !self.retains && !payload.is_empty() {
            return Err(LinkError::NoRetain { topic: topic.to_owned() });
        }
        self.admit_packet(topic, payload.len())
    }

    /// Checks that the broker accepts this topic filter.
    ///
    /// # Errors
    /// Returns an error if the filter has wildcards that the broker does not support, or if it is too long.
    pub(super) fn admit_filter(&self, filter: &str) -> Result<(), LinkError> {
        if !self.wildcards && filter.contains(['+', '#']) {
            return Err(LinkError::NoWildcards { topic: filter.to_owned() });
        }
        self.admit_packet(filter, 0)
    }

    fn admit_packet(&self, topic: &str, payload: usize) -> Result<(), LinkError> {
        let bytes = u64::try_from(topic.len() + payload).unwrap_or(u64::MAX).saturating_add(OVERHEAD);
        match self.packet {
            Some(limit) if bytes > limit.into() => {
                Err(LinkError::TooLarge { topic: topic.to_owned(), bytes, limit })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_does_not_take_is_not_sent_to_it() {
        let none = Limits::unknown();
        let large = [0; 100];
        assert_eq!(none.admit_message("LAMP/OTA", &large, Retention::Retained), Ok(()));
        assert_eq!(none.admit_filter("+/OTA/device"), Ok(()));
        let small = Limits { packet: Some(64), retains: false, wildcards: false, ..none };
        let error = small.admit_message("LAMP/OTA", &large, Retention::Session).unwrap_err();
        assert!(matches!(error, LinkError::TooLarge { limit: 64, bytes: 108.., .. }), "{error:?}");
        let error = small.admit_message("LAMP/OTA/device", b"v=1", Retention::Retained).unwrap_err();
        assert!(matches!(error, LinkError::NoRetain { .. }), "{error:?}");
        // An empty message clears nothing, because nothing is retained.
        assert_eq!(small.admit_message("LAMP/OTA/device", b"", Retention::Retained), Ok(()));
        assert!(matches!(small.admit_filter("+/OTA/device"), Err(LinkError::NoWildcards { .. })));
        assert!(matches!(small.admit_filter(&"x".repeat(60)), Err(LinkError::TooLarge { .. })));
    }
}
