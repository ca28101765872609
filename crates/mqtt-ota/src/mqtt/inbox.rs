use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::LinkError;

/// A message from an [`Inbox`], or a change of the connection that it comes over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<T> {
    Message(T),
    /// Number of messages that were dropped here, because nobody took the ones before them.
    Missed(u64),
    /// Lost connection. Messages published from here on are gone.
    Lost,
    /// Restored connection.
    Reconnected,
}

impl<T> Incoming<T> {
    /// Returns the message, for a reader that cannot go on if some are missing.
    ///
    /// # Errors
    /// Returns an error in place of each other variant.
    pub(crate) fn message(self) -> Result<T, LinkError> {
        match self {
            Self::Message(message) => Ok(message),
            Self::Missed(_) => Err(LinkError::Overrun),
            Self::Lost | Self::Reconnected => Err(LinkError::Lost),
        }
    }
}

/// Creates a queue of at most `limit` messages for one reader.
///
/// Further messages are dropped and counted. Changes of the connection are never dropped, and take no room, because
/// several losses between two messages count as one.
pub(crate) fn inbox<T>(limit: usize) -> (Post<T>, Inbox<T>) {
    let state = State { entries: VecDeque::new(), tail: Gap::default(), limit, is_closed: false, posts: 1 };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    (Post(Arc::clone(&shared)), Inbox(shared))
}

/// Reason for which a message was not put into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPosted {
    /// The queue is full, and this is the first message dropped since the last one was added.
    Full,
    /// The queue is full, and earlier messages were dropped already.
    StillFull,
    /// The reader is gone.
    Closed,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    /// Messages, each with the events before it.
    entries: VecDeque<(Gap, T)>,
    /// Events after the last message.
    tail: Gap,
    limit: usize,
    is_closed: bool,
    posts: usize,
}

/// Events between two messages, in the order in which they are reported.
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

/// Sending side of a queue.
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

    /// Reports that the connection is lost.
    pub(crate) fn lost(&self) {
        self.state(|tail| (tail.is_lost, tail.is_back) = (true, false));
    }

    /// Reports that the connection is back.
    pub(crate) fn reconnected(&self) {
        self.state(|tail| tail.is_back = true);
    }

    fn state(&self, set: impl FnOnce(&mut Gap)) {
        set(&mut self.0.lock().tail);
        self.0.changed.notify_one();
    }

    /// Returns true if the reader is gone.
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

/// Receiving side of a queue.
pub(crate) struct Inbox<T>(Arc<Shared<T>>);

impl<T> Inbox<T> {
    /// Waits for the next entry. `None` once the sending side is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming<T>> {
        loop {
            if let Some(entry) = self.try_next() {
                return Some(entry);
            }
            if self.0.lock().posts == 0 {
                // The last sender may have added an entry before it left.
                return self.try_next();
            }
            self.0.changed.notified().await;
        }
    }

    /// Returns the next entry if there is one already.
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
