use std::io;

use super::disk::Disk;
use super::store::{Store, each_chunk, name};
use crate::wire::{Algorithm, Announcement, Digest, Hasher, InstalledSet};

/// Longest error that is kept, in characters. An announcement has at most 1024 bytes.
const MAX_ERROR: usize = 200;

/// Error text of a set that was taken back, if the reason could not be noted.
const UNKNOWN: &str = "not known: it could not be noted";

impl<D: Disk> Store<D> {
    /// Adds to an announcement what is installed, and what became of the last set.
    pub(super) fn describe(&self, announcement: &mut Announcement) {
        announcement.free = self.disk.free(&self.root);
        announcement.set = Some(self.installed().map_or(InstalledSet::Nothing, InstalledSet::Set));
        announcement.folds_case = self.folds_case();
        announcement.boots = self.there(name::TRIAL).then(|| self.boots());
        let back = self.journal(name::BACK).ok().flatten();
        announcement.rolled_back = back.map(|journal| journal.digest);
        announcement.error =
            announcement.rolled_back.map(|_| self.error().unwrap_or_else(|| UNKNOWN.to_owned()));
    }

    /// Returns the digest of the installed set.
    pub(super) fn installed(&self) -> Option<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let hashed = each_chunk(&self.state(name::SET), |chunk| {
            hasher.update(chunk);
            Ok(())
        });
        hashed.ok().map(|_| hasher.finish())
    }

    /// Returns how often the set on trial has booted.
    pub(super) fn boots(&self) -> u32 {
        self.length(name::BOOTS).and_then(|boots| boots.try_into().ok()).unwrap_or_default()
    }

    /// Returns why the set on trial does not work, or why the last set that was taken back did not.
    pub(super) fn error(&self) -> Option<String> {
        let bytes = self.read(name::ERROR).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).chars().take(MAX_ERROR).collect())
    }

    /// Notes why the set on trial does not work.
    pub(super) fn note(&self, error: &str) -> io::Result<()> {
        let clean = |c: char| if c.is_control() || c == '|' { ' ' } else { c };
        let error: String = error.chars().take(MAX_ERROR).map(clean).collect();
        self.write(name::ERROR, error.as_bytes())?;
        self.sync()
    }
}
