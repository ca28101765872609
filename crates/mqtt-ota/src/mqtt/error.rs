use std::path::PathBuf;
use std::{error, io};

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
    /// It did not answer in time.
    #[error("the broker at {broker} does not answer")]
    Timeout {
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
    /// It speaks another version of MQTT only.
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
        /// The reason code's name.
        reason: String,
    },
    /// What answers there does not speak MQTT, or speaks it behind TLS.
    #[error("what answers at {broker} does not speak MQTT")]
    NotMqtt {
        /// The broker's URL, without a password.
        broker: String,
    },
    /// No encrypted connection.
    #[error("no encrypted connection to the broker at {broker}")]
    Tls {
        /// The broker's URL, without a password.
        broker: String,
        /// What rustls says: mostly a certificate that is not trusted.
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
            Self::Closed { .. } | Self::Broken { .. } => {
                "some brokers answer a wrong user or password in this way; and a TLS port wants mqtts://"
            }
            Self::NotAuthorised { user: None, .. } => "give a user and a password",
            Self::NotAuthorised { .. } => "check the user, the password and the broker's access list",
            Self::NotMqtt { .. } => "is this the broker's port? A TLS port wants mqtts://",
            Self::Tls { .. } => {
                "is this the broker's TLS port? Then give the file of the authority that signed its certificate, and the name that the certificate is for"
            }
            Self::NoSystemRoots => "install the system's ca-certificates, or give a file of authorities",
            Self::Refused { .. } | Self::Version { .. } | Self::CaFile { .. } => return None,
        })
    }

    /// Whether a broker that only speaks MQTT 3.1.1 may answer MQTT 5 in this way.
    pub(super) fn may_be_the_protocol(&self) -> bool {
        matches!(
            self,
            Self::Closed { .. } | Self::Broken { .. } | Self::NotMqtt { .. } | Self::Version { .. }
        )
    }
}

/// Why the broker did not do what it was asked over a connection that had been there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection was lost, and did not come back in time.
    #[error("the connection to the broker was lost")]
    Lost,
    /// The broker's access list forbids it.
    #[error("the broker does not allow to publish to {topic}: {reason}")]
    PublishRefused {
        /// The topic.
        topic: String,
        /// The reason code's name.
        reason: String,
    },
    /// The broker's access list forbids it.
    #[error("the broker does not allow to subscribe to {topic}")]
    SubscribeRefused {
        /// The topic.
        topic: String,
    },
}
