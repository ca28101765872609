//! Pauses before a lost connection is tried again, and the messages about it. No socket and no clock.

use std::io;
use std::time::Duration;

use super::reason::BrokerReason;
use super::{ConnectError, tls};

/// Pause before the first attempt to reconnect. Each further attempt doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause for transient failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Pause after a different client has taken the connection over for the first time. Each further takeover doubles it.
const FIRST_TAKEOVER_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause if a different client seems to have the same client id.
const LONGEST_SUSPICION: Duration = Duration::from_secs(60);
/// Longest pause for failures that somebody has to put right.
const LONGEST_OF_ALL: Duration = Duration::from_secs(5 * 60);
/// Length of a session above which it has worked.
const STABLE: Duration = Duration::from_secs(10);
/// Length of a session above which no other client can have the same client id. Longer than the other client pauses.
const UNDISPUTED: Duration = Duration::from_secs(10 * 60);
/// Length of a session below which its end by the broker may be the work of a different client.
const SHORT: Duration = Duration::from_secs(60);
/// Number of such sessions in a row that cannot be chance.
const SUSPICIOUS: u32 = 3;

/// Reason for which a session has ended.
#[derive(Debug)]
pub(super) enum Loss {
    /// Reason that the broker has given (MQTT 5).
    Told(BrokerReason),
    /// Any other error.
    Broke(io::Error),
}

impl Loss {
    /// Returns true if the broker has closed the connection without giving a reason.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Broke(error) if tls::is_closed(error))
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::Broke(error)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(reason) => reason.fmt(f),
            Self::Broke(error) if tls::is_closed(error) => f.write_str("the broker closed it"),
            Self::Broke(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("the broker no longer answers")
            }
            Self::Broke(error) => error.fmt(f),
        }
    }
}

/// History of failures, which decides pauses and messages.
#[derive(Debug)]
pub(super) struct Setbacks {
    /// Client id, unless it is random.
    client_id: Option<String>,
    pause: Duration,
    /// Number of sessions in a row that a different client has ended.
    takeovers: u32,
    /// Number of sessions in a row that the broker has ended soon, without giving a reason.
    closed: u32,
    /// Last message. Not repeated until a session has worked.
    said: Option<String>,
}

impl Setbacks {
    /// Creates an empty history. `client_id` is `None` for a random id.
    pub(super) fn new(client_id: Option<String>) -> Self {
        Self { client_id, pause: FIRST_PAUSE, takeovers: 0, closed: 0, said: None }
    }

    /// Records that a session has ended, and returns the message to log.
    ///
    /// `is_explained` means that a request to the broker seems to be the reason, and not a different client.
    pub(super) fn ended(&mut self, loss: &Loss, lasted: Duration, is_explained: bool) -> Option<String> {
        if lasted > STABLE {
            self.pause = FIRST_PAUSE;
            if !self.is_disputed() {
                self.said = None;
            }
        }
        if lasted > UNDISPUTED {
            (self.takeovers, self.closed, self.said) = (0, 0, None);
        }
        match loss {
            Loss::Told(reason) if reason.is_takeover() => self.takeovers += 1,
            loss if loss.is_closed() && !is_explained && (lasted < SHORT || self.is_disputed()) => {
                self.closed += 1
            }
            _ => self.closed = 0,
        }
        self.say(self.sentence(loss))
    }

    /// Records that an attempt to connect has failed, and returns the message to log.
    pub(super) fn refused(&mut self, error: &ConnectError) -> Option<String> {
        if error.is_lasting() {
            self.pause = self.pause.max(FIRST_TAKEOVER_PAUSE);
        } else {
            // The broker itself was down, which explains why it had closed connections.
            self.closed = 0;
        }
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.say(format!("no connection to the broker yet, trying on: {text}{hint}"))
    }

    /// Returns the pause before the next attempt, and lengthens the one after it. `error` is the error of the last
    /// attempt.
    pub(super) fn pause(&mut self, error: Option<&ConnectError>) -> Duration {
        let longest = match error {
            Some(error) if error.is_lasting() => LONGEST_OF_ALL,
            _ => LONGEST_PAUSE,
        };
        let doubled = |first: Duration, times: u32| first.saturating_mul(1 << times.min(16));
        let disputed = if self.takeovers > 0 {
            doubled(FIRST_TAKEOVER_PAUSE, self.takeovers - 1).min(LONGEST_OF_ALL)
        } else if self.closed >= SUSPICIOUS {
            doubled(FIRST_TAKEOVER_PAUSE, self.closed - SUSPICIOUS).min(LONGEST_SUSPICION)
        } else {
            Duration::ZERO
        };
        let pause = self.pause.min(longest).max(disputed);
        self.pause = (self.pause * 2).min(LONGEST_OF_ALL);
        pause
    }

    fn is_disputed(&self) -> bool {
        self.takeovers > 0 || self.closed >= SUSPICIOUS
    }

    fn sentence(&self, loss: &Loss) -> String {
        match (&self.client_id, loss) {
            (id, Loss::Told(reason)) if reason.is_takeover() => {
                let id = id.as_ref().map(|id| format!(" {id:?}")).unwrap_or_default();
                format!(
                    "another client has connected to the broker with this one's client id{id}, which ends this connection: \
                     stop it, or give one of the two another name; connecting again, less and less often"
                )
            }
            (Some(id), loss) if loss.is_closed() && self.closed >= SUSPICIOUS => format!(
                "the broker has closed {SUSPICIOUS} connections soon after it took them, as it does when another client \
                 connects with the same client id {id:?}: stop that one, or give one of the two another name; \
                 connecting again, less and less often"
            ),
            (None, loss) if loss.is_closed() && self.closed >= SUSPICIOUS => format!(
                "the broker has closed {SUSPICIOUS} connections soon after it took them, and its log may say why; \
                 connecting again, less and less often"
            ),
            _ => {
                let hint = match loss {
                    Loss::Told(reason) => reason.hint().map(|hint| format!(" ({hint})")).unwrap_or_default(),
                    Loss::Broke(_) => String::new(),
                };
                format!("the connection to the broker was lost, connecting again: {loss}{hint}")
            }
        }
    }

    /// Returns the text unless it was the last message.
    fn say(&mut self, text: String) -> Option<String> {
        if self.said.as_ref() == Some(&text) {
            return None;
        }
        self.said = Some(text.clone());
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_over() -> Loss {
        Loss::Told(BrokerReason::new(BrokerReason::TAKEN_OVER))
    }

    fn closed() -> Loss {
        Loss::Broke(io::ErrorKind::UnexpectedEof.into())
    }

    fn setbacks() -> Setbacks {
        Setbacks::new(Some("mqtt-ota-LAMP".to_owned()))
    }

    #[test]
    fn a_takeover_is_said_once_and_tried_again_slower_and_slower() {
        let mut setbacks = setbacks();
        let mut pauses = Vec::new();
        for time in 0..12 {
            // The other client pauses as well.
            let said = setbacks.ended(&taken_over(), Duration::from_secs(30 * time), false);
            assert_eq!(said.is_some(), time == 0, "{time}: {said:?}");
            assert!(
                said.is_none_or(|said| said.contains("another client") && said.contains("mqtt-ota-LAMP"))
            );
            pauses.push(setbacks.pause(None).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        // Neither client takes the connection over any more.
        assert!(setbacks.ended(&closed(), UNDISPUTED + STABLE, false).is_some());
        assert_eq!(setbacks.pause(None), FIRST_PAUSE);
    }

    #[test]
    fn a_broker_that_closes_again_and_again_makes_one_think_of_another_client() {
        let mut setbacks = setbacks();
        let mut said = Vec::new();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            said.extend(setbacks.ended(&closed(), Duration::from_secs(1), false));
            last = setbacks.pause(None);
        }
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(!said[0].contains("client id") && said[1].contains("mqtt-ota-LAMP"), "{said:?}");
        assert_eq!(last, LONGEST_SUSPICION);
    }

    #[test]
    fn a_broker_that_restarts_often_is_no_sign_of_another_client() {
        let mut setbacks = setbacks();
        let away = ConnectError::Timeout { broker: "mqtt://h".to_owned() };
        for _ in 0..9 {
            let said = setbacks.ended(&closed(), Duration::from_secs(1), false);
            assert!(said.is_none_or(|said| !said.contains("client id")));
            setbacks.refused(&away);
            assert!(setbacks.pause(Some(&away)) <= LONGEST_PAUSE);
        }
    }

    #[test]
    fn a_login_that_is_refused_is_said_once_and_tried_again_seldom() {
        let mut setbacks = setbacks();
        let refused = ConnectError::NotAuthorised { broker: "mqtt://h".to_owned(), user: None };
        setbacks.ended(&closed(), STABLE * 2, false);
        let mut said = Vec::new();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            last = setbacks.pause(Some(&refused));
            said.extend(setbacks.refused(&refused));
        }
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("login") && said[0].contains("password"), "{said:?}");
        assert_eq!(last, LONGEST_OF_ALL);
    }
}
