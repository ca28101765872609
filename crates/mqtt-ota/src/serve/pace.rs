use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::drop_cause::{DropCause, End};

/// Interval at which the number of confirmed bytes is read during a wait.
const LOOK: Duration = Duration::from_millis(50);

/// Progress of one connection: bytes written, bytes taken by the peer, and the time since the peer last took any.
#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    written: u64,
    taken: u64,
    /// Time at which the peer last took something, or had nothing to take.
    since: Instant,
}

impl Pace {
    /// Creates the state of a new connection, whose peer may take nothing for `idle`.
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, written: 0, taken: 0, since: Instant::now() }
    }

    /// Returns the number of bytes that were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of bytes that the peer has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Records that `count` more bytes were written.
    pub(super) fn wrote(&mut self, count: usize) {
        self.begin();
        self.written += count as u64;
    }

    /// Records the number of bytes that the peer has confirmed. `None` counts all written bytes, because the system
    /// does not tell.
    ///
    /// Returns the number of bytes that the peer has taken since the last call.
    pub(super) fn look(&mut self, confirmed: Option<u64>) -> u64 {
        let taken = confirmed.unwrap_or(self.written).min(self.written);
        let more = taken.saturating_sub(self.taken);
        if more > 0 {
            (self.taken, self.since) = (taken, Instant::now());
        }
        more
    }

    /// Begins the idle time anew if the peer has everything that was written.
    pub(super) fn begin(&mut self) {
        if self.taken == self.written {
            self.since = Instant::now();
        }
    }

    /// Waits for `work`. Returns `None` when it is time to read what the peer has confirmed.
    ///
    /// With `may_think`, the time is not limited for a peer that has everything that was written.
    ///
    /// # Errors
    /// Returns an error if the peer has taken nothing for the idle time.
    ///
    /// Cancel safe, as `work` is.
    pub(super) async fn moment<T>(
        &self,
        work: impl Future<Output = T>,
        may_think: bool,
    ) -> Result<Option<T>, End> {
        if may_think && self.taken == self.written {
            return Ok(Some(work.await));
        }
        let (ends, now) = (self.since + self.idle, Instant::now());
        if now >= ends {
            return Err(End::Dropped(DropCause::Stalled(self.idle)));
        }
        Ok(timeout_at(ends.min(now + LOOK), work).await.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;
    use tokio::time::sleep;

    const IDLE: Duration = Duration::from_secs(5);

    /// Waits for an event that never comes. The peer confirms one byte each `every`, up to `most`.
    async fn waited(every: Duration, most: u64, may_think: bool) -> Duration {
        let (started, mut pace) = (Instant::now(), Pace::new(IDLE));
        pace.wrote(100);
        let mut work = pin!(pending::<()>());
        while pace.moment(&mut work, may_think).await.is_ok() {
            let confirmed = started.elapsed().as_secs() / every.as_secs();
            pace.look(Some(confirmed.min(most)));
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_the_peer_confirms_renews_its_time() {
        let second = Duration::from_secs(1);
        for may_think in [false, true] {
            assert_eq!(waited(second, 0, may_think).await, IDLE);
            assert_eq!(waited(4 * second, 3, may_think).await, 12 * second + IDLE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_everything_may_think_where_that_is_allowed() {
        let mut pace = Pace::new(IDLE);
        pace.wrote(100);
        assert_eq!(pace.look(Some(101)), 100);
        sleep(2 * IDLE).await;
        let thought = pace.moment(sleep(10 * IDLE), true).await;
        assert!(matches!(thought, Ok(Some(()))));
        assert!(matches!(pace.moment(pending::<()>(), false).await, Err(End::Dropped(_))));
        pace.begin();
        assert!(matches!(pace.moment(pending::<()>(), false).await, Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_counts_where_the_system_does_not_tell() {
        let mut pace = Pace::new(IDLE);
        pace.wrote(7);
        assert_eq!((pace.look(None), pace.taken(), pace.written()), (7, 7, 7));
    }
}
