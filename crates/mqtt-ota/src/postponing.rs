use std::time::Duration;

use tokio::time::Instant;

/// A device that postpones what it is offered, perhaps again and again.
#[derive(Debug, Default)]
pub(crate) struct Postponing {
    /// Until when it is waited for.
    until: Option<Instant>,
}

impl Postponing {
    /// Whether it is waited for until it wants to be offered this again, `after` such a time. From the first time on that
    /// it has postponed it, that is for `limit` in all.
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
