use std::io::{self, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::failure::Failure;
use super::pace::Pace;
use super::{ReceiverConfig, ReceiverEvent};
use crate::wire::{Hasher, Host, Offer, Reason};

/// Bytes that are received before they are written.
const CHUNK: usize = 128 * 1024;
/// Number of chunks.
const CHUNKS: usize = 3;
/// Bytes that are written before a sync begins. The sync runs while more comes in, and the sync at the end only waits
/// for what is left.
const SYNC_EVERY: usize = 8 * 1024 * 1024;

/// Streams an offered file into `incoming`, and checks its hash. Returns the file and its length in bytes.
///
/// Cancellation: the temporary file is removed.
pub(super) async fn fetch(
    offer: &Offer,
    incoming: NamedTempFile,
    config: &ReceiverConfig,
    events: &mpsc::Sender<ReceiverEvent>,
    newer: watch::Receiver<bool>,
) -> Result<(NamedTempFile, u64), Failure> {
    let mut stream = connect(&offer.host, offer.port.get(), config.connect_timeout, newer).await?;
    // The chunks circulate: one is received and hashed while another is written.
    let (full, to_write) = mpsc::channel(CHUNKS);
    let (spare, mut empty) = mpsc::channel(CHUNKS);
    for _ in 0..CHUNKS {
        let _ = spare.try_send(vec![0; CHUNK]);
    }
    let written = spawn_blocking(move || write(incoming, to_write, &spare));
    let (mut hasher, mut pace) = (Hasher::new(offer.digest.algorithm()), Pace::new(config.min_rate));
    let mut received = 0;
    let streamed = async {
        // No more empty chunks come once the disk refuses.
        while let Some(mut chunk) = empty.recv().await {
            let filled = fill(&mut stream, &mut chunk, config.idle_timeout, &mut pace, received).await?;
            received += filled as u64;
            hasher.update(chunk.get(..filled).unwrap_or_default());
            if received > config.max_size {
                return Err(Failure::over(config.max_size));
            }
            let _ = events.try_send(ReceiverEvent::Progress { received });
            if filled == 0 || full.send((chunk, filled)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
    .await;
    drop(full);
    // The temporary file is gone before a failure is reported.
    let written = written.await.map_err(io::Error::other).and_then(|written| written);
    streamed?;
    let file = written.map_err(|error| Failure::write(&error))?;
    let digest = hasher.finish();
    if digest == offer.digest {
        Ok((file, received))
    } else {
        Err(Failure::new(Reason::HashMismatch, format!("{digest} after {received} bytes")))
    }
}

/// Connects to a sender. A newer offer of the same file ends the wait.
pub(super) async fn connect(
    host: &Host,
    port: u16,
    limit: Duration,
    mut newer: watch::Receiver<bool>,
) -> Result<TcpStream, Failure> {
    let refused = |text: String| Failure::new(Reason::Connect, format!("{host}:{port}: {text}"));
    tokio::select! {
        connected = timeout(limit, TcpStream::connect((host.as_str(), port))) => match connected {
            Ok(stream) => stream.map_err(|error| refused(error.to_string())),
            Err(_) => Err(refused(format!("no answer in {limit:?}"))),
        },
        Ok(_) = newer.wait_for(|is_newer| *is_newer) => Err(refused("a newer offer has come".to_owned())),
    }
}

/// Reads until the chunk is full or the stream ends. Returns the number of bytes.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    chunk: &mut [u8],
    idle: Duration,
    pace: &mut Pace,
    before: u64,
) -> Result<usize, Failure> {
    let mut filled = 0;
    while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let so_far = before + filled as u64;
        match pace.during(timeout(idle, stream.read(rest))).await? {
            Ok(Ok(0)) => break,
            Ok(Ok(read)) => {
                pace.came(read);
                filled += read;
            }
            Ok(Err(error)) => {
                return Err(Failure::new(Reason::Short, format!("after {so_far} bytes: {error}")));
            }
            Err(_) => {
                let text = format!("nothing came for {idle:?} after {so_far} bytes");
                return Err(Failure::new(Reason::Timeout, text));
            }
        }
    }
    Ok(filled)
}

/// Writes chunks to the file and hands them back, until the channel ends. Blocks.
fn write(
    mut file: NamedTempFile,
    mut chunks: mpsc::Receiver<(Vec<u8>, usize)>,
    spare: &mpsc::Sender<Vec<u8>>,
) -> io::Result<NamedTempFile> {
    let (mut unsynced, mut syncing) = (0, None);
    while let Some((chunk, filled)) = chunks.blocking_recv() {
        file.write_all(chunk.get(..filled).unwrap_or_default())?;
        let _ = spare.blocking_send(chunk);
        unsynced += filled;
        if unsynced >= SYNC_EVERY && syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            synced(syncing.take())?;
            let handle = file.as_file().try_clone()?;
            syncing = Some(thread::spawn(move || handle.sync_data()));
            unsynced = 0;
        }
    }
    synced(syncing)?;
    Ok(file)
}

/// Waits for a sync and reports its error.
///
/// The error must be taken here: the system reports each error once, so the last sync would not repeat it.
fn synced(syncing: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match syncing {
        Some(syncing) => syncing.join().map_err(|_| io::Error::other("the thread that syncs has ended"))?,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Receives a file whose bytes come one at a time. Returns the result, and the time that it took in seconds.
    async fn dripped(every: Duration, idle: Duration) -> (Result<usize, Failure>, u64) {
        let (mut sender, mut receiver) = tokio::io::duplex(1);
        let dripping = async {
            while sender.write_all(b"x").await.is_ok() {
                sleep(every).await;
            }
        };
        let (mut chunk, mut pace, begun) = (vec![0; CHUNK], Pace::new(1024), Instant::now());
        tokio::select! {
            filled = fill(&mut receiver, &mut chunk, idle, &mut pace, 0) => (filled, begun.elapsed().as_secs()),
            () = dripping => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_is_left_after_a_minute_and_a_silent_one_before() {
        let (ended, after) = dripped(Duration::from_secs(15), Duration::from_secs(20)).await;
        assert_eq!((ended.unwrap_err().reason, after), (Reason::Timeout, 60));
        let (ended, after) = dripped(Duration::from_secs(25), Duration::from_secs(20)).await;
        let failure = ended.unwrap_err();
        assert_eq!((failure.text.as_str(), after), ("nothing came for 20s after 1 bytes", 20));
    }
}
