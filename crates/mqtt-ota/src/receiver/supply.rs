use bytes::Bytes;

use super::failure::Failure;
use crate::wire::{Ask, Reason};

/// Source of the bytes of an extended offer: a connection that is made anew when it breaks. Blocking.
pub(super) trait Supply {
    /// Sends a request or a statement, for which `expected` bytes come.
    ///
    /// Uses the current connection, or a new one. Errors are reported by `read` or `finish`.
    fn ask(&mut self, ask: Ask, expected: u64);
    /// Returns the next bytes that were asked for, at least one.
    fn read(&mut self) -> Result<Bytes, Broken>;
    /// Closes the connection. Bytes that were asked for and have not come are dropped.
    fn close(&mut self);
    /// Ends the requests, and waits until the sender has received all of them.
    fn finish(&mut self) -> Result<(), Broken>;
}

/// Reason why a supply gives no more bytes.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is lost. The next request makes a new one.
    Lost(Failure),
    /// The sender is too slow over all connections. A new connection would not help.
    TooSlow(Failure),
    /// The receiver has ended.
    Over,
}

impl Broken {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Lost(failure) | Self::TooSlow(failure) => failure,
            Self::Over => Failure::new(Reason::Short, "the receiver has ended"),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

/// Item that is wanted of a supply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    /// Number of the item.
    pub(super) item: u32,
    /// Length of the item, in bytes.
    pub(super) size: u64,
    /// Offset of the first byte that is wanted.
    pub(super) offset: u64,
    /// Last of the consecutive items that will be wanted next.
    pub(super) last: u32,
    /// Total length of the items after this one, up to `last`, in bytes.
    pub(super) behind: u64,
}

/// Reader of items, one after the other, that continues over new connections.
#[derive(Debug)]
pub(super) struct Items<S> {
    supply: S,
    attempts: u32,
    /// Number of connections lost since the last byte came.
    futile: u32,
    /// Next item on the connection, and the last item that was asked for with it.
    next: Option<(u32, u32)>,
    rest: Bytes,
}

impl<S: Supply> Items<S> {
    pub(super) fn new(supply: S, attempts: u32) -> Self {
        Self { supply, attempts, futile: 0, next: None, rest: Bytes::new() }
    }

    /// Passes an item's bytes to `take`, piece by piece.
    pub(super) fn fetch(
        &mut self,
        want: Want,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut offset = want.offset;
        while offset < want.size {
            let left = want.size - offset;
            let piece = match self.piece(want, offset) {
                Ok(piece) => piece,
                Err(Broken::Lost(failure)) => {
                    self.reset();
                    self.futile += 1;
                    if self.futile >= self.attempts {
                        return Err(failure);
                    }
                    tracing::debug!(text = failure.text, item = want.item, offset, "the connection is lost");
                    continue;
                }
                Err(over) => return Err(over.into_failure()),
            };
            self.futile = 0;
            self.rest = piece;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.rest.len());
            take(&self.rest.split_to(count))?;
            offset += count as u64;
        }
        self.next = match self.next {
            Some((item, last)) if item == want.item && item < last => Some((item + 1, last)),
            Some((item, _)) if item == want.item => None,
            other => other,
        };
        Ok(())
    }

    fn piece(&mut self, want: Want, offset: u64) -> Result<Bytes, Broken> {
        if self.next.is_none_or(|(item, _)| item != want.item) {
            if self.next.is_some() || !self.rest.is_empty() {
                self.reset();
            }
            let ask = Ask::Range { first: want.item, last: Some(want.last), offset };
            self.supply.ask(ask, (want.size - offset).saturating_add(want.behind));
            self.next = Some((want.item, want.last));
        }
        if self.rest.is_empty() { self.supply.read() } else { Ok(std::mem::take(&mut self.rest)) }
    }

    /// Closes the connection and forgets its requests.
    pub(super) fn reset(&mut self) {
        self.supply.close();
        self.next = None;
        self.rest = Bytes::new();
    }

    /// Sends the findings of a dry run, from the beginning again if the connection breaks.
    pub(super) fn tell(&mut self, all: &[Ask]) -> Result<(), Failure> {
        loop {
            all.iter().for_each(|ask| self.supply.ask(ask.clone(), 0));
            match self.supply.finish() {
                Ok(()) => return Ok(()),
                Err(Broken::Lost(failure)) => {
                    self.reset();
                    self.futile += 1;
                    if self.futile >= self.attempts {
                        return Err(failure);
                    }
                }
                Err(over) => return Err(over.into_failure()),
            }
        }
    }
}
