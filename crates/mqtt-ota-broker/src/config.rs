use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::limits;

/// How a [`Broker`](crate::Broker) runs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The address to listen on: loopback, port 1883, unless set. Port 0 takes a free one; 0.0.0.0 or `[::]`
    /// is every address of the machine.
    pub listen: SocketAddr,
    /// Who may connect. Everyone, unless set.
    pub credentials: Option<Credentials>,
    /// TCP connections at once: 1,000 unless set. One beyond takes the place of the one that has been silent for
    /// longest, and is closed where all have said who they are. Each takes a file
    /// descriptor. As many sessions of clients that are away are kept, 1,000 at least.
    pub max_connections: usize,
    /// The longest packet that a client may send, in bytes: 65,536 unless set. A longer one ends its connection.
    pub max_packet: usize,
    /// The file in which the retained announcements of devices (`NAME/OTA/device`) outlive the broker; none
    /// unless set. Everything else that is retained is gone when it stops.
    ///
    /// It has a line for each device: name, space, message. It is read at the start, and written at most once a
    /// second and at the end; a process that is killed loses what was announced in its last second. At most
    /// 65,536 devices, with 1,024 bytes each, are kept. Damaged lines are skipped, with a warning and a copy of the
    /// file beside it. Two brokers must not have the same file.
    pub announcements: Option<PathBuf>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 1883).into(),
            credentials: None,
            max_connections: limits::CONNECTIONS,
            max_packet: limits::PACKET,
            announcements: None,
        }
    }
}

/// The one user that may connect, and the password. The password is never shown (`Debug`, errors, logs).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// A user with a password.
    ///
    /// # Errors
    /// An empty user or password, and one that is longer than MQTT can carry (65,535 bytes).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self, CredentialsError> {
        let (user, password) = (user.into(), password.into());
        for (what, text) in [("user", &user), ("password", &password)] {
            if text.is_empty() {
                return Err(CredentialsError::Empty { what });
            }
            if text.len() > usize::from(u16::MAX) {
                return Err(CredentialsError::TooLong { what, bytes: text.len() });
            }
        }
        Ok(Self { user, password })
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Takes as long for a password that is nearly right as for one that is not at all.
    pub(crate) fn allow(&self, user: &str, password: &str) -> bool {
        same(&self.user, user) & same(&self.password, password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

fn same(a: &str, b: &str) -> bool {
    let different = a.bytes().zip(b.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && std::hint::black_box(different) == 0
}

/// Why a user and a password are no [`Credentials`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is none. MQTT cannot tell an empty one from a missing one.
    #[error("the {what} for the broker is empty")]
    Empty {
        /// `user` or `password`.
        what: &'static str,
    },
    /// MQTT cannot carry it.
    #[error("the {what} for the broker has {bytes} bytes, and MQTT carries 65535 at most")]
    TooLong {
        /// `user` or `password`.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_user_and_password_are_allowed() {
        let credentials = Credentials::new("me", "sécret").unwrap();
        assert!(credentials.allow("me", "sécret"));
        for (user, password) in
            [("me", "sécre"), ("me", "sécretx"), ("Me", "sécret"), ("", ""), ("sécret", "me")]
        {
            assert!(!credentials.allow(user, password), "{user:?} {password:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = BrokerConfig {
            credentials: Some(Credentials::new("me", "s3cret").unwrap()),
            ..BrokerConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("me") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_login_that_mqtt_cannot_carry_is_refused() {
        assert_eq!(Credentials::new("", "p"), Err(CredentialsError::Empty { what: "user" }));
        assert_eq!(Credentials::new("u", ""), Err(CredentialsError::Empty { what: "password" }));
        let long = "x".repeat(65_536);
        assert_eq!(
            Credentials::new("u", long),
            Err(CredentialsError::TooLong { what: "password", bytes: 65_536 })
        );
    }
}
