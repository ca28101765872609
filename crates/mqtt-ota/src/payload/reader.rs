use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::error::PayloadError;
use super::source::{Origin, Source};

/// Size of the chunks that are read, hashed and sent, in bytes.
pub(super) const CHUNK: usize = 256 * 1024;
/// Number of chunks that are read ahead.
const AHEAD: usize = 2;

/// Reader of a payload. A file is read in a thread of its own, some chunks ahead. The thread ends with this value.
pub(super) enum Reader {
    Memory { rest: Bytes },
    Thread { source: Arc<Source>, chunks: mpsc::Receiver<io::Result<Vec<u8>>>, spare: mpsc::Sender<Vec<u8>> },
}

impl Reader {
    pub(super) fn start(source: &Arc<Source>, mut offset: u64) -> Self {
        if let Origin::Memory(bytes) = &source.origin {
            let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
            return Self::Memory { rest: bytes.slice(start..) };
        }
        let (full, chunks) = mpsc::channel(AHEAD);
        let (spare, mut spares) = mpsc::channel::<Vec<u8>>(AHEAD);
        let reading = Arc::clone(source);
        spawn_blocking(move || {
            let open = match reading.opened() {
                Ok(open) => open,
                Err(error) => return drop(full.blocking_send(Err(error))),
            };
            while offset < reading.len {
                let mut chunk = spares.try_recv().unwrap_or_default();
                let read = reading.fill(&open, &mut chunk, offset, CHUNK);
                offset += chunk.len() as u64;
                let failed = read.is_err();
                if full.blocking_send(read.map(|()| chunk)).is_err() || failed {
                    return;
                }
            }
            // The file must end where it ended when it was opened. (In /proc every file has a length of 0.)
            if reading.goes_on(&open) {
                let _ = full.blocking_send(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        });
        Self::Thread { source: Arc::clone(source), chunks, spare }
    }

    /// Returns the next [`CHUNK`] bytes, or fewer at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, PayloadError> {
        match self {
            Self::Memory { rest } => {
                let chunk = rest.split_to(rest.len().min(CHUNK));
                Ok(if chunk.is_empty() { None } else { Some(chunk.into()) })
            }
            Self::Thread { source, chunks, .. } => match chunks.recv().await.transpose() {
                Ok(chunk) => Ok(chunk),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(source.changed()),
                Err(error) => Err(source.unreadable(error)),
            },
        }
    }

    /// Gives a chunk back to the thread, to be filled again.
    pub(super) fn recycle(&self, chunk: Vec<u8>) {
        if let Self::Thread { spare, .. } = self {
            let _ = spare.try_send(chunk);
        }
    }
}
