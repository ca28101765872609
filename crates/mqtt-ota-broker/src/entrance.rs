use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Connections from the network whose clients have not identified themselves yet.
///
/// When all places are taken, the connection that has waited longest is evicted. Otherwise a few silent connections
/// would keep everybody out.
#[derive(Debug, Default)]
pub(crate) struct Entrance(Mutex<Visitors>);

#[derive(Debug, Default)]
struct Visitors {
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    last: u64,
}

/// A connection whose client has yet to identify itself. Dropping the value removes it from the [`Entrance`].
#[derive(Debug)]
pub(crate) struct Visitor {
    entrance: Arc<Entrance>,
    number: u64,
    sent_away: oneshot::Receiver<()>,
}

impl Entrance {
    pub(crate) fn enter(self: &Arc<Self>) -> Visitor {
        let (send_away, sent_away) = oneshot::channel();
        let mut visitors = self.visitors();
        visitors.last += 1;
        let number = visitors.last;
        visitors.waiting.insert(number, send_away);
        drop(visitors);
        Visitor { entrance: Arc::clone(self), number, sent_away }
    }

    /// Evicts the connection that has waited longest. Returns false if none is waiting.
    pub(crate) fn make_room(&self) -> bool {
        let longest = self.visitors().waiting.pop_first();
        longest.is_some_and(|(_, send_away)| send_away.send(()).is_ok())
    }

    fn visitors(&self) -> MutexGuard<'_, Visitors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    /// Waits until this connection is evicted. Cancel safe.
    pub(crate) async fn sent_away(&mut self) {
        let _ = (&mut self.sent_away).await;
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.entrance.visitors().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_waited_longest_gives_way_and_those_who_are_known_do_not() {
        let entrance = Arc::new(Entrance::default());
        let (known, mut first, second) = (entrance.enter(), entrance.enter(), entrance.enter());
        drop(known);
        assert!(entrance.make_room());
        first.sent_away().await;
        drop(second);
        assert!(!entrance.make_room());
        assert!(entrance.visitors().waiting.is_empty());
    }
}
