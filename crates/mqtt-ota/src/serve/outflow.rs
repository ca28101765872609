use std::collections::VecDeque;
use std::mem::take;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::confirmed::Confirms;
use super::drop_cause::{DropCause, End};
use super::event::RangeEvent;
use super::pace::Pace;
use super::served::Served;
use crate::payload::PayloadError;

/// Number of bytes from which it is not worth waiting for more.
const FULL: usize = 16 * 1024;
/// Longest wait for more bytes. The device would otherwise hear nothing for long if the disk is slow, or across a
/// network.
const AT_HAND: Duration = Duration::from_millis(50);
/// Largest number of marks that the client has not reached.
///
/// A set has no more files. With more marks, the client has to take something first.
const MARKS: usize = 4096;

/// Output of one connection. Small items are sent together, because a packet costs more than its bytes.
pub(super) struct Outflow<'a, W> {
    writer: &'a mut W,
    peer: SocketAddr,
    served: &'a Served,
    pace: Pace,
    /// Bytes to be sent next.
    bytes: Vec<u8>,
    /// Marks, each with the number of bytes at which the client reaches it.
    marks: VecDeque<(u64, Mark)>,
}

/// Meaning of a place in the stream.
enum Mark {
    /// Place of an offset in an item.
    Item { item: u32, offset: u64, is_end: bool },
    /// End of an answer, whose last item is `last`.
    End { last: u32 },
}

impl<'a, W: AsyncWrite + Confirms + Unpin> Outflow<'a, W> {
    pub(super) fn new(writer: &'a mut W, peer: SocketAddr, served: &'a Served) -> Self {
        let pace = Pace::new(served.idle);
        Self { writer, peer, served, pace, bytes: Vec::new(), marks: VecDeque::new() }
    }

    /// Returns true if the pending bytes would be too many with another chunk.
    pub(super) fn has_no_room(&self, chunk: &[u8]) -> bool {
        !self.bytes.is_empty() && self.bytes.len() + chunk.len() > FULL
    }

    /// Returns true if the pending bytes are worth sending.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Adds a chunk to the pending bytes. Returns a buffer that is no longer needed.
    pub(super) fn put(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes = chunk;
            return Vec::new();
        }
        self.bytes.extend_from_slice(&chunk);
        chunk
    }

    /// Marks the end of the pending bytes as the place of `offset` in `item`.
    pub(super) fn mark(&mut self, item: u32, offset: u64, is_end: bool) {
        self.marks.push_back((self.end(), Mark::Item { item, offset, is_end }));
    }

    /// Sends the rest of an answer, and marks its end.
    ///
    /// # Errors
    /// Returns an error if the client takes nothing for the idle time, or if the connection breaks.
    pub(super) async fn finish(&mut self, last: u32) -> Result<(), End> {
        self.send().await?;
        self.marks.push_back((self.end(), Mark::End { last }));
        self.look().await;
        self.pace.begin();
        while self.marks.len() > MARKS {
            if self.pace.moment(std::future::pending::<()>(), false).await?.is_none() {
                self.look().await;
            }
        }
        Ok(())
    }

    /// Waits for the next chunk. The pending bytes are sent meanwhile if the chunk is not at hand.
    pub(super) async fn wait_for(
        &mut self,
        next: impl Future<Output = Result<Option<Vec<u8>>, PayloadError>>,
    ) -> Result<Option<Vec<u8>>, End> {
        let mut next = pin!(next);
        if !self.bytes.is_empty() {
            match timeout(AT_HAND, &mut next).await {
                Ok(chunk) => return chunk.map_err(End::Spoilt),
                Err(_) => drop(self.send().await?),
            }
        }
        next.await.map_err(End::Spoilt)
    }

    /// Waits for `work`, and reports meanwhile what the client takes. The time is not limited while the client has
    /// everything.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        self.pace.begin();
        let done = loop {
            match self.pace.moment(&mut work, true).await? {
                Some(done) => break done,
                None => self.look().await,
            }
        };
        self.look().await;
        Ok(done)
    }

    /// Sends the pending bytes, and reports the client's progress. Returns a buffer that is no longer needed.
    ///
    /// # Errors
    /// Returns an error if the client takes nothing for the idle time, or if the connection breaks.
    pub(super) async fn send(&mut self) -> Result<Vec<u8>, End> {
        let bytes = take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        self.pace.begin();
        while !rest.is_empty() {
            let Some(written) = self.pace.moment(self.writer.write(rest), false).await? else {
                self.look().await;
                continue;
            };
            let written = written?;
            if written == 0 {
                return Err(End::Dropped(DropCause::Closed));
            }
            self.pace.wrote(written);
            self.served.tally.pending.fetch_add(written as u64, Ordering::Relaxed);
            rest = rest.get(written..).unwrap_or_default();
            self.look().await;
        }
        self.look().await;
        // The buffer keeps its length, so that its next user need not extend it.
        Ok(bytes)
    }

    /// Returns the place in the stream at which the pending bytes end.
    fn end(&self) -> u64 {
        self.pace.written() + self.bytes.len() as u64
    }

    /// Updates the number of bytes that the client has taken, and reports the marks up to there. Between two marks, the
    /// place itself is reported.
    async fn look(&mut self) {
        let more = self.pace.look(self.writer.confirmed());
        self.served.tally.taken.fetch_add(more, Ordering::Relaxed);
        self.served.tally.pending.fetch_sub(more, Ordering::Relaxed);
        let (peer, taken, events) = (self.peer, self.pace.taken(), &self.served.events);
        while let Some((place, mark)) = self.marks.front() {
            match mark {
                Mark::Item { item, offset, is_end } => {
                    let (item, offset) = (*item, offset - place.saturating_sub(taken).min(*offset));
                    let progress = RangeEvent::Progress { peer, item, offset };
                    if *place <= taken && *is_end {
                        let _ = events.send(progress).await;
                    } else if *place <= taken || more > 0 {
                        let _ = events.try_send(progress);
                    }
                }
                Mark::End { last } if *place <= taken => {
                    let _ = events.send(RangeEvent::Sent { peer, last: *last }).await;
                }
                Mark::End { .. } => {}
            }
            if *place > taken {
                return;
            }
            self.marks.pop_front();
        }
    }
}

impl<W> Drop for Outflow<'_, W> {
    fn drop(&mut self) {
        let lost = self.pace.written() - self.pace.taken();
        self.served.tally.pending.fetch_sub(lost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::Items;
    use crate::payload::Payload;
    use crate::wire::{Algorithm, Digest};
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    /// Writer that takes at most this many bytes of each write, and records how many it took.
    struct Sink(usize, Vec<usize>);

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.1.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Confirms for Sink {
        fn confirmed(&self) -> Option<u64> {
            None
        }
    }

    fn served() -> (Served, mpsc::Receiver<RangeEvent>) {
        let payload = Payload::from_bytes("x", &b""[..]);
        let items = Items::file("x".parse().unwrap(), payload, Digest::of(Algorithm::Sha1, b""));
        let (events, told) = mpsc::channel(100);
        let (id, idle) = ("0123456789abcdef".parse().unwrap(), Duration::from_secs(1));
        (Served { items, id, dry_run: false, idle, events, tally: std::sync::Arc::default() }, told)
    }

    /// Sends items of 8, 0 and 5 bytes in one parcel. Returns the sizes of the writes, and the reported progress.
    async fn written(at_once: usize) -> (Vec<usize>, Vec<(u32, u64)>) {
        let (served, mut told) = served();
        let mut sink = Sink(at_once, Vec::new());
        let mut outflow = Outflow::new(&mut sink, "192.0.2.1:1".parse().unwrap(), &served);
        for (item, bytes) in (0..).zip(["manifest", "", "three"]) {
            outflow.put(bytes.into());
            outflow.mark(item, bytes.len() as u64, true);
        }
        outflow.send().await.unwrap();
        drop(outflow);
        assert_eq!((served.tally.taken(), served.tally.with_pending()), (13, 13));
        drop(served);
        let mut progress = Vec::new();
        while let Some(event) = told.recv().await {
            let RangeEvent::Progress { item, offset, .. } = event else { panic!("{event:?}") };
            progress.push((item, offset));
        }
        (sink.1, progress)
    }

    #[tokio::test]
    async fn small_items_go_out_in_one_write_and_each_is_told_of() {
        assert_eq!(written(100).await, (vec![13], vec![(0, 8), (1, 0), (2, 5)]));
    }

    #[tokio::test]
    async fn what_is_taken_in_pieces_is_told_of_in_pieces() {
        let (writes, progress) = written(5).await;
        assert_eq!(writes, [5, 5, 3]);
        assert_eq!(progress, [(0, 5), (0, 8), (1, 0), (2, 2), (2, 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_waits_for_more_but_not_for_a_slow_disk() {
        let (served, _told) = served();
        for (time, expected) in [(AT_HAND / 2, &[][..]), (2 * AT_HAND, &[5])] {
            let mut sink = Sink(100, Vec::new());
            let mut outflow = Outflow::new(&mut sink, "192.0.2.1:1".parse().unwrap(), &served);
            outflow.put(b"first".into());
            let next = async {
                sleep(time).await;
                Ok(Some(b"second".to_vec()))
            };
            let chunk = outflow.wait_for(next).await.unwrap();
            drop(outflow);
            assert_eq!((chunk.unwrap().as_slice(), sink.1.as_slice()), (&b"second"[..], expected));
        }
    }
}
