use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use mqtt_ota::wire::{Ask, Content, ExtendedOffer, Hasher, Manifest, Request};
use mqtt_ota::{DevicePath, Digest, Offer, Reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long a device waits for a connection and for each next bytes, as the companion client does.
const IDLE: Duration = Duration::from_secs(10);
/// Connections in a row that may bring nothing.
const ATTEMPTS: u32 = 5;
/// The pause before a connection is made anew.
const PAUSE: Duration = Duration::from_millis(200);
/// How much is read at once, in bytes.
const CHUNK: usize = 4096;

/// Files by what they hash to.
pub(super) type Files = BTreeMap<DevicePath, Digest>;

/// Why an offer is not installed, as the status says it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, text: impl ToString) -> Self {
        Self { reason, text: text.to_string() }
    }

    fn is_of_the_link(&self) -> bool {
        matches!(self.reason, Reason::Connect | Reason::Short | Reason::Timeout)
    }
}

/// What a device keeps of an extended offer that it has not taken to its end, whatever interrupts it.
#[derive(Debug, Default)]
pub(super) struct Staging {
    of: Option<Digest>,
    manifest: Option<Manifest>,
    complete: BTreeSet<u32>,
    part: Option<Part>,
    /// Bytes that have come.
    received: u64,
}

/// Is told how many bytes more have come.
pub(super) type Count<'a> = &'a (dyn Fn(usize) + Sync);

/// The beginning of an item.
#[derive(Debug)]
struct Part {
    item: u32,
    hasher: Hasher,
    length: u64,
}

impl Staging {
    /// Takes an extended offer's bytes, with as many connections as it needs. For a set, returns its manifest,
    /// and whether anything differed; for a file, nothing. Cancellation: what has come stays staged.
    pub(super) async fn take(
        &mut self,
        offer: &ExtendedOffer,
        files: &Files,
        count: Count<'_>,
    ) -> Result<Option<(Manifest, bool)>, Failure> {
        if self.of != Some(offer.digest) {
            *self = Self { of: Some(offer.digest), ..Self::default() };
        }
        let mut futile = 0;
        loop {
            let before = self.received;
            let mut supply = Supply { offer, count, stream: None, asked: None };
            match self.attempt(&mut supply, files).await {
                Err(failure) if failure.is_of_the_link() => {
                    futile = if self.received > before { 1 } else { futile + 1 };
                    if futile == ATTEMPTS {
                        return Err(failure);
                    }
                    sleep(PAUSE).await;
                }
                done => {
                    *self = Self::default();
                    return done;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        supply: &mut Supply<'_>,
        files: &Files,
    ) -> Result<Option<(Manifest, bool)>, Failure> {
        let (digest, size) = (supply.offer.digest, supply.offer.size);
        if matches!(supply.offer.content, Content::File(_)) {
            self.item(supply, 0..=0, size, digest, |_| ()).await?;
            return Ok(None);
        }
        let manifest = match &self.manifest {
            Some(manifest) => manifest.clone(),
            None => {
                if size > Manifest::MAX_LEN as u64 {
                    return Err(Failure::new(Reason::BadOffer, "the manifest is too long"));
                }
                // It is not kept in parts: there is nothing to resume.
                self.part = None;
                let mut text = Vec::new();
                let last = if files.is_empty() { u32::MAX } else { 0 };
                self.item(supply, 0..=last, size, digest, |bytes| text.extend_from_slice(bytes)).await?;
                let parsed = Manifest::parse(&text);
                self.manifest.insert(parsed.map_err(|error| Failure::new(Reason::BadOffer, error))?).clone()
            }
        };
        let differs = |item: u32| {
            let line = manifest.lines().get(item as usize - 1);
            line.is_some_and(|line| files.get(&line.path) != Some(&line.digest))
        };
        let mut differing = false;
        for (item, line) in (1_u32..).zip(manifest.lines()).filter(|(item, _)| differs(*item)) {
            differing = true;
            if !self.complete.contains(&item) {
                let begun = self.part.as_ref().map(|part| part.item);
                let is_next = |next: &u32| {
                    differs(*next) && !self.complete.contains(next) && begun.is_none_or(|item| item != *next)
                };
                let last = (item + 1..).take_while(is_next).last().unwrap_or(item);
                self.item(supply, item..=last, line.size, line.digest, |_| ()).await?;
                self.complete.insert(item);
            }
        }
        Ok(Some((manifest, differing)))
    }

    /// Takes the first of `items`, from where it is staged on; the others are asked for in the same request.
    async fn item(
        &mut self,
        supply: &mut Supply<'_>,
        items: RangeInclusive<u32>,
        size: u64,
        digest: Digest,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let item = *items.start();
        let begun = self.part.take().filter(|part| part.item == item && part.length <= size);
        let new = || Part { item, hasher: Hasher::new(digest.algorithm()), length: 0 };
        let part = self.part.insert(begun.unwrap_or_else(new));
        if part.length < size {
            supply.ask(items, part.length).await?;
        } else {
            supply.skip(item);
        }
        while part.length < size {
            let bytes = supply.read(size - part.length).await?;
            self.received += bytes.len() as u64;
            part.length += bytes.len() as u64;
            part.hasher.update(&bytes);
            take(&bytes);
        }
        let part = self.part.take().expect("it is there");
        if part.hasher.finish() == digest {
            Ok(())
        } else {
            Err(Failure::new(Reason::HashMismatch, format!("item {item} has another hash")))
        }
    }
}

/// The sender of one extended offer.
struct Supply<'a> {
    offer: &'a ExtendedOffer,
    count: Count<'a>,
    stream: Option<TcpStream>,
    /// What comes next on the connection without being asked for again.
    asked: Option<RangeInclusive<u32>>,
}

impl Supply<'_> {
    /// Sees to it that the next bytes are those of the first of `items`, from `offset` on.
    async fn ask(&mut self, items: RangeInclusive<u32>, offset: u64) -> Result<(), Failure> {
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
            None => self.stream.insert(connect(self.offer.host.as_str(), self.offer.port.get()).await?),
        };
        let ask = Ask::Range { first, last: (last < u32::MAX).then_some(last), offset };
        let line = format!("{}\n", Request { id: self.offer.id, ask });
        within(stream.write_all(line.as_bytes())).await?;
        self.advance(first..=last);
        Ok(())
    }

    /// An item that brings no bytes is passed over.
    fn skip(&mut self, item: u32) {
        if let Some(asked) = self.asked.take_if(|asked| *asked.start() == item) {
            self.advance(asked);
        }
    }

    fn advance(&mut self, asked: RangeInclusive<u32>) {
        let (first, last) = asked.into_inner();
        self.asked = (first < last).then(|| first + 1..=last);
    }

    async fn read(&mut self, at_most: u64) -> Result<Vec<u8>, Failure> {
        let stream = self.stream.as_mut().expect("it was asked for");
        read(stream, at_most, self.count)
            .await?
            .ok_or_else(|| Failure::new(Reason::Short, "the sender closed"))
    }
}

/// Takes a plain offer's bytes: nothing of them is kept where it breaks off.
pub(super) async fn take_plain(offer: &Offer, count: Count<'_>) -> Result<(), Failure> {
    let mut stream = connect(offer.host.as_str(), offer.port.get()).await?;
    let mut hasher = Hasher::new(offer.digest.algorithm());
    while let Some(bytes) = read(&mut stream, u64::MAX, count).await? {
        hasher.update(&bytes);
    }
    if hasher.finish() == offer.digest {
        Ok(())
    } else {
        Err(Failure::new(Reason::HashMismatch, "the bytes have another hash"))
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    match timeout(IDLE, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failure::new(Reason::Connect, format!("{host}:{port} {error}"))),
        Err(_) => Err(Failure::new(Reason::Connect, format!("{host}:{port} no answer"))),
    }
}

/// The next bytes; None at the end.
async fn read(stream: &mut TcpStream, at_most: u64, count: Count<'_>) -> Result<Option<Vec<u8>>, Failure> {
    // Whoever only waits needs no buffer.
    within(stream.readable()).await?;
    let mut bytes = Vec::with_capacity(CHUNK);
    let read = within(stream.take(at_most).read_buf(&mut bytes)).await?;
    count(read);
    Ok((read > 0).then_some(bytes))
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    match timeout(IDLE, work).await {
        Ok(done) => done.map_err(|error| Failure::new(Reason::Short, error)),
        Err(_) => Err(Failure::new(Reason::Timeout, "nothing came")),
    }
}
