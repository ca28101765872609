use std::time::Duration;

use tokio::time::Instant;

/// How long what was noted may take to come back from the broker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether what a keeper notes of devices comes back to it: a broker of MQTT 3.1.1 does not say that its access list
/// forbids to write or to read.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// When it is to have come; None: nothing was noted yet.
    by: Option<Instant>,
    /// It has come, or it was said that it has not.
    is_settled: bool,
}

impl Echo {
    /// Something was noted.
    pub(super) fn expect(&mut self, now: Instant) {
        if !self.is_settled {
            self.by.get_or_insert(now + PATIENCE);
        }
    }

    /// Something has come back.
    pub(super) fn heard(&mut self) {
        *self = Self { by: None, is_settled: true };
    }

    /// The connection to the broker is lost, or back: what was noted before may come late.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.by = self.by.map(|_| now + PATIENCE);
    }

    /// When to call [`Echo::is_missing`] next.
    pub(super) fn at(&self) -> Option<Instant> {
        self.by
    }

    /// Whether it has not come in time; it is said once.
    pub(super) fn is_missing(&mut self, now: Instant) -> bool {
        let is_missing = self.by.is_some_and(|by| by <= now);
        if is_missing {
            self.heard();
        }
        is_missing
    }
}
