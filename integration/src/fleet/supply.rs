use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use mqtt_ota::wire::{Ask, ExtendedOffer, Hasher, Request};
use mqtt_ota::{Offer, Reason};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::interface::Interface;

/// Time limit for a connection, and for each next bytes, as in the companion client.
const IDLE: Duration = Duration::from_secs(10);
/// Number of bytes that are read at once.
const CHUNK: usize = 4096;

/// Reason why an offer is not installed, as the status gives it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, text: impl ToString) -> Self {
        Self { reason, text: text.to_string() }
    }

    pub(super) fn is_of_the_link(&self) -> bool {
        matches!(self.reason, Reason::Connect | Reason::Short | Reason::Timeout)
    }
}

/// Callback that gets the number of further bytes.
pub(super) type Count<'a> = &'a (dyn Fn(usize) + Sync);

/// Source of the bytes of one extended offer.
pub(super) struct Supply<'a> {
    pub(super) offer: &'a ExtendedOffer,
    interface: Interface,
    count: Count<'a>,
    stream: Option<TcpStream>,
    /// Items that come next on the connection without another request.
    asked: Option<RangeInclusive<u32>>,
}

impl<'a> Supply<'a> {
    pub(super) fn new(offer: &'a ExtendedOffer, interface: Interface, count: Count<'a>) -> Self {
        Self { offer, interface, count, stream: None, asked: None }
    }

    /// Makes the next bytes those of the first of `items`, from `offset` on.
    pub(super) async fn ask(&mut self, items: RangeInclusive<u32>, offset: u64) -> Result<(), Failure> {
        let (first, last) = items.into_inner();
        match self.asked.take() {
            Some(asked) if *asked.start() == first && offset == 0 => {
                self.advance(asked);
                return Ok(());
            }
            // The rest of what was asked for is not wanted.
            Some(_) => self.stream = None,
            None => {}
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self
                .stream
                .insert(connect(self.interface, self.offer.host.as_str(), self.offer.port.get()).await?),
        };
        let ask = Ask::Range { first, last: (last < u32::MAX).then_some(last), offset };
        let line = format!("{}\n", Request { id: self.offer.id, ask });
        within(stream.write_all(line.as_bytes())).await?;
        self.advance(first..=last);
        Ok(())
    }

    /// Passes over an item that brings no bytes.
    pub(super) fn skip(&mut self, item: u32) {
        if let Some(asked) = self.asked.take_if(|asked| *asked.start() == item) {
            self.advance(asked);
        }
    }

    fn advance(&mut self, asked: RangeInclusive<u32>) {
        let (first, last) = asked.into_inner();
        self.asked = (first < last).then(|| first + 1..=last);
    }

    /// Passes the next bytes to `take`, and returns their number.
    pub(super) async fn read(&mut self, at_most: u64, take: impl FnMut(&[u8])) -> Result<u64, Failure> {
        let stream = self.stream.as_ref().expect("it was asked for");
        match read(stream, at_most, self.count, take).await? {
            0 => Err(Failure::new(Reason::Short, "the sender closed")),
            read => Ok(read),
        }
    }
}

/// Takes a plain offer's bytes. If the transfer breaks off, none of them are kept.
pub(super) async fn take_plain(offer: &Offer, from: Interface, count: Count<'_>) -> Result<(), Failure> {
    let stream = connect(from, offer.host.as_str(), offer.port.get()).await?;
    let mut hasher = Hasher::new(offer.digest.algorithm());
    while read(&stream, u64::MAX, count, |bytes| hasher.update(bytes)).await? > 0 {}
    if hasher.finish() == offer.digest {
        Ok(())
    } else {
        Err(Failure::new(Reason::HashMismatch, "the bytes have another hash"))
    }
}

async fn connect(from: Interface, host: &str, port: u16) -> Result<TcpStream, Failure> {
    match timeout(IDLE, from.connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failure::new(Reason::Connect, format!("{host}:{port} {error}"))),
        Err(_) => Err(Failure::new(Reason::Connect, format!("{host}:{port} no answer"))),
    }
}

/// Passes the next bytes to `take`, and returns their number, which is 0 at the end. A device that only waits needs no
/// buffer.
async fn read(
    stream: &TcpStream,
    at_most: u64,
    count: Count<'_>,
    mut take: impl FnMut(&[u8]),
) -> Result<u64, Failure> {
    loop {
        within(stream.readable()).await?;
        let mut bytes = [0; CHUNK];
        let room = usize::try_from(at_most).map_or(CHUNK, |at_most| at_most.min(CHUNK));
        match stream.try_read(&mut bytes[..room]) {
            Ok(read) => {
                count(read);
                take(&bytes[..read]);
                return Ok(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::new(Reason::Short, error)),
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    match timeout(IDLE, work).await {
        Ok(done) => done.map_err(|error| Failure::new(Reason::Short, error)),
        Err(_) => Err(Failure::new(Reason::Timeout, "nothing came")),
    }
}
