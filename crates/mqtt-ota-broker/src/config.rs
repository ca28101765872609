use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::limits;

/// Configuration of a [`Broker`](crate::Broker).
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Address to listen on. Default: loopback, port 1883.
    ///
    /// Port 0 takes a free port. The addresses 0.0.0.0 and `[::]` stand for all addresses of the machine.
    pub listen: SocketAddr,
    /// User that may connect. Default: everyone may connect.
    pub credentials: Option<Credentials>,
    /// Maximum number of simultaneous TCP connections, at most 65,536. Default: 1,000.
    ///
    /// A connection beyond the limit replaces the longest-waiting connection whose client has not identified itself
    /// yet. If all clients have identified themselves, the new connection is closed. Each connection takes a file
    /// descriptor. The broker keeps as many sessions of disconnected clients, and at least 1,000.
    pub max_connections: usize,
    /// Maximum size of a packet from a client, in bytes. Default: 65,536. A longer packet ends the connection.
    pub max_packet: usize,
    /// File in which retained announcements of devices (`NAME/OTA/device`) survive a restart. Default: none.
    ///
    /// All other retained messages are lost when the broker stops.
    ///
    /// The file has a line for each device: name, space, message. The broker reads the file at the start, and writes
    /// it at most once a second and at the end. A process that is killed loses the announcements of its last second.
    /// The file holds at most 65,536 devices with 1,024 bytes each. Damaged lines are skipped, with a warning and a
    /// copy of the file beside it. Two brokers must not share a file.
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

/// The user that may connect, and the password. The password is never shown (`Debug`, errors, logs).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Creates credentials from a user and a password.
    ///
    /// # Errors
    /// Returns an error if the user or the password is empty, or longer than MQTT can carry (65,535 bytes).
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

    /// Returns the user.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Returns true if the user and the password match, in a time that does not depend on how nearly they match.
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

/// Error of [`Credentials::new`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The user or the password is empty. MQTT cannot tell an empty value from a missing one.
    #[error("the {what} for the broker is empty")]
    Empty {
        /// `user` or `password`.
        what: &'static str,
    },
    /// The user or the password is longer than MQTT can carry (65,535 bytes).
    #[error("the {what} for the broker has {bytes} bytes, and MQTT carries 65535 at most")]
    TooLong {
        /// `user` or `password`.
        what: &'static str,
        /// Length in bytes.
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
