use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::error::PayloadError;

/// Bytes of a payload, with their length and name.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Length in bytes.
    pub(super) len: u64,
    pub(super) origin: Origin,
}

/// Place that the bytes are read from.
#[derive(Debug)]
pub(super) enum Origin {
    Memory(Bytes),
    File {
        path: PathBuf,
        file: Arc<File>,
    },
    /// File that is opened anew for each reading.
    Named {
        path: PathBuf,
    },
}

impl Source {
    /// Opens the file. Blocking.
    pub(super) fn opened(&self) -> io::Result<Arc<File>> {
        match &self.origin {
            Origin::File { file, .. } => Ok(Arc::clone(file)),
            // Opening a FIFO would wait for its writer.
            Origin::Named { path } if std::fs::metadata(path)?.is_file() => Ok(Arc::new(File::open(path)?)),
            Origin::Named { .. } | Origin::Memory(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Returns true if the file has bytes beyond the length. Blocking.
    pub(super) fn goes_on(&self, file: &File) -> bool {
        read_exact_at(file, &mut [0], self.len).is_ok()
    }

    /// Reads the chunk at `offset`, at most `most` bytes. Blocking.
    pub(super) fn fill(&self, file: &File, chunk: &mut Vec<u8>, offset: u64, most: usize) -> io::Result<()> {
        let left = self.len - offset;
        chunk.resize(usize::try_from(left).map_or(most, |left| left.min(most)), 0);
        read_exact_at(file, chunk, offset)
    }

    /// Returns the file's current metadata. `None` for bytes in memory. Blocking.
    pub(super) fn metadata(&self) -> Option<io::Result<Metadata>> {
        match &self.origin {
            Origin::Memory(_) => None,
            Origin::File { file, .. } => Some(file.metadata()),
            Origin::Named { path } => Some(std::fs::metadata(path)),
        }
    }

    pub(super) fn changed(&self) -> PayloadError {
        PayloadError::Changed { name: self.shown() }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> PayloadError {
        PayloadError::Read { name: self.shown(), source }
    }

    fn shown(&self) -> String {
        match &self.origin {
            Origin::Memory(_) => self.name.clone(),
            Origin::File { path, .. } | Origin::Named { path } => path.display().to_string(),
        }
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
