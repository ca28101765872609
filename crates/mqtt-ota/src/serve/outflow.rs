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

/// From how many bytes on it is not worth waiting for more.
const FULL: usize = 16 * 1024;
/// How long it waits for more: on a slow disk, or one across a network, the device would hear nothing for long.
const AT_HAND: Duration = Duration::from_millis(50);
/// Marks that the client has not reached. A set has no more files; with more of them, it has to take something first.
const MARKS: usize = 4096;

/// What goes out on one connection: many small items together, as a packet costs more than its bytes.
pub(super) struct Outflow<'a, W> {
    writer: &'a mut W,
    peer: SocketAddr,
    served: &'a Served,
    pace: Pace,
    /// What is to go out next.
    bytes: Vec<u8>,
    /// What is told once the client has taken so much.
    marks: VecDeque<(u64, Mark)>,
}

/// What a place in the stream means.
enum Mark {
    /// It brings an item to an offset.
    Item { item: u32, offset: u64, is_end: bool },
    /// It is the end of what was asked for, up to this item.
    End { last: u32 },
}

impl<'a, W: AsyncWrite + Confirms + Unpin> Outflow<'a, W> {
    pub(super) fn new(writer: &'a mut W, peer: SocketAddr, served: &'a Served) -> Self {
        let pace = Pace::new(served.idle);
        Self { writer, peer, served, pace, bytes: Vec::new(), marks: VecDeque::new() }
    }

    /// Whether another chunk would make it too large.
    pub(super) fn has_no_room(&self, chunk: &[u8]) -> bool {
        !self.bytes.is_empty() && self.bytes.len() + chunk.len() > FULL
    }

    /// Whether it is worth sending.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Puts a chunk in; yields one that is no longer needed.
    pub(super) fn put(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes = chunk;
            return Vec::new();
        }
        self.bytes.extend_from_slice(&chunk);
        chunk
    }

    /// Notes that what was put in last brings an item to an offset.
    pub(super) fn mark(&mut self, item: u32, offset: u64, is_end: bool) {
        self.marks.push_back((self.end(), Mark::Item { item, offset, is_end }));
    }

    /// Sends what is left of an answer, and notes that this is all of it.
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

    /// The chunk that is to go into it next. What is in it goes out if that is not at hand.
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

    /// Waits for `work`, and tells meanwhile what the client takes. A client that has everything may let it take as long
    /// as it likes.
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

    /// Sends what is in it, and tells how far the client is; afterwards it is empty. Yields what is no longer needed. The
    /// client must take something within each idle time.
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
        // As long as it is: whoever fills it again need not make it so.
        Ok(bytes)
    }

    /// Where what was put in ends.
    fn end(&self) -> u64 {
        self.pace.written() + self.bytes.len() as u64
    }

    /// Looks what the client has taken, and tells of the marks up to there; where there is none at it, of the place.
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

    /// Takes at most so many bytes of each write, and remembers how many.
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

    /// Sends items of eight, no and five bytes in one parcel; yields the writes, and how far it was said to be.
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
