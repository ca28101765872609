use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::wire::Offer;

/// Maximum number of offers that wait.
const MOST: usize = 64;

/// Minimum time between two answers to requests to announce.
const ANSWERS: Duration = Duration::from_secs(5);

/// Offers that have come while another one is being taken.
#[derive(Debug, Default)]
pub(super) struct Noted(VecDeque<Bytes>);

impl Noted {
    /// Notes an offer in place of an older one of the same file. Drops the offer if there is no room for it.
    pub(super) fn note(&mut self, message: Bytes) {
        self.0.retain(|older| !are_of_one_file(older, &message));
        if self.0.len() < MOST {
            self.0.push_back(message);
        }
    }

    /// Removes and returns the offer that came first.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }
}

/// Returns true if two offers are of the same file, as far as they can be read.
pub(super) fn are_of_one_file(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Offer::fields_of_invalid(one).0, Offer::fields_of_invalid(other).0);
    one == other && !one.is_empty()
}

/// Pending requests to announce, which are answered together.
#[derive(Debug, Default)]
pub(super) struct Requests {
    are_open: bool,
    answered: Option<Instant>,
}

impl Requests {
    pub(super) fn add(&mut self) {
        self.are_open = true;
    }

    /// Waits until the requests are to be answered. Cancel safe.
    pub(super) async fn due(&self) {
        match self.answered {
            _ if !self.are_open => std::future::pending().await,
            Some(answered) => sleep_until(answered + ANSWERS).await,
            None => {}
        }
    }

    pub(super) fn answered(&mut self) {
        *self = Self { are_open: false, answered: Some(Instant::now()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_offer_takes_the_place_of_an_older_one_of_the_same_file() {
        let mut noted = Noted::default();
        for offer in ["a|1|f|00", "a|1|g|00", "junk", "b|2|f|11", "junk"] {
            noted.note(Bytes::from_static(offer.as_bytes()));
        }
        let all: Vec<_> = std::iter::from_fn(|| noted.next()).collect();
        assert_eq!(all, [&b"a|1|g|00"[..], b"junk", b"b|2|f|11", b"junk"]);
    }

    #[test]
    fn only_so_many_offers_are_noted() {
        let mut noted = Noted::default();
        (0..2 * MOST).for_each(|file| noted.note(format!("a|1|{file}|00").into()));
        assert_eq!(std::iter::from_fn(|| noted.next()).count(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_answered_at_once_and_then_once_in_five_seconds() {
        let mut requests = Requests::default();
        requests.add();
        let start = Instant::now();
        requests.due().await;
        requests.answered();
        assert_eq!(start.elapsed(), Duration::ZERO);
        (0..3).for_each(|_| requests.add());
        requests.due().await;
        requests.answered();
        assert_eq!(start.elapsed(), ANSWERS);
        assert!(tokio::time::timeout(10 * ANSWERS, requests.due()).await.is_err(), "nobody has asked");
    }
}
