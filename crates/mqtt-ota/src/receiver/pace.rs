use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::failure::Failure;
use crate::wire::Reason;

/// Time over which the rate is averaged. Only time in which the receiver waits for the sender counts, so that a slow
/// disk of the receiver does not count against the sender.
const WINDOW: Duration = Duration::from_secs(60);

/// Rate at which the bytes of one offer come in.
#[derive(Debug)]
pub(super) struct Pace {
    /// Lowest rate, in bytes per second. 0 accepts any rate.
    least: u64,
    /// Elapsed part of the window.
    waited: Duration,
    /// Bytes in this window.
    bytes: u64,
    /// Bytes before this window.
    before: u64,
    /// Requests that were answered in full in this window.
    answers: u64,
}

impl Pace {
    /// Creates a pace. `least` is in bytes per second, and 0 accepts any rate.
    pub(super) fn new(least: u64) -> Self {
        Self { least, waited: Duration::ZERO, bytes: 0, before: 0, answers: 0 }
    }

    /// Records that this number of bytes has come.
    pub(super) fn came(&mut self, count: usize) {
        self.bytes += count as u64;
    }

    /// Records a request that was answered in full.
    ///
    /// Each answer counts like a second at the lowest rate, because small files that are requested one by one take a
    /// round trip each.
    pub(super) fn answered(&mut self) {
        self.answers += 1;
    }

    /// Waits for an operation of the sender.
    ///
    /// # Errors
    /// Returns a failure if a window ends meanwhile in which the sender was below the lowest rate.
    pub(super) async fn during<T>(&mut self, operation: impl Future<Output = T>) -> Result<T, Failure> {
        let mut operation = pin!(operation);
        loop {
            let begun = Instant::now();
            let done = timeout(WINDOW.saturating_sub(self.waited), &mut operation).await;
            self.waited += begun.elapsed();
            match done {
                Ok(done) => return Ok(done),
                Err(_) => self.end_window()?,
            }
        }
    }

    fn end_window(&mut self) -> Result<(), Failure> {
        let (seconds, bytes) = (WINDOW.as_secs(), self.bytes);
        if bytes.saturating_add(self.answers.saturating_mul(self.least)) < self.least.saturating_mul(seconds)
        {
            let (rate, least, total) = (bytes / seconds, self.least, self.before + bytes);
            let text =
                format!("{rate} B/s in the last {seconds} s, less than {least} B/s, after {total} bytes");
            return Err(Failure::new(Reason::Timeout, text));
        }
        *self = Self { before: self.before + bytes, ..Self::new(self.least) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Receives `size` bytes from a sender that brings `bytes` after each `pause`. Returns the result and the time
    /// taken.
    async fn brought(
        least: u64,
        size: usize,
        bytes: usize,
        pause: Duration,
    ) -> (Result<(), Failure>, Duration) {
        let (mut pace, mut so_far, begun) = (Pace::new(least), 0, Instant::now());
        while so_far < size {
            if let Err(failure) = pace.during(sleep(pause)).await {
                return (Err(failure), begun.elapsed());
            }
            pace.came(bytes);
            so_far += bytes;
        }
        (Ok(()), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_is_given_up_after_a_minute_and_the_text_has_bytes_and_rate() {
        let (ended, after) = brought(1024, 1 << 20, 1, Duration::from_millis(900)).await;
        let failure = ended.unwrap_err();
        assert_eq!((failure.reason, after.as_secs()), (Reason::Timeout, 60));
        assert_eq!(failure.text, "1 B/s in the last 60 s, less than 1024 B/s, after 66 bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_the_drip_does_not_count_for_long() {
        let mut pace = Pace::new(1024);
        pace.came(10 << 20);
        assert!(pace.during(sleep(60 * SECOND)).await.is_ok());
        let failure = pace.during(sleep(61 * SECOND)).await.unwrap_err();
        assert!(failure.text.ends_with("after 10485760 bytes"), "{}", failure.text);
    }

    #[tokio::test(start_paused = true)]
    async fn ten_kilobytes_a_second_pass_with_pauses_too() {
        for (bytes, pause) in [(10_000, SECOND), (100, SECOND / 100), (150_000, 15 * SECOND)] {
            assert!(brought(1024, 4_000_000, bytes, pause).await.0.is_ok(), "{bytes} bytes in {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_at_exactly_the_least_rate_passes_and_one_byte_less_does_not() {
        assert!(brought(1024, 1 << 20, 1024, SECOND * 999 / 1000).await.0.is_ok());
        assert!(brought(1024, 1 << 20, 1023, SECOND).await.0.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_file_and_the_last_part_of_a_long_one_may_be_slow() {
        assert!(brought(1024, 500, 10, SECOND).await.0.is_ok());
        let mut pace = Pace::new(1024);
        pace.came(10 << 20);
        for _ in 0..60 {
            assert!(pace.during(sleep(SECOND * 119 / 60)).await.is_ok());
            pace.came(1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_files_that_are_requested_one_by_one_pass() {
        let mut pace = Pace::new(1024);
        for _ in 0..1000 {
            assert!(pace.during(sleep(SECOND / 2)).await.is_ok());
            pace.came(10);
            pace.answered();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_rate_passes_where_the_least_is_nothing() {
        assert!(brought(0, 100, 1, 19 * SECOND).await.0.is_ok());
    }
}
