use std::fmt;

/// Longest text from a broker that is kept, in characters.
const LONGEST_TEXT: usize = 200;

/// Reason code with which a broker refuses a request or ends a connection (MQTT 5, 2.4).
///
/// The codes of MQTT 3.1.1 are given as those of MQTT 5 with the same meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerReason {
    code: u8,
    text: Option<String>,
}

impl BrokerReason {
    pub(super) const UNSPECIFIED: u8 = 0x80;
    pub(super) const MALFORMED: u8 = 0x81;
    pub(super) const PROTOCOL_ERROR: u8 = 0x82;
    pub(super) const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
    pub(super) const UNSUPPORTED_VERSION: u8 = 0x84;
    pub(super) const CLIENT_ID: u8 = 0x85;
    pub(super) const BAD_LOGIN: u8 = 0x86;
    pub(super) const NOT_AUTHORIZED: u8 = 0x87;
    pub(super) const UNAVAILABLE: u8 = 0x88;
    pub(super) const BUSY: u8 = 0x89;
    pub(super) const BANNED: u8 = 0x8a;
    pub(super) const BAD_METHOD: u8 = 0x8c;
    pub(super) const TAKEN_OVER: u8 = 0x8e;
    pub(super) const TOPIC_FILTER: u8 = 0x8f;
    pub(super) const TOPIC_NAME: u8 = 0x90;
    pub(super) const PACKET_ID: u8 = 0x91;
    pub(super) const TOO_LARGE: u8 = 0x95;
    pub(super) const QUOTA: u8 = 0x97;
    pub(super) const PAYLOAD_FORMAT: u8 = 0x99;
    pub(super) const NO_RETAIN: u8 = 0x9a;
    pub(super) const QOS: u8 = 0x9b;
    pub(super) const OTHER_SERVER: u8 = 0x9c;
    pub(super) const MOVED: u8 = 0x9d;
    pub(super) const NO_SHARING: u8 = 0x9e;
    pub(super) const RATE: u8 = 0x9f;
    pub(super) const NO_IDENTIFIERS: u8 = 0xa1;
    pub(super) const NO_WILDCARDS: u8 = 0xa2;

    pub(super) fn new(code: u8) -> Self {
        Self { code, text: None }
    }

    /// Creates a reason with the broker's explanation, cut off after 200 characters.
    pub(super) fn saying(code: u8, text: Option<&str>) -> Self {
        let text = text.filter(|text| !text.is_empty());
        Self { code, text: text.map(|text| text.chars().take(LONGEST_TEXT).collect()) }
    }

    /// Returns the code, 0x80 or above.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Returns the broker's own explanation, at most 200 characters. Not safe for a terminal.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Returns true if a different client has connected with the same client id.
    pub(super) fn is_takeover(&self) -> bool {
        self.code == Self::TAKEN_OVER
    }

    /// Returns true if the broker would refuse the same message or filter again.
    pub(super) fn is_about_a_request(&self) -> bool {
        matches!(
            self.code,
            Self::NOT_AUTHORIZED
                | Self::TOPIC_FILTER
                | Self::TOPIC_NAME
                | Self::TOO_LARGE
                | Self::PAYLOAD_FORMAT
                | Self::NO_RETAIN
                | Self::QOS
                | Self::NO_SHARING
                | Self::NO_IDENTIFIERS
                | Self::NO_WILDCARDS
        )
    }

    /// Returns true if the broker refuses the client until somebody changes the broker or the client's settings.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self.code,
            Self::UNSUPPORTED_VERSION
                | Self::CLIENT_ID
                | Self::BAD_LOGIN
                | Self::NOT_AUTHORIZED
                | Self::BANNED
                | Self::BAD_METHOD
                | Self::MOVED
        )
    }

    fn name(&self) -> &'static str {
        match self.code {
            Self::UNSPECIFIED => "it gives no reason",
            Self::MALFORMED => "it could not read what it was sent",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::IMPLEMENTATION_SPECIFIC => "a rule of its own",
            Self::UNSUPPORTED_VERSION => "unsupported version of MQTT",
            Self::CLIENT_ID => "client id not accepted",
            Self::BAD_LOGIN => "wrong user name or password",
            Self::NOT_AUTHORIZED => "not authorized",
            Self::UNAVAILABLE => "server unavailable",
            Self::BUSY => "server busy",
            Self::BANNED => "banned",
            0x8b => "server shutting down",
            Self::BAD_METHOD => "unsupported authentication method",
            0x8d => "keep alive timeout",
            Self::TAKEN_OVER => "another client has connected with the same client id",
            Self::TOPIC_FILTER => "topic filter not accepted",
            Self::TOPIC_NAME => "topic name not accepted",
            Self::PACKET_ID => "packet identifier in use",
            0x93 => "too many messages in flight",
            0x94 => "topic alias invalid",
            Self::TOO_LARGE => "packet too large",
            0x96 => "message rate too high",
            Self::QUOTA => "quota exceeded",
            0x98 => "ended by its administrator",
            Self::PAYLOAD_FORMAT => "payload format invalid",
            Self::NO_RETAIN => "retained messages are not supported",
            Self::QOS => "this quality of service is not supported",
            Self::OTHER_SERVER => "use another server",
            Self::MOVED => "server moved",
            Self::NO_SHARING => "shared subscriptions are not supported",
            Self::RATE => "too many connections in a short time",
            0xa0 => "maximum connect time reached",
            Self::NO_IDENTIFIERS => "subscription identifiers are not supported",
            Self::NO_WILDCARDS => "wildcard subscriptions are not supported",
            _ => "unknown reason",
        }
    }

    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.code {
            Self::UNSUPPORTED_VERSION | Self::MALFORMED | Self::PROTOCOL_ERROR => {
                "try the other version of MQTT, 3.1.1 or 5"
            }
            Self::CLIENT_ID => "the broker wants another client id: a device's is made from its name",
            Self::BAD_LOGIN | Self::BAD_METHOD => "check the user and the password",
            Self::NOT_AUTHORIZED => "check the broker's access list for this user",
            Self::BANNED | 0x98 => "ask whoever administers the broker",
            Self::UNAVAILABLE | Self::BUSY | 0x8b | 0x96 | Self::RATE | 0xa0 => {
                "try again later; the broker's log may say more"
            }
            Self::TAKEN_OVER => "stop the other client, or give one of the two another name",
            Self::TOO_LARGE => "raise the broker's limit (in Mosquitto: max_packet_size, message_size_limit)",
            Self::QUOTA => "the broker limits what this user may do: see its settings",
            Self::PAYLOAD_FORMAT => {
                "the broker checks what is published: let it accept plain text on OTA topics"
            }
            Self::NO_RETAIN => "let the broker retain messages (in Mosquitto: retain_available true)",
            Self::QOS => "let the broker accept QoS 1 (in Mosquitto: max_qos 1)",
            Self::OTHER_SERVER | Self::MOVED => "the broker is at another address now",
            Self::NO_WILDCARDS => "let the broker accept filters with +, or name each device",
            Self::UNSPECIFIED | Self::IMPLEMENTATION_SPECIFIC => "the broker's log may say more",
            _ => return None,
        })
    }
}

impl fmt::Display for BrokerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.code)?;
        match &self.text {
            Some(text) => write!(f, ", {text:?}"),
            None => Ok(()),
        }
    }
}
