use super::disk::Disk;
use super::failure::Failure;
use super::space;
use super::store::{Store, name};
use super::supply::{Items, Supply};
use crate::wire::{DevicePath, Digest, Reason};

/// Single file whose transfer can resume.
pub(super) struct Single<'a> {
    pub(super) path: &'a DevicePath,
    pub(super) digest: Digest,
    /// Size in bytes.
    pub(super) size: u64,
}

impl<D: Disk> Store<D> {
    /// Returns true if the file is already there.
    pub(super) fn has(&self, single: &Single<'_>) -> Result<bool, Failure> {
        Ok(self.holds(&self.locate(single.path)?, single.digest))
    }

    /// Fetches a file and puts it in place of the old one.
    pub(super) fn take_single<S: Supply>(
        &self,
        single: &Single<'_>,
        items: &mut Items<S>,
        received: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let place = self.locate(single.path)?;
        if std::fs::metadata(&place).is_ok_and(|there| !there.is_file()) {
            return Err(Failure::new(Reason::BadName, "what has this name is no file"));
        }
        let is_known = self.read(name::PART_OF)?.is_some_and(|known| known == single.digest.as_bytes());
        let kept = if is_known { self.length(name::PART).unwrap_or_default() } else { 0 };
        space::check(space::blocks(single.size.saturating_sub(kept)), self.disk.free(&self.root))?;
        self.fetch_first(items, single.digest, single.size, &place, received)?;
        self.alter()?;
        self.make_folders(&place)?;
        self.disk.rename(&self.state(name::PART), &place)?;
        if let Some(folder) = place.parent() {
            self.disk.sync_folder(folder)?;
        }
        self.forget(name::PART_OF)?;
        Ok(self.sync()?)
    }
}
