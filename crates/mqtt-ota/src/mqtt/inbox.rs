use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::LinkError;

/// What comes in: messages, and what becomes of the connection that they come over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<T> {
    Message(T),
    /// So many messages were dropped here, as nobody took the ones before them.
    Missed(u64),
    /// The connection is lost: what is published from here on is gone.
    Lost,
    /// It is back.
    Reconnected,
}

impl<T> Incoming<T> {
    /// The message, for who cannot go on without what is missing.
    pub(crate) fn message(self) -> Result<T, LinkError> {
        match self {
            Self::Message(message) => Ok(message),
            Self::Missed(_) => Err(LinkError::Overrun),
            Self::Lost | Self::Reconnected => Err(LinkError::Lost),
        }
    }
}

/// Makes a queue for one reader. It holds `limit` messages; those that come on top are dropped and counted. What
/// becomes of the connection is never dropped, and takes no room: between two messages, one loss is like several.
pub(crate) fn inbox<T>(limit: usize) -> (Post<T>, Inbox<T>) {
    let state = State { entries: VecDeque::new(), tail: Gap::default(), limit, is_closed: false, posts: 1 };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    (Post(Arc::clone(&shared)), Inbox(shared))
}

/// Why a message was not put into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPosted {
    /// It is the first one for which there was no room.
    Full,
    /// It is a further one.
    StillFull,
    /// Nobody reads any more.
    Closed,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    /// Messages, and what came before each of them.
    entries: VecDeque<(Gap, T)>,
    /// What came after the last one.
    tail: Gap,
    limit: usize,
    is_closed: bool,
    posts: usize,
}

/// What came between two messages, in this order.
#[derive(Debug, Default)]
struct Gap {
    missed: u64,
    is_lost: bool,
    is_back: bool,
}

impl Gap {
    fn next<T>(&mut self) -> Option<Incoming<T>> {
        match take(&mut self.missed) {
            0 if take(&mut self.is_lost) => Some(Incoming::Lost),
            0 if take(&mut self.is_back) => Some(Incoming::Reconnected),
            0 => None,
            missed => Some(Incoming::Missed(missed)),
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of a queue that fills it.
pub(crate) struct Post<T>(Arc<Shared<T>>);

impl<T> Post<T> {
    /// Adds a message.
    pub(crate) fn message(&self, message: T) -> Result<(), NotPosted> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(NotPosted::Closed);
        }
        if state.entries.len() >= state.limit {
            state.tail.missed += 1;
            return Err(if state.tail.missed == 1 { NotPosted::Full } else { NotPosted::StillFull });
        }
        let before = take(&mut state.tail);
        state.entries.push_back((before, message));
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Says that the connection is lost.
    pub(crate) fn lost(&self) {
        self.state(|tail| (tail.is_lost, tail.is_back) = (true, false));
    }

    /// Says that the connection is back.
    pub(crate) fn reconnected(&self) {
        self.state(|tail| tail.is_back = true);
    }

    fn state(&self, set: impl FnOnce(&mut Gap)) {
        set(&mut self.0.lock().tail);
        self.0.changed.notify_one();
    }

    /// Nobody reads any more.
    #[cfg_attr(not(any(feature = "keeper", test)), expect(dead_code, reason = "only the keeper asks"))]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        self.0.lock().posts += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Post<T> {
    fn drop(&mut self) {
        self.0.lock().posts -= 1;
        self.0.changed.notify_one();
    }
}

/// The side of a queue that is read.
pub(crate) struct Inbox<T>(Arc<Shared<T>>);

impl<T> Inbox<T> {
    /// What came next; None once nobody fills the queue any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming<T>> {
        loop {
            if let Some(entry) = self.try_next() {
                return Some(entry);
            }
            if self.0.lock().posts == 0 {
                // Something may have come before the last one left.
                return self.try_next();
            }
            self.0.changed.notified().await;
        }
    }

    /// What is here already.
    pub(crate) fn try_next(&mut self) -> Option<Incoming<T>> {
        let state = &mut *self.0.lock();
        let Some((before, _)) = state.entries.front_mut() else { return state.tail.next() };
        before.next().or_else(|| state.entries.pop_front().map(|(_, message)| Incoming::Message(message)))
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        state.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries<T>(inbox: &mut Inbox<T>) -> Vec<Incoming<T>> {
        std::iter::from_fn(|| inbox.try_next()).collect()
    }

    #[test]
    fn a_full_queue_drops_messages_and_counts_them_and_keeps_what_became_of_the_connection() {
        let (post, mut inbox) = inbox(2);
        for number in 0..2 {
            assert_eq!(post.message(number), Ok(()));
        }
        assert_eq!(post.message(2), Err(NotPosted::Full));
        assert_eq!(post.message(3), Err(NotPosted::StillFull));
        post.lost();
        post.reconnected();
        assert_eq!(post.message(4), Err(NotPosted::StillFull));
        use Incoming::{Lost, Message, Missed, Reconnected};
        let all = [Message(0), Message(1), Missed(3), Lost, Reconnected];
        assert_eq!(entries(&mut inbox), all);
        assert_eq!(post.message(5), Ok(()));
        assert_eq!(entries(&mut inbox), [Message(5)]);
    }

    #[test]
    fn a_connection_that_comes_and_goes_for_ever_does_not_fill_the_memory() {
        let (post, mut inbox) = inbox(1);
        post.message(0).unwrap();
        for _ in 0..1000 {
            post.lost();
            post.lost();
            post.reconnected();
        }
        assert_eq!(entries(&mut inbox), [Incoming::Message(0), Incoming::Lost, Incoming::Reconnected]);
        post.lost();
        assert_eq!(entries(&mut inbox), [Incoming::Lost]);
        post.reconnected();
        assert_eq!(entries(&mut inbox), [Incoming::Reconnected]);
    }

    #[test]
    fn a_flood_between_losses_does_not_fill_the_memory() {
        let (post, mut inbox) = inbox(1);
        for number in 0..1000 {
            let _ = post.message(number);
            post.lost();
            post.reconnected();
        }
        let all = [Incoming::Message(0), Incoming::Missed(999), Incoming::Lost, Incoming::Reconnected];
        assert_eq!(entries(&mut inbox), all);
    }

    #[tokio::test]
    async fn a_reader_wakes_for_each_entry_and_hears_of_the_end() {
        let (post, mut inbox) = inbox(8);
        let other = post.clone();
        let reading = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some(entry) = inbox.next().await {
                heard.push(entry);
            }
            heard
        });
        tokio::task::yield_now().await;
        post.message(1).unwrap();
        tokio::task::yield_now().await;
        other.lost();
        drop(post);
        tokio::task::yield_now().await;
        other.reconnected();
        drop(other);
        assert_eq!(reading.await.unwrap(), [Incoming::Message(1), Incoming::Lost, Incoming::Reconnected]);
    }

    #[test]
    fn a_queue_without_a_reader_takes_nothing() {
        let (post, inbox) = inbox(1);
        drop(inbox);
        assert_eq!(post.message(()), Err(NotPosted::Closed));
        post.lost();
        assert!(post.is_closed());
    }
}
