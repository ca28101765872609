use std::path::PathBuf;
use std::{error, io};

use super::certificate::{CertificateProblem, Fingerprint};
use super::reason::BrokerReason;

type Source = Box<dyn error::Error + Send + Sync>;

/// Why there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Its name does not resolve, or nothing listens there, or the network has no way to it.
    #[error("cannot reach the broker at {broker}")]
    Unreachable {
        /// The broker's URL, without a password.
        broker: String,
        /// What the system says.
        source: io::Error,
    },
    /// No connection came about within 5 s.
    #[error("the broker at {broker} does not answer")]
    Timeout {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// A connection came about, and the broker did not answer the client's CONNECT packet within 5 s.
    #[error("the broker at {broker} takes connections, but does not answer what is said to it")]
    Silent {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// It closed the connection instead of answering.
    #[error("the broker at {broker} closed the connection without an answer")]
    Closed {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// The connection broke before it answered.
    #[error("the connection to the broker at {broker} broke")]
    Broken {
        /// The broker's URL, without a password.
        broker: String,
        /// What the system says.
        source: io::Error,
    },
    /// It does not speak the version of MQTT that was tried.
    #[error("the broker at {broker} does not speak this version of MQTT")]
    Version {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// It does not let this user in.
    #[error("the broker at {broker} refuses the login {}", match user { Some(user) => format!("of {user:?}"), None => "of a client without a user".to_owned() })]
    NotAuthorised {
        /// The broker's URL, without a password.
        broker: String,
        /// Who tried to log in.
        user: Option<String>,
    },
    /// It does not let us in for another reason.
    #[error("the broker at {broker} refuses the connection: {reason}")]
    Refused {
        /// The broker's URL, without a password.
        broker: String,
        /// Its reason.
        reason: BrokerReason,
    },
    /// What answers there does not speak MQTT, or speaks it behind TLS.
    #[error("what answers at {broker} does not speak MQTT")]
    NotMqtt {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// The broker's certificate is not trusted.
    #[error("the certificate of the broker at {broker} is not trusted; its SHA-256 fingerprint is {seen}")]
    Certificate {
        /// The broker's URL, without a password.
        broker: String,
        /// Its fingerprint.
        seen: Fingerprint,
        /// What is wrong with it.
        #[source]
        problem: CertificateProblem,
    },
    /// The broker wants a certificate of the client, or does not accept the one that it was shown.
    #[error("the broker at {broker} {}", if *shown { "does not accept the client certificate" } else { "demands a client certificate" })]
    ClientCertificate {
        /// The broker's URL, without a password.
        broker: String,
        /// Whether a client certificate was shown to it.
        shown: bool,
        /// What the broker said last, mostly a TLS alert.
        source: io::Error,
    },
    /// No encrypted connection.
    #[error("no encrypted connection to the broker at {broker}")]
    Tls {
        /// The broker's URL, without a password.
        broker: String,
        /// What rustls says.
        source: Source,
    },
    /// The CA file.
    #[error("cannot use {} as a file of certificate authorities", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Source,
    },
    /// The client certificate or its key.
    #[error("cannot use {} as {}", path.display(), if *is_key { "the key of the client certificate" } else { "a client certificate" })]
    ClientFile {
        /// The file.
        path: PathBuf,
        /// It is the one with the key.
        is_key: bool,
        /// What is wrong with it.
        source: Source,
    },
    /// No certificate authority to trust.
    #[error("the system has no certificate authorities to trust")]
    NoSystemRoots,
}

impl ConnectError {
    /// What to try next, as a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "is the broker running, and is this its port?"
            }
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::NotConnected => {
                "the broker in this process has stopped"
            }
            Self::Unreachable { .. } => "check the broker's name and the network",
            Self::Timeout { .. } => "check the address, and the firewalls between here and there",
            Self::Silent { broker } if is_tls(broker) => "is this the broker's port? See the broker's log",
            Self::Silent { .. } => "is this the broker's port? A TLS port wants mqtts://",
            Self::Closed { broker } | Self::Broken { broker, .. } if is_tls(broker) => {
                "some brokers answer a wrong user or password in this way; its log may say more"
            }
            Self::Closed { .. } | Self::Broken { .. } => {
                "some brokers answer a wrong user or password in this way; and a TLS port wants mqtts://"
            }
            Self::NotAuthorised { user: None, .. } => "give a user and a password",
            Self::NotAuthorised { .. } => "check the user, the password and the broker's access list",
            Self::NotMqtt { broker } if is_tls(broker) => "is this the broker's port?",
            Self::NotMqtt { .. } => "is this the broker's port? A TLS port wants mqtts://",
            Self::Certificate { problem, .. } => problem.hint(),
            Self::ClientCertificate { shown: false, .. } => {
                "give a certificate by the authority that the broker trusts, and its key"
            }
            Self::ClientCertificate { shown: true, .. } => {
                "it has to be by the authority that the broker trusts, valid now, and made for a client"
            }
            Self::Tls { .. } => "is this the broker's TLS port? Without TLS the URL begins with mqtt://",
            Self::ClientFile { is_key: true, .. } => {
                "it is a PEM file with the private key, without a passphrase"
            }
            Self::ClientFile { .. } => {
                "it is a PEM file with the certificate, and those that signed it after it"
            }
            Self::NoSystemRoots => "install the system's ca-certificates, or give a file of authorities",
            Self::Version { .. } => "try the other version of MQTT, 3.1.1 or 5",
            Self::Refused { reason, .. } => return reason.hint(),
            Self::CaFile { .. } => return None,
        })
    }

    /// Whether a broker that only speaks MQTT 3.1.1 may answer MQTT 5 in this way.
    pub(super) fn may_be_the_protocol(&self) -> bool {
        match self {
            Self::Closed { .. }
            | Self::Broken { .. }
            | Self::NotMqtt { .. }
            | Self::Version { .. }
            | Self::Silent { .. } => true,
            Self::Refused { reason, .. } => {
                matches!(reason.code(), BrokerReason::MALFORMED | BrokerReason::PROTOCOL_ERROR)
            }
            _ => false,
        }
    }

    /// Whether trying again is of no use until somebody changes the broker or the settings.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => reason.is_lasting(),
            Self::NotAuthorised { .. }
            | Self::Version { .. }
            | Self::NotMqtt { .. }
            | Self::Certificate { .. }
            | Self::ClientCertificate { .. }
            | Self::CaFile { .. }
            | Self::ClientFile { .. }
            | Self::NoSystemRoots => true,
            _ => false,
        }
    }
}

fn is_tls(broker: &str) -> bool {
    broker.starts_with("mqtts:")
}

/// Why the broker did not do what it was asked over a connection that had been there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection was lost, and did not come back in time.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The connection is there, and the broker did not acknowledge a message or a subscription within 15 s.
    #[error("the broker does not acknowledge what it is sent")]
    Unanswered,
    /// Messages came faster than they could be read, and some were dropped.
    #[error("the broker sent more at once than can be held, and some messages were dropped")]
    Overrun,
    /// The broker refuses a message, mostly because its access list forbids it.
    #[error("the broker does not allow to publish to {topic}: {reason}")]
    PublishRefused {
        /// The topic.
        topic: String,
        /// The broker's reason.
        reason: BrokerReason,
    },
    /// The broker refuses a subscription, mostly because its access list forbids it.
    #[error("the broker does not allow to subscribe to {topic}: {reason}")]
    SubscribeRefused {
        /// The topic filter.
        topic: String,
        /// The broker's reason.
        reason: BrokerReason,
    },
    /// The broker has closed three connections in a row, each when this was asked of it.
    #[error("the broker closes the connection whenever {} {topic}", if *is_publish { "a message is published to" } else { "somebody subscribes to" })]
    Closes {
        /// The topic, or the topic filter.
        topic: String,
        /// A message was published.
        is_publish: bool,
    },
    /// A message or a subscription is longer than the broker takes.
    #[error("the broker takes packets of at most {limit} bytes, and that for {topic} has {bytes}")]
    TooLarge {
        /// The topic, or the topic filter.
        topic: String,
        /// The length of its packet, in bytes.
        bytes: u64,
        /// The longest packet that the broker takes, in bytes.
        limit: u32,
    },
    /// The broker retains no messages, and this one is of no use without.
    #[error("the broker retains no messages, which {topic} needs")]
    NoRetain {
        /// The topic.
        topic: String,
    },
    /// The broker knows no filters with wildcards.
    #[error("the broker does not allow to subscribe to {topic}: it knows no wildcards")]
    NoWildcards {
        /// The topic filter.
        topic: String,
    },
}

impl LinkError {
    /// What to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        let code = match self {
            Self::PublishRefused { reason, .. } | Self::SubscribeRefused { reason, .. } => {
                // MQTT 3.1.1 has no reasons to tell.
                match reason.code() {
                    BrokerReason::NOT_AUTHORIZED | BrokerReason::UNSPECIFIED => BrokerReason::NOT_AUTHORIZED,
                    _ => return reason.hint().map(str::to_owned),
                }
            }
            Self::TooLarge { .. } => BrokerReason::TOO_LARGE,
            Self::NoRetain { .. } => BrokerReason::NO_RETAIN,
            Self::NoWildcards { .. } => BrokerReason::NO_WILDCARDS,
            Self::Closes { .. } => BrokerReason::NOT_AUTHORIZED,
            Self::Lost => return Some("try again once the broker is back".to_owned()),
            Self::Unanswered | Self::Overrun => {
                return Some("is the broker overloaded? Its log may say more".to_owned());
            }
        };
        Some(match self {
            Self::PublishRefused { topic, .. } => format!(
                "the broker's access list has to let this user write {topic} (in Mosquitto: `topic write {topic}`)"
            ),
            Self::SubscribeRefused { topic, .. } => format!(
                "the broker's access list has to let this user read {topic} (in Mosquitto: `topic read {topic}`)"
            ),
            Self::Closes { .. } => {
                "the broker may forbid it: by its access list, or as it limits retained messages, QoS or sizes \
                 (its log may say so); or another client has the same client id"
                    .to_owned()
            }
            _ => BrokerReason::new(code).hint()?.to_owned(),
        })
    }
}
