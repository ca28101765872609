use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

/// Client id. Clients inside this process have ids of their own, which no client from the network can take.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) is_inside: bool,
    pub(crate) id: Arc<str>,
}

/// Client ids in use. Each id has one connection at a time, and a newcomer evicts the current one.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: Mutex<HashMap<Name, Arc<Seat>>>,
}

#[derive(Debug, Default)]
struct Seat {
    /// Number of connections that have asked for the id so far.
    asked: watch::Sender<u64>,
    taken: Arc<tokio::sync::Mutex<()>>,
}

/// Exclusive use of a client id until dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    seats: Arc<Seats>,
    name: Name,
    /// `None` once released.
    seat: Option<(Arc<Seat>, OwnedMutexGuard<()>)>,
    ticket: u64,
}

impl Seats {
    /// Evicts the connection that has the id, and waits until it is gone.
    pub(crate) async fn claim(self: &Arc<Self>, name: &Name) -> Claim {
        let seat = Arc::clone(
            self.seats.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default(),
        );
        let mut ticket = 0;
        seat.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        let guard = Arc::clone(&seat.taken).lock_owned().await;
        Claim { seats: Arc::clone(self), name: name.clone(), seat: Some((seat, guard)), ticket }
    }
}

impl Claim {
    /// Waits until another connection asks for the id. Cancel safe.
    pub(crate) async fn superseded(&self) {
        if let Some((seat, _)) = &self.seat {
            let mut asked = seat.asked.subscribe();
            let _ = asked.wait_for(|asked| *asked > self.ticket).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut seats = self.seats.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seat, guard)) = self.seat.take() {
            drop(guard);
            // The references are the map's and this one, so no connection waits.
            if Arc::strong_count(&seat) == 2 {
                seats.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::name;

    #[tokio::test]
    async fn a_newcomer_waits_until_the_one_before_is_gone() {
        let seats = Arc::new(Seats::default());
        let first = seats.claim(&name("desk")).await;
        let second = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.claim(&name("desk")).await }
        });
        first.superseded().await;
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        assert!(seats.seats.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn another_name_disturbs_nobody() {
        let seats = Arc::new(Seats::default());
        let desk = seats.claim(&name("desk")).await;
        let _lamp = seats.claim(&name("lamp")).await;
        let mut superseded = std::pin::pin!(desk.superseded());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(superseded.as_mut().poll(&mut context).is_pending());
    }
}
