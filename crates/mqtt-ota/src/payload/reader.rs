use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Payload, PayloadError, Source};

/// How much is read, hashed and sent at once, in bytes.
pub(super) const CHUNK: usize = 256 * 1024;
/// How many chunks are read ahead.
const AHEAD: usize = 2;

/// Reads a payload: a file in a thread of its own, some chunks ahead. The thread ends with this value.
pub(super) enum Reader {
    Memory { rest: Bytes },
    Thread { payload: Payload, chunks: mpsc::Receiver<io::Result<Vec<u8>>>, spare: mpsc::Sender<Vec<u8>> },
}

impl Reader {
    pub(super) fn start(payload: &Payload, mut offset: u64) -> Self {
        if let Source::Memory(bytes) = &payload.0.source {
            let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
            return Self::Memory { rest: bytes.slice(start..) };
        }
        let (full, chunks) = mpsc::channel(AHEAD);
        let (spare, mut spares) = mpsc::channel::<Vec<u8>>(AHEAD);
        let reading = payload.clone();
        spawn_blocking(move || {
            let open = match reading.opened() {
                Ok(open) => open,
                Err(error) => return drop(full.blocking_send(Err(error))),
            };
            while offset < reading.len() {
                let mut chunk = spares.try_recv().unwrap_or_default();
                let read = reading.fill(&open, &mut chunk, offset);
                offset += chunk.len() as u64;
                let failed = read.is_err();
                if full.blocking_send(read.map(|()| chunk)).is_err() || failed {
                    return;
                }
            }
            // The file must end where it ended when it was opened (in /proc the system says 0 of all files).
            if reading.goes_on(&open) {
                let _ = full.blocking_send(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        });
        Self::Thread { payload: payload.clone(), chunks, spare }
    }

    /// The next [`CHUNK`] bytes, or what is left. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, PayloadError> {
        match self {
            Self::Memory { rest } => {
                let chunk = rest.split_to(rest.len().min(CHUNK));
                Ok(if chunk.is_empty() { None } else { Some(chunk.into()) })
            }
            Self::Thread { payload, chunks, .. } => match chunks.recv().await.transpose() {
                Ok(chunk) => Ok(chunk),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(payload.changed()),
                Err(error) => Err(payload.unreadable(error)),
            },
        }
    }

    /// Lets the thread fill a chunk again.
    pub(super) fn recycle(&self, chunk: Vec<u8>) {
        if let Self::Thread { spare, .. } = self {
            let _ = spare.try_send(chunk);
        }
    }
}

impl Payload {
    /// Blocking.
    fn opened(&self) -> io::Result<Arc<File>> {
        match &self.0.source {
            Source::File { file, .. } => Ok(Arc::clone(file)),
            // Opening a FIFO would wait for its writer.
            Source::Named { path } if std::fs::metadata(path)?.is_file() => Ok(Arc::new(File::open(path)?)),
            Source::Named { .. } | Source::Memory(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether there are bytes behind the last. Blocking.
    fn goes_on(&self, file: &File) -> bool {
        read_exact_at(file, &mut [0], self.len()).is_ok()
    }

    /// Reads the chunk at `offset`. Blocking.
    fn fill(&self, file: &File, chunk: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let left = self.len() - offset;
        chunk.resize(usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK)), 0);
        read_exact_at(file, chunk, offset)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
        }
    }
    Ok(())
}
