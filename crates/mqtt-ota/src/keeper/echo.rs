use std::time::Duration;

use tokio::time::Instant;

/// Time that a note may take to come back from the broker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Check that a keeper's notes come back to it. A broker of MQTT 3.1.1 does not say that its access list forbids
/// writing or reading.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// Deadline for a note to come back. `None`: no note is waited for.
    by: Option<Instant>,
    /// True once a note has come back, or the lack of one was reported.
    is_settled: bool,
}

impl Echo {
    /// Begins to wait for a note that is written now.
    pub(super) fn expect(&mut self, now: Instant) {
        if !self.is_settled {
            self.by.get_or_insert(now + PATIENCE);
        }
    }

    /// Takes note that something has come back.
    pub(super) fn heard(&mut self) {
        *self = Self { by: None, is_settled: true };
    }

    /// Begins the wait anew when the connection to the broker is lost or back, as earlier notes may come late.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.by = self.by.map(|_| now + PATIENCE);
    }

    /// Returns when to call [`Echo::is_missing`] next.
    pub(super) fn at(&self) -> Option<Instant> {
        self.by
    }

    /// Returns true if no note has come back in time, but only once.
    pub(super) fn is_missing(&mut self, now: Instant) -> bool {
        let is_missing = self.by.is_some_and(|by| by <= now);
        if is_missing {
            self.heard();
        }
        is_missing
    }
}
