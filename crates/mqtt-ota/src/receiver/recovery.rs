use std::collections::BTreeSet;
use std::io;

use super::disk::Disk;
use super::journal::{Journal, Kind, Subject};
use super::store::{Store, name};
use crate::wire::Digest;

/// Why a set is taken back that an offer says so of.
pub(super) const ON_REQUEST: &str = "on request";

/// What was left to be done with a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Recovery {
    /// Nothing.
    #[default]
    Nothing,
    /// It was committed, and is in place now.
    Finished,
    /// It is taken back now.
    Undone(Digest),
}

impl<D: Disk> Store<D> {
    /// What a device does before anything else: a commit that was not finished is finished, a set on trial
    /// that was not confirmed in its boots is taken back, and nothing is left lying about.
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

    /// Ends what was begun, with a set that is in place or one that is taken back.
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

    /// Puts the files of the committed set in place, or those before it where the disk refuses.
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

    /// Renames what is staged over the files, and removes those that go. What is done already is not done
    /// again.
    pub(super) fn put(&self, journal: &Journal) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        // What goes makes room for what comes: a file can become a folder.
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
        // A folder that is emptied behind the line that filled it is none of these.
        folders.retain(|folder| folder.is_dir());
        self.sync_folders(&folders)
    }

    /// Puts the files back that were there before the set.
    pub(super) fn undo(&self) -> io::Result<()> {
        let Some(journal) = self.journal(name::UNDO)? else { return Ok(()) };
        // Whoever takes a set back for another reason has noted that.
        if !self.there(name::ERROR) {
            self.note(&format!("not confirmed in {} boots", most_boots(&journal)))?;
        }
        // A file that was changed by itself since does not become part of the set before.
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

    /// The set on trial works, and stays; yields which one it is, if there is one.
    pub(super) fn confirm(&self) -> io::Result<Option<Digest>> {
        let Some(journal) = self.journal(name::TRIAL)? else { return Ok(None) };
        self.rename(name::TRIAL, name::LAST)?;
        self.forget(name::BOOTS)?;
        self.forget(name::ERROR)?;
        Ok(Some(journal.digest))
    }

    /// Takes the installed set back, if it is this one and what it replaced is still kept.
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

    /// A file is about to be changed by itself: what is installed is no longer a set.
    pub(super) fn alter(&self) -> io::Result<()> {
        if self.there(name::SET) { self.rename(name::SET, name::WAS) } else { Ok(()) }
    }

    /// Drops the copies that the set before keeps: from here on it cannot be taken back. The journal goes
    /// first, as it must not name copies that are gone.
    pub(super) fn forget_last(&self) -> io::Result<()> {
        let Some(journal) = self.journal(name::LAST)? else { return Ok(()) };
        self.forget(name::LAST)?;
        self.sync()?;
        journal.lines.iter().try_for_each(|line| self.forget(&line.copy()))
    }
}

/// In which boot a set is taken back that was not confirmed. The first one is what the trial is for.
fn most_boots(journal: &Journal) -> u64 {
    u64::from(journal.trial.boots()).max(2)
}
