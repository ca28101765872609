use std::collections::VecDeque;
use std::mem::take;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::DropCause;
use super::caller::Served;
use super::client::{End, within};
use super::shared::RangeEvent;
use crate::payload::PayloadError;

/// From how many bytes on it is not worth waiting for more.
const FULL: usize = 16 * 1024;
/// How long it waits for more: on a slow disk, or one across a network, the device would hear nothing for long.
const AT_HAND: Duration = Duration::from_millis(50);

/// What goes out at once: many small items together, as a packet costs more than its bytes.
#[derive(Default)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    marks: VecDeque<Mark>,
}

/// How far which item is at a place of the parcel.
struct Mark {
    place: usize,
    item: u32,
    offset: u64,
    /// It is the item's end.
    is_end: bool,
}

impl Parcel {
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
        self.marks.push_back(Mark { place: self.bytes.len(), item, offset, is_end });
    }

    /// The chunk that is to go into it next. What is in it goes out if that is not at hand.
    pub(super) async fn wait_for<S: AsyncWrite + Unpin>(
        &mut self,
        next: impl Future<Output = Result<Option<Vec<u8>>, PayloadError>>,
        stream: &mut S,
        peer: SocketAddr,
        served: &Served,
    ) -> Result<Option<Vec<u8>>, End> {
        let mut next = pin!(next);
        if !self.bytes.is_empty() {
            match timeout(AT_HAND, &mut next).await {
                Ok(chunk) => return chunk.map_err(End::Spoilt),
                Err(_) => drop(self.send(stream, peer, served).await?),
            }
        }
        next.await.map_err(End::Spoilt)
    }

    /// Sends what is in it, and tells how far it got; afterwards it is empty. Yields what is no longer needed. Each write
    /// must make progress within the idle time.
    pub(super) async fn send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        peer: SocketAddr,
        served: &Served,
    ) -> Result<Vec<u8>, End> {
        let mut sent = 0;
        while let Some(rest) = self.bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let taken = within(served.idle, stream.write(rest)).await?;
            if taken == 0 {
                return Err(End::Dropped(DropCause::Closed));
            }
            sent += taken;
            served.sent.fetch_add(taken as u64, Ordering::Relaxed);
            self.tell(sent, peer, served).await;
        }
        self.tell(sent, peer, served).await;
        // As long as it is: whoever fills it again need not make it so.
        Ok(take(&mut self.bytes))
    }

    /// Tells of the marks up to a place, and where there is none at it, of the place.
    async fn tell(&mut self, sent: usize, peer: SocketAddr, served: &Served) {
        while let Some(Mark { place, item, offset, is_end }) = self.marks.front() {
            let (item, offset) = (*item, offset - place.saturating_sub(sent) as u64);
            let progress = RangeEvent::Progress { peer, item, offset };
            if *place <= sent && *is_end {
                let _ = served.events.send(progress).await;
            } else {
                let _ = served.events.try_send(progress);
            }
            if *place > sent {
                return;
            }
            self.marks.pop_front();
        }
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

    fn served() -> (Served, mpsc::Receiver<RangeEvent>) {
        let payload = Payload::from_bytes("x", &b""[..]);
        let items = Items::file("x".parse().unwrap(), payload, Digest::of(Algorithm::Sha1, b""));
        let (events, told) = mpsc::channel(100);
        let (id, idle) = ("0123456789abcdef".parse().unwrap(), Duration::from_secs(1));
        (Served { items, id, dry_run: false, idle, events, sent: std::sync::Arc::default() }, told)
    }

    /// Sends items of eight, no and five bytes in one parcel; yields the writes, and how far it was said to be.
    async fn written(at_once: usize) -> (Vec<usize>, Vec<(u32, u64)>) {
        let (served, mut told) = served();
        let (mut parcel, mut sink) = (Parcel::default(), Sink(at_once, Vec::new()));
        for (item, bytes) in (0..).zip(["manifest", "", "three"]) {
            parcel.put(bytes.into());
            parcel.mark(item, bytes.len() as u64, true);
        }
        parcel.send(&mut sink, "192.0.2.1:1".parse().unwrap(), &served).await.unwrap();
        assert_eq!(served.sent.load(Ordering::Relaxed), 13);
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
            let (mut parcel, mut sink) = (Parcel::default(), Sink(100, Vec::new()));
            parcel.put(b"first".into());
            let next = async {
                sleep(time).await;
                Ok(Some(b"second".to_vec()))
            };
            let chunk =
                parcel.wait_for(next, &mut sink, "192.0.2.1:1".parse().unwrap(), &served).await.unwrap();
            assert_eq!((chunk.unwrap().as_slice(), sink.1.as_slice()), (&b"second"[..], expected));
        }
    }
}
