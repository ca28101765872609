use std::time::Duration;

use tokio::time::Instant;

/// Limit on the wait for a device that postpones an offer, perhaps several times.
#[derive(Debug, Default)]
pub(crate) struct Postponing {
    /// End of the wait.
    until: Option<Instant>,
}

impl Postponing {
    /// Returns true if the sender waits the time `after` for a device that postpones an offer.
    ///
    /// The whole wait lasts at most `limit`, from the first time that the device postpones the offer.
    pub(crate) fn may_wait(&mut self, after: Duration, limit: Duration) -> bool {
        let now = Instant::now();
        now + after <= *self.until.get_or_insert(now + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_device_that_postpones_again_and_again_is_waited_for_no_longer_than_the_limit() {
        let seconds = Duration::from_secs;
        assert!(!Postponing::default().may_wait(seconds(31), seconds(30)));
        let (mut postponing, mut waited) = (Postponing::default(), 0);
        while postponing.may_wait(seconds(20), seconds(90)) {
            advance(seconds(20)).await;
            waited += 20;
        }
        assert_eq!(waited, 80);
        assert!(postponing.may_wait(seconds(10), seconds(90)));
    }
}
