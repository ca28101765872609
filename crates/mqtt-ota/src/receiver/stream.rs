use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::fetch::connect;
use super::pace::Pace;
use super::supply::{Broken, Supply};
use crate::wire::{Ask, Host, OfferId, Reason, Request};

/// Bytes that are received before they are written. Fewer at the end, and if the connection breaks. BLAKE3 is only
/// fast with long pieces.
const CHUNK: usize = 128 * 1024;
/// Number of chunks that wait to be written.
const CHUNKS: usize = 2;

/// Connection to a sender, for the thread that uses it as a [`Supply`].
///
/// [`Line::run`] carries out the requests on the runtime. Either half ends when the other is dropped.
pub(super) struct TcpSupply {
    commands: mpsc::UnboundedSender<Command>,
    answers: mpsc::Receiver<Answer>,
    /// Number of the current connection. Answers from a connection that was closed are ignored.
    generation: u64,
}

/// Address of a sender, and how long to wait for it.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) id: OfferId,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// Lowest rate, in bytes per second.
    pub(super) min_rate: u64,
    /// Pause before a connection if the one before it broke.
    pub(super) pause: Duration,
    /// True once there is a newer offer of the file. The receiver does not wait for this sender then.
    pub(super) newer: watch::Receiver<bool>,
}

/// Half of the connection that owns the socket.
pub(super) struct Line {
    sender: Sender,
    commands: mpsc::UnboundedReceiver<Command>,
    answers: mpsc::Sender<Answer>,
}

struct Command {
    generation: u64,
    what: What,
}

enum What {
    Ask { ask: Ask, expected: u64 },
    Finish,
    Close,
}

struct Answer {
    generation: u64,
    /// Requested bytes. Empty once the sender has received everything.
    bytes: Result<Bytes, Broken>,
}

/// Returns the two halves of a connection, which is made when something is asked for.
pub(super) fn to(sender: Sender) -> (TcpSupply, Line) {
    let (commands, asked) = mpsc::unbounded_channel();
    let (answers, answered) = mpsc::channel(CHUNKS);
    let line = Line { sender, commands: asked, answers };
    (TcpSupply { commands, answers: answered, generation: 0 }, line)
}

impl TcpSupply {
    fn command(&self, what: What) {
        // If the line has ended, no answer comes either.
        let _ = self.commands.send(Command { generation: self.generation, what });
    }

    fn answer(&mut self) -> Result<Bytes, Broken> {
        loop {
            let answer = self.answers.blocking_recv().ok_or(Broken::Over)?;
            if answer.generation == self.generation {
                return answer.bytes;
            }
        }
    }
}

impl Supply for TcpSupply {
    fn ask(&mut self, ask: Ask, expected: u64) {
        self.command(What::Ask { ask, expected });
    }

    fn read(&mut self) -> Result<Bytes, Broken> {
        self.answer()
    }

    fn close(&mut self) {
        self.command(What::Close);
        self.generation += 1;
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.command(What::Finish);
        self.answer().map(drop)
    }
}

impl Line {
    /// Carries out commands until the supply is dropped.
    ///
    /// Cancellation: the connection is closed.
    pub(super) async fn run(mut self) {
        let (mut stream, mut is_broken, mut waiting) = (None, false, None);
        let (mut failed, mut pace) = (None, Pace::new(self.sender.min_rate));
        loop {
            let command = match waiting.take() {
                Some(command) => command,
                None => match self.commands.recv().await {
                    Some(command) => command,
                    None => return,
                },
            };
            let Command { generation, what } = command;
            let is_close = matches!(what, What::Close);
            // Each failure is reported once. Requests made on the same connection are lost with it.
            if failed == Some(generation) && !is_close {
                continue;
            }
            let answers = Answers { generation, to: &self.answers };
            tokio::select! {
                biased;
                // A new command before the bytes have come means that they are no longer wanted.
                next = self.commands.recv(), if matches!(what, What::Ask { expected: 1.., .. }) => {
                    stream = None;
                    match next {
                        Some(next) => waiting = Some(next),
                        None => return,
                    }
                }
                done = self.sender.serve(&what, &mut stream, is_broken, &mut pace, &answers) => {
                    is_broken = done.is_err() || is_broken && is_close;
                    if let Err(broken) = done {
                        stream = None;
                        failed = Some(generation);
                        answers.give(Err(broken)).await;
                    }
                }
            }
        }
    }
}

/// Buffers that are used again once their bytes have been written.
#[derive(Default)]
struct Chunks {
    lent: VecDeque<Bytes>,
}

impl Chunks {
    /// Returns an empty chunk. A new chunk has room for at most the `left` bytes that are still to come.
    fn empty(&mut self, left: u64) -> BytesMut {
        match self.lent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut chunk)) => {
                chunk.clear();
                chunk
            }
            in_use => {
                if let Some(Err(chunk)) = in_use {
                    self.lent.push_front(chunk);
                }
                BytesMut::with_capacity(usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK)))
            }
        }
    }

    fn lend(&mut self, chunk: BytesMut) -> Bytes {
        let chunk = chunk.freeze();
        self.lent.push_back(chunk.clone());
        chunk
    }
}

struct Answers<'a> {
    generation: u64,
    to: &'a mpsc::Sender<Answer>,
}

impl Answers<'_> {
    async fn give(&self, bytes: Result<Bytes, Broken>) {
        let _ = self.to.send(Answer { generation: self.generation, bytes }).await;
    }
}

impl Sender {
    async fn serve(
        &self,
        what: &What,
        stream: &mut Option<TcpStream>,
        is_broken: bool,
        pace: &mut Pace,
        answers: &Answers<'_>,
    ) -> Result<(), Broken> {
        match what {
            What::Close => *stream = None,
            What::Ask { ask, expected } => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(during(pace, self.connected(is_broken)).await?),
                };
                let line = format!("{}\n", Request { id: self.id, ask: ask.clone() });
                during(pace, self.within(0, stream.write_all(line.as_bytes()))).await?;
                self.receive(stream, *expected, pace, answers).await?;
            }
            What::Finish => {
                if let Some(mut stream) = stream.take() {
                    self.within(0, stream.shutdown()).await?;
                    let mut byte = [0];
                    while during(pace, self.within(0, stream.read(&mut byte))).await? > 0 {}
                }
                answers.give(Ok(Bytes::new())).await;
            }
        }
        Ok(())
    }

    /// Returns a new connection, after a pause if the one before it broke.
    async fn connected(&self, is_broken: bool) -> Result<TcpStream, Failure> {
        let mut newer = self.newer.clone();
        if is_broken {
            tokio::select! {
                () = sleep(self.pause) => {}
                Ok(_) = newer.wait_for(|is_newer| *is_newer) => {}
            }
        }
        connect(&self.host, self.port, self.connect_timeout, newer).await
    }

    async fn receive(
        &self,
        stream: &mut TcpStream,
        expected: u64,
        pace: &mut Pace,
        answers: &Answers<'_>,
    ) -> Result<(), Broken> {
        let (mut left, mut chunks) = (expected, Chunks::default());
        let mut chunk = chunks.empty(left);
        while left > 0 {
            let mut limited = (&mut *stream).take(left.min((CHUNK - chunk.len()) as u64));
            let read = match during(pace, self.within(expected - left, limited.read_buf(&mut chunk))).await {
                Ok(0) => {
                    let text = format!("the sender closed after {} bytes", expected - left);
                    Err(Failure::new(Reason::Short, text).into())
                }
                read => read,
            };
            let (count, failure) = read.map_or_else(|failure| (0, Some(failure)), |count| (count, None));
            pace.came(count);
            left -= count as u64;
            let is_over = left == 0 || failure.is_some();
            if chunk.len() == CHUNK || is_over && !chunk.is_empty() {
                answers.give(Ok(chunks.lend(chunk))).await;
                chunk = chunks.empty(left);
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        if expected > 0 {
            pace.answered();
        }
        Ok(())
    }

    async fn within<T>(
        &self,
        so_far: u64,
        operation: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout(self.idle_timeout, operation).await {
            Ok(done) => {
                done.map_err(|error| Failure::new(Reason::Short, format!("after {so_far} bytes: {error}")))
            }
            Err(_) => {
                let text = format!("nothing came for {:?} after {so_far} bytes", self.idle_timeout);
                Err(Failure::new(Reason::Timeout, text))
            }
        }
    }
}

/// Waits for an operation of the sender, which may fail or be too slow.
async fn during<T>(
    pace: &mut Pace,
    operation: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Broken> {
    Ok(pace.during(operation).await.map_err(Broken::TooSlow)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_filled_again_only_once_nobody_has_any_of_it() {
        let mut chunks = Chunks::default();
        let mut first = chunks.empty(u64::MAX);
        assert_eq!(first.capacity(), CHUNK);
        first.extend_from_slice(b"first");
        let memory = first.as_ptr();
        let mut lent = chunks.lend(first);
        let part = lent.split_to(2);
        drop(lent);
        assert_ne!(chunks.empty(u64::MAX).as_ptr(), memory);
        assert_eq!(part, &b"fi"[..]);
        drop(part);
        let again = chunks.empty(u64::MAX);
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (memory, 0, CHUNK));
        assert_eq!(chunks.empty(100).capacity(), 100);
    }
}
