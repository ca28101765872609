mod error;
mod reader;
mod source;
mod stamp;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

pub use self::error::PayloadError;
use self::reader::Reader;
use self::source::{Origin, Source};
use self::stamp::Stamp;
use crate::check::{Flaw, Kind};
use crate::wire::{Algorithm, Digest, Hasher};

/// Content to send: a file, or bytes in memory.
///
/// A payload is hashed once for each hash function that a device asks for, and exactly the hashed bytes are served.
/// Before the last chunk goes out, the file must still have the length and the times that it had when it was opened.
/// Otherwise it is hashed again. A file that changes in between therefore causes an error here instead of a delivery. A
/// change too quick for the file system's clock fails the device's own check, and is found here afterwards.
///
/// Memory does not grow with the file. Cloning is cheap, and clones share the digests.
#[derive(Debug, Clone)]
pub struct Payload(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<Source>,
    digests: Mutex<Vec<Digest>>,
    stamp: Option<Stamp>,
    /// Known flaws as a file of each kind.
    flaws: [OnceLock<Arc<[Flaw]>>; 3],
}

impl Payload {
    /// Opens a regular file, and keeps it open. The file is read when it is sent.
    ///
    /// # Errors
    /// Returns an error if the path does not exist, is a folder or not a regular file, or cannot be read.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, PayloadError> {
        let path = path.as_ref().to_owned();
        let opening = path.clone();
        let (file, metadata) = blocking(move || {
            let metadata = std::fs::metadata(&opening)?;
            // Opening a FIFO would wait for its writer.
            if !metadata.is_file() {
                return Ok((None, metadata));
            }
            let file = File::open(&opening)?;
            let metadata = file.metadata()?;
            Ok((Some(file), metadata))
        })
        .await
        .map_err(|source| PayloadError::Open { path: path.clone(), source })?;
        let Some(file) = file else {
            return Err(PayloadError::NotAFile { path, folder: metadata.is_dir() });
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let source = Origin::File { path, file: Arc::new(file) };
        Ok(Self::new(name, metadata.len(), source, Some(Stamp::of(&metadata))))
    }

    /// Takes a regular file without keeping it open, because a set may have more files than a process may open.
    ///
    /// A file that is replaced meanwhile counts as changed.
    ///
    /// # Errors
    /// Returns an error if the path does not exist, or is not a regular file.
    pub(crate) async fn named(path: PathBuf) -> Result<Self, PayloadError> {
        let looking = path.clone();
        let looked = spawn_blocking(move || Self::look(looking)).await;
        looked.map_err(|error| PayloadError::Open { path, source: io::Error::other(error) })?
    }

    /// Takes a regular file as [`Payload::named`] does. Blocking.
    pub(crate) fn look(path: PathBuf) -> Result<Self, PayloadError> {
        let metadata =
            std::fs::metadata(&path).map_err(|source| PayloadError::Open { path: path.clone(), source })?;
        if !metadata.is_file() {
            return Err(PayloadError::NotAFile { path, folder: metadata.is_dir() });
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self::new(name, metadata.len(), Origin::Named { path }, Some(Stamp::of(&metadata))))
    }

    /// Returns the time of the last write to the file before it was opened. `None` for bytes that come from no file.
    #[cfg(feature = "keeper")]
    pub(crate) fn modified(&self) -> Option<std::time::SystemTime> {
        self.0.stamp.as_ref()?.modified
    }

    /// Reads the whole file into memory. `None` if it was written to meanwhile. Blocking.
    #[cfg(feature = "keeper")]
    pub(crate) fn snapshot(&self) -> Result<Option<Self>, PayloadError> {
        let Origin::Named { path } = &self.0.source.origin else { return Ok(Some(self.clone())) };
        let bytes = std::fs::read(path).map_err(|source| self.0.source.unreadable(source))?;
        if !self.looks_like(&Self::look(path.clone())?) {
            return Ok(None);
        }
        let (name, stamp) = (self.0.source.name.clone(), self.0.stamp.clone());
        Ok(Some(Self::new(name, bytes.len() as u64, Origin::Memory(bytes.into()), stamp)))
    }

    /// Returns true if the bytes are kept in memory.
    #[cfg(feature = "keeper")]
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.0.source.origin, Origin::Memory(_))
    }

    /// Returns true if both payloads come from files, and the files looked the same.
    #[cfg(feature = "keeper")]
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        self.0.stamp.is_some() && self.0.stamp == other.0.stamp
    }

    /// Returns the device and number that identify the file. `None` without a file or without such numbers.
    #[cfg(feature = "keeper")]
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.0.stamp.as_ref()?.identity()
    }

    /// Returns true if the files of both payloads had the same length and times.
    #[cfg(feature = "keeper")]
    pub(crate) fn is_of_same_time(&self, other: &Self) -> bool {
        match (&self.0.stamp, &other.0.stamp) {
            (Some(one), Some(other)) => one.is_of_same_time(other),
            _ => false,
        }
    }

    /// Returns true if the two are clones.
    #[cfg(all(test, feature = "keeper"))]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes bytes in memory. `name` is the file name on the device unless the sender is given a different one.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(name.into(), bytes.len() as u64, Origin::Memory(bytes), None)
    }

    fn new(name: String, len: u64, origin: Origin, stamp: Option<Stamp>) -> Self {
        Self(Arc::new(Inner {
            source: Arc::new(Source { name, len, origin }),
            digests: Mutex::default(),
            stamp,
            flaws: Default::default(),
        }))
    }

    /// Returns the file's name, without its folders.
    pub fn name(&self) -> &str {
        &self.0.source.name
    }

    /// Returns the length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is a file, and sent like any other")]
    pub fn len(&self) -> u64 {
        self.0.source.len
    }

    /// Returns the digest, which is computed at the first call and remembered.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if its bytes differ from those of an earlier digest.
    ///
    /// Cancellation: nothing is remembered.
    pub async fn digest(&self, algorithm: Algorithm) -> Result<Digest, PayloadError> {
        let mut known = self.0.digests.lock().await;
        if let Some(digest) = known.iter().find(|digest| digest.algorithm() == algorithm) {
            return Ok(*digest);
        }
        // Known digests are computed again along with the new one, so that all digests of a payload are of the same
        // bytes.
        let algorithms = known.iter().map(Digest::algorithm).chain([algorithm]);
        let mut digests = self.hashed(algorithms).await?;
        let digest = digests.pop().ok_or_else(|| self.0.source.changed())?;
        if digests != *known {
            return Err(self.0.source.changed());
        }
        known.push(digest);
        Ok(digest)
    }

    /// Reads the whole payload and checks its digest.
    ///
    /// # Errors
    /// Returns an error if the digest differs, or if the file cannot be read.
    pub(crate) async fn verify(&self, digest: Digest) -> Result<(), PayloadError> {
        let found = self.hashed([digest.algorithm()]).await?;
        if found == [digest] { Ok(()) } else { Err(self.0.source.changed()) }
    }

    /// Returns the bytes from `offset` on, in chunks. The last chunk comes only if all bytes are still the hashed ones.
    pub(crate) fn chunks(&self, digest: Digest, offset: u64) -> Chunks {
        let left = self.len().saturating_sub(offset);
        Chunks { reader: Some(Reader::start(&self.0.source, offset)), payload: self.clone(), left, digest }
    }

    /// Reads the whole payload into memory.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if its length has changed.
    pub(crate) async fn bytes(&self) -> Result<Vec<u8>, PayloadError> {
        let (mut bytes, mut reader) = (Vec::new(), Reader::start(&self.0.source, 0));
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
            reader.recycle(chunk);
        }
        Ok(bytes)
    }

    /// Returns the known flaws as a file of this kind. `None` if the file has not been checked as such.
    pub(crate) fn known_flaws(&self, kind: Kind) -> Option<Arc<[Flaw]>> {
        self.flaws_as(kind).get().cloned()
    }

    pub(crate) fn remember_flaws(&self, kind: Kind, flaws: Arc<[Flaw]>) -> Arc<[Flaw]> {
        Arc::clone(self.flaws_as(kind).get_or_init(|| flaws))
    }

    fn flaws_as(&self, kind: Kind) -> &OnceLock<Arc<[Flaw]>> {
        let [other, python, boot] = &self.0.flaws;
        match kind {
            Kind::Other => other,
            Kind::Python => python,
            Kind::Boot => boot,
        }
    }

    async fn hashed(
        &self,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Vec<Digest>, PayloadError> {
        let mut hashers: Vec<_> = algorithms.into_iter().map(Hasher::new).collect();
        let mut reader = Reader::start(&self.0.source, 0);
        while let Some(chunk) = reader.next().await? {
            hashers.iter_mut().for_each(|hasher| hasher.update(&chunk));
            reader.recycle(chunk);
        }
        Ok(hashers.into_iter().map(Hasher::finish).collect())
    }

    /// Returns true if the file looks as it did when it was opened.
    async fn is_untouched(&self) -> Result<bool, PayloadError> {
        let source = Arc::clone(&self.0.source);
        let metadata = blocking(move || source.metadata().transpose()).await;
        let metadata = metadata.map_err(|source| self.0.source.unreadable(source))?;
        Ok(metadata.is_none_or(|metadata| self.0.stamp == Some(Stamp::of(&metadata))))
    }
}

/// Chunks of a payload whose digest is known.
pub(crate) struct Chunks {
    reader: Option<Reader>,
    payload: Payload,
    left: u64,
    digest: Digest,
}

impl Chunks {
    /// Returns true if there are further chunks.
    pub(crate) fn is_more(&self) -> bool {
        self.left > 0
    }

    /// Returns the next bytes, or `None` at the end. `spent` is a chunk that is no longer needed.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if its bytes are not the hashed ones. In the second case the
    /// last chunk is withheld, and no chunk follows.
    ///
    /// Cancel safe, except for the last chunk, which is lost on cancellation.
    pub(crate) async fn next(&mut self, spent: Vec<u8>) -> Result<Option<Vec<u8>>, PayloadError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        reader.recycle(spent);
        let chunk = reader.next().await?;
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.left == 0 {
            self.reader = None;
            if !self.payload.is_untouched().await? {
                self.payload.verify(self.digest).await?;
            }
        }
        Ok(chunk)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::reader::CHUNK;
    use super::*;

    async fn all(payload: &Payload, digest: Digest) -> Result<Vec<u8>, PayloadError> {
        let (mut bytes, mut chunks) = (Vec::new(), payload.chunks(digest, 0));
        while let Some(chunk) = chunks.next(Vec::new()).await? {
            bytes.extend(chunk);
        }
        Ok(bytes)
    }

    fn temporary(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    #[tokio::test]
    async fn a_file_is_served_as_it_was_hashed_whatever_its_length() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let file = temporary(&bytes);
            for payload in [
                Payload::open(&file).await.unwrap(),
                Payload::named(file.path().to_owned()).await.unwrap(),
                Payload::from_bytes("x", bytes.clone()),
            ] {
                let digest = payload.digest(Algorithm::Sha1).await.unwrap();
                assert_eq!(digest, Digest::of(Algorithm::Sha1, &bytes));
                assert_eq!(all(&payload, digest).await.unwrap(), bytes);
            }
        }
    }

    #[tokio::test]
    async fn the_last_chunk_of_a_file_that_changed_is_never_given_out() {
        let file = temporary(&vec![7; 2 * CHUNK]);
        let payload = Payload::open(&file).await.unwrap();
        let digest = payload.digest(Algorithm::Sha256).await.unwrap();
        let mut changed = vec![7; 2 * CHUNK];
        changed[5] = 8;
        std::fs::write(&file, changed).unwrap();
        let mut chunks = payload.chunks(digest, 0);
        assert_eq!(chunks.next(Vec::new()).await.unwrap().map(|chunk| chunk.len()), Some(CHUNK));
        assert!(matches!(chunks.next(Vec::new()).await, Err(PayloadError::Changed { .. })));
        assert_eq!(chunks.next(Vec::new()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_a_change_and_not_a_short_delivery() {
        let file = temporary(b"print('hello')");
        let payload = Payload::open(&file).await.unwrap();
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        std::fs::write(&file, b"print(").unwrap();
        assert!(matches!(all(&payload, digest).await, Err(PayloadError::Changed { .. })));
    }

    #[tokio::test]
    async fn a_file_replaced_by_rename_is_still_sent_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("main.py"), folder.path().join("new"));
        std::fs::write(&path, b"old").unwrap();
        std::fs::write(&new, b"new").unwrap();
        let payload = Payload::open(&path).await.unwrap();
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(all(&payload, digest).await.unwrap(), b"old");
    }

    #[tokio::test]
    async fn a_file_is_served_from_any_offset_on() {
        let bytes: Vec<u8> = (0..2 * CHUNK + 5).map(|i| (i % 251) as u8).collect();
        let file = temporary(&bytes);
        let payload = Payload::named(file.path().to_owned()).await.unwrap();
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        for offset in [0, 1, CHUNK, 2 * CHUNK + 4, bytes.len()] {
            let (mut read, mut chunks) = (Vec::new(), payload.chunks(digest, offset as u64));
            while let Some(chunk) = chunks.next(Vec::new()).await.unwrap() {
                read.extend(chunk);
            }
            assert!(read == bytes[offset..], "from {offset}");
        }
    }

    #[tokio::test]
    async fn a_file_of_a_set_that_was_replaced_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("main.py"), folder.path().join("new"));
        std::fs::write(&path, b"old").unwrap();
        std::fs::write(&new, b"new").unwrap();
        let payload = Payload::named(path.clone()).await.unwrap();
        let digest = payload.digest(Algorithm::Sha1).await.unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert!(matches!(all(&payload, digest).await, Err(PayloadError::Changed { .. })));
        // A file that was only written again has the same bytes.
        std::fs::write(&path, b"old").unwrap();
        assert_eq!(all(&payload, digest).await.unwrap(), b"old");
    }

    #[tokio::test]
    async fn two_digests_of_one_payload_are_of_the_same_bytes() {
        let file = temporary(b"one");
        let payload = Payload::open(&file).await.unwrap();
        payload.digest(Algorithm::Sha1).await.unwrap();
        std::fs::write(&file, b"two").unwrap();
        assert!(matches!(payload.digest(Algorithm::Sha256).await, Err(PayloadError::Changed { .. })));
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Payload::open(folder.path().join("missing")).await;
        assert!(matches!(missing, Err(PayloadError::Open { .. })));
        let folder = Payload::open(folder.path()).await;
        assert!(matches!(folder, Err(PayloadError::NotAFile { folder: true, .. })));
    }
}
