//! How soon a lost connection is tried again, and what is said of it. No socket and no clock.

use std::io;
use std::time::Duration;

use super::reason::BrokerReason;
use super::{ConnectError, tls};

/// The pause before the first attempt to reconnect; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause for what passes by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause after another client has taken the connection over, for the first time; it doubles as well.
const FIRST_TAKEOVER_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause where another client seems to have the same client id.
const LONGEST_SUSPICION: Duration = Duration::from_secs(60);
/// The longest pause for what somebody has to put right.
const LONGEST_OF_ALL: Duration = Duration::from_secs(5 * 60);
/// A session that lasts longer has worked.
const STABLE: Duration = Duration::from_secs(10);
/// A session that lasts longer shows that no other client has the same client id: longer than the other one pauses.
const UNDISPUTED: Duration = Duration::from_secs(10 * 60);
/// A session that ends sooner by the broker's hand may be another client's doing.
const SHORT: Duration = Duration::from_secs(60);
/// How many such sessions in a row are more than chance.
const SUSPICIOUS: u32 = 3;

/// Why a session has ended.
#[derive(Debug)]
pub(super) enum Loss {
    /// The broker has said why (MQTT 5).
    Told(BrokerReason),
    /// Whatever else.
    Broke(io::Error),
}

impl Loss {
    /// The broker has closed the connection without a word.
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

/// What went wrong so far, one thing after the other.
#[derive(Debug)]
pub(super) struct Setbacks {
    /// The client id, where it is not a random one.
    client_id: Option<String>,
    pause: Duration,
    /// Sessions in a row that another client has ended.
    takeovers: u32,
    /// Sessions in a row that the broker has ended soon, without a word.
    closed: u32,
    /// What was said last; it is not said again until a session has worked.
    said: Option<String>,
}

impl Setbacks {
    /// `client_id` where it is not a random one.
    pub(super) fn new(client_id: Option<String>) -> Self {
        Self { client_id, pause: FIRST_PAUSE, takeovers: 0, closed: 0, said: None }
    }

    /// A session has ended; yields what is to be said of it. `is_explained`: it seems to be what was asked of the broker,
    /// and no other client.
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

    /// An attempt to connect has failed; yields what is to be said of it.
    pub(super) fn refused(&mut self, error: &ConnectError) -> Option<String> {
        if error.is_lasting() {
            self.pause = self.pause.max(FIRST_TAKEOVER_PAUSE);
        } else {
            // The broker itself was away: that explains why it has closed connections.
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

    /// How long to wait before the next attempt, after which the pause is longer. `error`: what the last one met.
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

    /// Nothing is said twice.
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
            // The other one pauses as well.
            let said = setbacks.ended(&taken_over(), Duration::from_secs(30 * time), false);
            assert_eq!(said.is_some(), time == 0, "{time}: {said:?}");
            assert!(
                said.is_none_or(|said| said.contains("another client") && said.contains("mqtt-ota-LAMP"))
            );
            pauses.push(setbacks.pause(None).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        // It is at peace.
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
