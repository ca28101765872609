use std::path::PathBuf;
use std::{error, io};

use super::certificate::{CertificateProblem, Fingerprint};
use super::reason::BrokerReason;

type Source = Box<dyn error::Error + Send + Sync>;

/// Error returned if there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The broker's name does not resolve, nothing listens at its port, or there is no route to its network.
    #[error("cannot reach the broker at {broker}")]
    Unreachable {
        /// Broker's URL, without a password.
        broker: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// No connection was established within 5 s.
    #[error("the broker at {broker} does not answer")]
    Timeout {
        /// Broker's URL, without a password.
        broker: String,
    },
    /// A connection was established, but the broker did not answer the client's CONNECT packet within 5 s.
    #[error("the broker at {broker} takes connections, but does not answer what is said to it")]
    Silent {
        /// Broker's URL, without a password.
        broker: String,
    },
    /// The broker closed the connection instead of answering.
    #[error("the broker at {broker} closed the connection without an answer")]
    Closed {
        /// Broker's URL, without a password.
        broker: String,
    },
    /// The connection broke before the broker answered.
    #[error("the connection to the broker at {broker} broke")]
    Broken {
        /// Broker's URL, without a password.
        broker: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The broker does not speak the version of MQTT that was tried.
    #[error("the broker at {broker} does not speak this version of MQTT")]
    Version {
        /// Broker's URL, without a password.
        broker: String,
    },
    /// The broker does not let this user in.
    #[error("the broker at {broker} refuses the login {}", match user { Some(user) => format!("of {user:?}"), None => "of a client without a user".to_owned() })]
    NotAuthorised {
        /// Broker's URL, without a password.
        broker: String,
        /// User that tried to log in.
        user: Option<String>,
    },
    /// The broker refuses the connection for another reason.
    #[error("the broker at {broker} refuses the connection: {reason}")]
    Refused {
        /// Broker's URL, without a password.
        broker: String,
        /// Broker's reason.
        reason: BrokerReason,
    },
    /// The server at this address does not speak MQTT, or speaks it behind TLS.
    #[error("what answers at {broker} does not speak MQTT")]
    NotMqtt {
        /// Broker's URL, without a password.
        broker: String,
    },
    /// The broker's certificate is not trusted.
    #[error("the certificate of the broker at {broker} is not trusted; its SHA-256 fingerprint is {seen}")]
    Certificate {
        /// Broker's URL, without a password.
        broker: String,
        /// Fingerprint of the broker's certificate.
        seen: Fingerprint,
        /// Reason for which it is not trusted.
        #[source]
        problem: CertificateProblem,
    },
    /// The broker demands a client certificate, or does not accept the one that it was shown.
    #[error("the broker at {broker} {}", if *shown { "does not accept the client certificate" } else { "demands a client certificate" })]
    ClientCertificate {
        /// Broker's URL, without a password.
        broker: String,
        /// True if a client certificate was shown to the broker.
        shown: bool,
        /// Last error from the broker, mostly a TLS alert.
        source: io::Error,
    },
    /// No encrypted connection was established.
    #[error("no encrypted connection to the broker at {broker}")]
    Tls {
        /// Broker's URL, without a password.
        broker: String,
        /// Error of rustls.
        source: Source,
    },
    /// The file of certificate authorities cannot be used.
    #[error("cannot use {} as a file of certificate authorities", path.display())]
    CaFile {
        /// File of certificate authorities.
        path: PathBuf,
        /// Problem with the file.
        source: Source,
    },
    /// The client certificate or its key cannot be used.
    #[error("cannot use {} as {}", path.display(), if *is_key { "the key of the client certificate" } else { "a client certificate" })]
    ClientFile {
        /// File of the certificate or of the key.
        path: PathBuf,
        /// True for the file of the key.
        is_key: bool,
        /// Problem with the file.
        source: Source,
    },
    /// The system has no certificate authority to trust.
    #[error("the system has no certificate authorities to trust")]
    NoSystemRoots,
}

impl ConnectError {
    /// Returns what to try next, as a sentence.
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

    /// Returns true if a broker that only speaks MQTT 3.1.1 may answer MQTT 5 with this error.
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

    /// Returns true if trying again is of no use until somebody changes the broker or the settings.
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

/// Error returned if the broker did not do a request over an established connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection was lost, and did not come back in time.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The connection is up, but the broker did not acknowledge a message or a subscription within 15 s.
    #[error("the broker does not acknowledge what it is sent")]
    Unanswered,
    /// Messages came faster than they could be read, and some were dropped.
    #[error("the broker sent more at once than can be held, and some messages were dropped")]
    Overrun,
    /// The broker refuses a message, mostly because its access list forbids it.
    #[error("the broker does not allow to publish to {topic}: {reason}")]
    PublishRefused {
        /// Topic of the message.
        topic: String,
        /// Broker's reason.
        reason: BrokerReason,
    },
    /// The broker refuses a subscription, mostly because its access list forbids it.
    #[error("the broker does not allow to subscribe to {topic}: {reason}")]
    SubscribeRefused {
        /// Topic filter.
        topic: String,
        /// Broker's reason.
        reason: BrokerReason,
    },
    /// The broker closed three connections in a row, each after this request.
    #[error("the broker closes the connection whenever {} {topic}", if *is_publish { "a message is published to" } else { "somebody subscribes to" })]
    Closes {
        /// Topic or topic filter.
        topic: String,
        /// True if the request was to publish a message, false if it was to subscribe.
        is_publish: bool,
    },
    /// A message or a subscription is longer than the broker accepts.
    #[error("the broker takes packets of at most {limit} bytes, and that for {topic} has {bytes}")]
    TooLarge {
        /// Topic or topic filter.
        topic: String,
        /// Length of the packet, in bytes.
        bytes: u64,
        /// Longest packet that the broker accepts, in bytes.
        limit: u32,
    },
    /// The broker retains no messages, and this message is of no use unless it is retained.
    #[error("the broker retains no messages, which {topic} needs")]
    NoRetain {
        /// Topic of the message.
        topic: String,
    },
    /// The broker does not support filters with wildcards.
    #[error("the broker does not allow to subscribe to {topic}: it knows no wildcards")]
    NoWildcards {
        /// Topic filter.
        topic: String,
    },
}

impl LinkError {
    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        let code = match self {
            Self::PublishRefused { reason, .. } | Self::SubscribeRefused { reason, .. } => {
                // MQTT 3.1.1 has no reason codes here.
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
