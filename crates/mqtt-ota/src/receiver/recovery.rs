use std::collections::BTreeSet;
use std::io;

use super::disk::Disk;
use super::journal::{Journal, Kind, Subject};
use super::store::{Store, name};
use crate::wire::Digest;

/// Reason that is noted if an offer asks for a set to be taken back.
pub(super) const ON_REQUEST: &str = "on request";

/// Result of recovering a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Recovery {
    /// There was nothing to recover.
    #[default]
    Nothing,
    /// A committed set was put in place.
    Finished,
    /// A set was taken back.
    Undone(Digest),
}

impl<D: Disk> Store<D> {
    /// Boots the device's files, before anything else is done with them.
    ///
    /// An interrupted commit is finished, a set on trial that was not confirmed within its boots is taken back, and
    /// files that are no longer needed are removed. The boot counts for a set on trial.
    pub(super) fn boot(&self) -> io::Result<Recovery> {
        let mut recovery = self.recover()?;
        if let Some(journal) = self.journal(name::TRIAL)?
            && self.count_boot()? >= most_boots(&journal)
        {
            self.rename(name::TRIAL, name::UNDO)?;
            self.undo()?;
            recovery = Recovery::Undone(journal.digest);
        }
        self.sweep()?;
        Ok(recovery)
    }

    /// Finishes an interrupted commit or rollback. Discards journals that cannot be read.
    pub(super) fn recover(&self) -> io::Result<Recovery> {
        self.make_folders(&self.state(name::SET))?;
        for journal in [name::UNDO, name::COMMIT, name::TRIAL, name::LAST] {
            if self.there(journal) && self.journal(journal)?.is_none() {
                tracing::warn!(journal, "a journal cannot be read; the next set looks at every file");
                self.alter()?;
                self.forget(journal)?;
            }
        }
        if let Some(journal) = self.journal(name::UNDO)? {
            self.undo()?;
            Ok(Recovery::Undone(journal.digest))
        } else if self.there(name::COMMIT) {
            self.finish()
        } else {
            Ok(Recovery::Nothing)
        }
    }

    /// Puts the files of the committed set in place, or the files before them if the disk refuses.
    pub(super) fn finish(&self) -> io::Result<Recovery> {
        let Some(journal) = self.journal(name::COMMIT)? else { return Ok(Recovery::Nothing) };
        let Err(error) = self.try_finish(&journal) else { return Ok(Recovery::Finished) };
        if !self.there(name::COMMIT) {
            tracing::warn!(%error, "a set is in place, and the disk may not know it yet");
            return Ok(Recovery::Finished);
        }
        tracing::warn!(%error, "a set cannot be put in place, and is taken back");
        self.note(&format!("not put in place: {error}"))?;
        self.rename(name::COMMIT, name::UNDO)?;
        self.undo()?;
        Ok(Recovery::Undone(journal.digest))
    }

    fn try_finish(&self, journal: &Journal) -> io::Result<()> {
        self.put(journal)?;
        for past in [name::BOOTS, name::ERROR, name::BACK, name::WAS] {
            self.forget(past)?;
        }
        self.sync()?;
        self.rename(name::COMMIT, name::TRIAL)
    }

    /// Renames the staged files into place, and removes the files that go. Steps that are already done are skipped.
    pub(super) fn put(&self, journal: &Journal) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        // Files that are removed make room: a file can become a folder.
        let (gone, others): (Vec<_>, Vec<_>) = journal.lines.iter().partition(|line| line.kind == Kind::Gone);
        for line in gone.into_iter().chain(others) {
            let place = self.place(&line.subject);
            match line.kind {
                Kind::Gone => {
                    self.remove(&place)?;
                    folders.insert(self.tidy_folders(&place)?);
                }
                Kind::New | Kind::Replaced => {
                    self.bring(&line.staged(), &line.subject)?;
                    folders.extend(place.parent().map(ToOwned::to_owned));
                }
            }
        }
        // A folder may have been emptied and removed by a later line.
        folders.retain(|folder| folder.is_dir());
        self.sync_folders(&folders)
    }

    /// Puts the files back that were there before the set.
    pub(super) fn undo(&self) -> io::Result<()> {
        let Some(journal) = self.journal(name::UNDO)? else { return Ok(()) };
        // A set that is taken back for another reason has its note already.
        if !self.there(name::ERROR) {
            self.note(&format!("not confirmed in {} boots", most_boots(&journal)))?;
        }
        // A single file that was changed since does not become part of the previous set.
        let altered = self.there(name::WAS) && !self.there(name::SET);
        let mut folders = BTreeSet::new();
        let (new, others): (Vec<_>, Vec<_>) = journal.lines.iter().partition(|line| line.kind == Kind::New);
        for line in new.into_iter().chain(others) {
            let place = match line.subject {
                Subject::Manifest if altered => self.state(name::WAS),
                _ => self.place(&line.subject),
            };
            if line.kind == Kind::New {
                self.remove(&place)?;
                folders.insert(self.tidy_folders(&place)?);
            } else if place.is_dir() {
                tracing::warn!(place = %place.display(), "a folder that is not empty is in a file's place");
            } else if self.there(&line.copy()) {
                self.make_folders(&place)?;
                self.disk.rename(&self.state(&line.copy()), &place)?;
            }
            folders.extend(place.parent().map(ToOwned::to_owned));
        }
        folders.retain(|folder| folder.is_dir());
        self.sync_folders(&folders)?;
        self.sync()?;
        self.rename(name::UNDO, name::BACK)
    }

    fn bring(&self, staged: &str, subject: &Subject) -> io::Result<()> {
        if !self.there(staged) {
            return Ok(());
        }
        let place = self.place(subject);
        self.make_folders(&place)?;
        self.disk.rename(&self.state(staged), &place)
    }

    fn count_boot(&self) -> io::Result<u64> {
        let boots = self.state(name::BOOTS);
        let mut file =
            if self.there(name::BOOTS) { self.disk.append(&boots)? } else { self.disk.create(&boots)? };
        self.disk.write(&mut file, b".")?;
        self.disk.sync(&file)?;
        self.sync()?;
        Ok(self.length(name::BOOTS).unwrap_or_default())
    }

    /// Confirms the set on trial, which then stays. Returns its digest, or `None` if no set is on trial.
    pub(super) fn confirm(&self) -> io::Result<Option<Digest>> {
        let Some(journal) = self.journal(name::TRIAL)? else { return Ok(None) };
        self.rename(name::TRIAL, name::LAST)?;
        self.forget(name::BOOTS)?;
        self.forget(name::ERROR)?;
        Ok(Some(journal.digest))
    }

    /// Takes the set with this digest back if its copies are still kept. Returns true if the set was taken back.
    pub(super) fn take_back(&self, digest: Digest) -> io::Result<bool> {
        for from in [name::TRIAL, name::LAST] {
            if self.journal(from)?.is_some_and(|journal| journal.digest == digest) {
                self.note(ON_REQUEST)?;
                self.rename(from, name::UNDO)?;
                self.undo()?;
                self.sweep()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records that a single file is about to change, so that the installed files are no longer a set.
    pub(super) fn alter(&self) -> io::Result<()> {
        if self.there(name::SET) { self.rename(name::SET, name::WAS) } else { Ok(()) }
    }

    /// Removes the copies of the last confirmed set, which cannot be taken back from here on.
    ///
    /// The journal is removed first, because it must not name copies that are gone.
    pub(super) fn forget_last(&self) -> io::Result<()> {
        let Some(journal) = self.journal(name::LAST)? else { return Ok(()) };
        self.forget(name::LAST)?;
        self.sync()?;
        journal.lines.iter().try_for_each(|line| self.forget(&line.copy()))
    }
}

/// Returns the number of the boot in which an unconfirmed set is taken back. At least 2, because the trial needs the
/// first boot.
fn most_boots(journal: &Journal) -> u64 {
    u64::from(journal.trial.boots()).max(2)
}
