use super::disk::{Disk, Syncs};
use super::failure::Failure;
use super::journal::{Journal, JournalLine, Kind, Subject};
use super::plan::{Differing, Plan};
use super::recovery::Recovery;
use super::space;
use super::stage::Item;
use super::store::{Store, name};
use super::supply::{Items, Supply, Want};
use crate::wire::{
    Algorithm, Ask, DevicePath, Digest, Manifest, ManifestError, ManifestLine, Reason, SetTerms, Trial,
};

/// Number of boots in which a set has to be confirmed, where its offer does not say.
const TRIAL: u16 = 3;

/// Set that is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfferedSet {
    pub(super) digest: Digest,
    /// Length of the manifest, in bytes.
    pub(super) size: u64,
    pub(super) terms: SetTerms,
    /// Longest file, in bytes.
    pub(super) max_size: u64,
}

/// Result of taking a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Every file was already there.
    Unchanged,
    /// The set is in place, and on trial.
    Installed(Changes),
    /// A dry run found these changes.
    Planned(Changes),
}

/// Extent of a set's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Changes {
    /// Number of files that are new or replaced.
    pub(super) files: usize,
    /// Number of files that are deleted.
    pub(super) deleted: usize,
    /// Total length of the new and replaced files, in bytes.
    pub(super) bytes: u64,
}

impl<D: Disk> Store<D> {
    /// Takes a set from its manifest to its place on the disk.
    pub(super) fn take_set<S: Supply>(
        &self,
        set: &OfferedSet,
        items: &mut Items<S>,
        received: &mut dyn FnMut(u64),
    ) -> Result<Taken, Failure> {
        self.recover()?;
        let manifest = self.manifest(set, items, received)?;
        let is_staged_for = self.holds(&self.state(name::MANIFEST), set.digest);
        let plan = self.plan(&manifest, set.terms.delete, set.max_size, is_staged_for)?;
        let on_trial = self.journal(name::TRIAL)?.map(|journal| journal.digest);
        if plan.is_empty() && on_trial.is_none_or(|on_trial| on_trial == set.digest) {
            self.adopt(set.digest, &plan.left)?;
            return Ok(Taken::Unchanged);
        }
        if on_trial.is_some() {
            return Err(Failure::new(Reason::Busy, "a set is on trial"));
        }
        let changes = changes(&manifest, &plan);
        if set.terms.dry_run {
            let missing = plan.differing.iter().map(|differing| Ask::Missing(differing.item));
            let deletes = plan.gone.iter().cloned().map(Ask::Deletes);
            items.tell(&missing.chain(deletes).collect::<Vec<_>>())?;
            return Ok(Taken::Planned(changes));
        }
        self.make_room(&plan)?;
        if !is_staged_for {
            self.unstage()?;
            self.write(name::MANIFEST, manifest.to_string().as_bytes())?;
            self.sync()?;
        }
        self.stage(&manifest, &plan, items, received)?;
        let journal = self.keep(set, &manifest, &plan)?;
        self.commit(&journal)?;
        if let Recovery::Undone(_) = self.finish()? {
            let why = self.error().unwrap_or_default();
            return Err(Failure::new(Reason::Write, format!("taken back: {why}")));
        }
        self.sweep()?;
        Ok(Taken::Installed(changes))
    }

    /// Returns the manifest that an offer names. Fetches it unless it is already here.
    pub(super) fn manifest<S: Supply>(
        &self,
        set: &OfferedSet,
        items: &mut Items<S>,
        received: &mut dyn FnMut(u64),
    ) -> Result<Manifest, Failure> {
        let refused = |text: String| Failure::new(Reason::BadOffer, text);
        if set.digest.algorithm() != Algorithm::Sha256 {
            return Err(refused("the hash of a set is SHA-256 here".to_owned()));
        }
        if set.size > Manifest::MAX_LEN as u64 {
            let text =
                format!("a manifest has at most {} bytes, this one has {}", Manifest::MAX_LEN, set.size);
            return Err(refused(text));
        }
        let known =
            [name::SET, name::MANIFEST].into_iter().find(|name| self.holds(&self.state(name), set.digest));
        let from = match known {
            Some(known) => known,
            None => {
                space::check(space::blocks(set.size), self.disk.free(&self.root))?;
                self.fetch_first(items, set.digest, set.size, &self.state(name::SET), received)?;
                self.unstage()?;
                self.disk.rename(&self.state(name::PART), &self.state(name::MANIFEST))?;
                self.forget(name::PART_OF)?;
                self.sync()?;
                name::MANIFEST
            }
        };
        let text = self.read(from)?.unwrap_or_default();
        let parsed = Manifest::parse(&text).map_err(|error| {
            let reason = match error {
                ManifestError::Path { .. } => Reason::BadName,
                _ => Reason::BadOffer,
            };
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::new(reason, format!("{error}{}", cause.unwrap_or_default()))
        });
        let parsed = parsed.and_then(|manifest| {
            let first = manifest.lines().first().map(|line| line.digest.algorithm());
            if first.is_some_and(|algorithm| algorithm != set.digest.algorithm()) {
                return Err(refused("the manifest's hashes are of another function than its own".to_owned()));
            }
            Ok(manifest)
        });
        if parsed.is_err() {
            self.forget(name::MANIFEST)?;
        }
        parsed
    }

    /// Removes what was staged, which belongs to an earlier manifest.
    fn unstage(&self) -> Result<(), Failure> {
        self.forget(name::MANIFEST)?;
        self.sweep()?;
        Ok(self.sync()?)
    }

    /// Records a set as installed when all its files are already in place.
    fn adopt(&self, digest: Digest, left: &[DevicePath]) -> Result<(), Failure> {
        if self.installed() == Some(digest) {
            return Ok(());
        }
        if !left.is_empty() {
            self.write(name::LEFT_NEXT, listed(left).as_bytes())?;
            self.rename(name::LEFT_NEXT, name::LEFT)?;
        }
        if self.journal(name::LAST)?.is_some_and(|last| last.digest == digest) {
            // The set had been altered and is restored, so the copies are its own and stay.
            self.rename(name::MANIFEST, name::SET)?;
        } else {
            self.forget_last()?;
            self.rename(name::MANIFEST, name::SET)?;
        }
        Ok(self.sweep()?)
    }

    /// Checks that staged files and copies have room, before the first of them is written.
    ///
    /// The copies of the previous set are removed only if staging needs their room.
    fn make_room(&self, plan: &Plan) -> Result<(), Failure> {
        let needed = plan.staging.saturating_add(plan.keeping);
        let Some(free) = self.disk.free(&self.root) else { return Ok(()) };
        let copies = self.journal(name::LAST)?.into_iter().flat_map(|last| last.lines);
        let kept = copies.map(|line| self.length(&line.copy()).map_or(0, space::blocks)).sum();
        space::check(needed, Some(free.saturating_add(kept)))?;
        if plan.staging > free {
            self.forget_last()?;
        }
        Ok(())
    }

    /// Fetches what is not staged yet, with one request for consecutive items.
    pub(super) fn stage<S: Supply>(
        &self,
        manifest: &Manifest,
        plan: &Plan,
        items: &mut Items<S>,
        received: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let mut syncs = Syncs::default();
        let missing: Vec<_> = plan.differing.iter().filter(|differing| !differing.is_complete).collect();
        for (index, differing) in missing.iter().enumerate() {
            let Some(line) = line_of(manifest, differing) else { continue };
            let behind = missing.get(index + 1..).unwrap_or_default();
            // A file that is partly staged begins a request of its own.
            let together = behind
                .iter()
                .zip(differing.item + 1..)
                .take_while(|(next, item)| next.item == *item && next.staged == 0)
                .filter_map(|(next, _)| line_of(manifest, next));
            let (count, length) = together
                .fold((0, 0_u64), |(count, length), line| (count + 1, length.saturating_add(line.size)));
            let want = Want {
                item: differing.item,
                size: line.size,
                offset: 0,
                last: differing.item + count,
                behind: length,
            };
            // Its folder may still be a file, which is removed before this file is put in place.
            let like = self.place(&Subject::File(line.path.clone()));
            let (name, called) = (differing.item.to_string(), line.path.as_str());
            let item = Item { name: &name, digest: line.digest, want, like: &like, called };
            syncs.add(self.fetch(items, &item, received)?)?;
        }
        // All items are complete, so the sender can go.
        items.reset();
        Ok(syncs.end()?)
    }

    /// Keeps a copy of each file that is replaced or removed, and returns the journal. Changes none of the device's
    /// files.
    pub(super) fn keep(
        &self,
        set: &OfferedSet,
        manifest: &Manifest,
        plan: &Plan,
    ) -> Result<Journal, Failure> {
        self.forget_last()?;
        let differing = plan.differing.iter().filter_map(|differing| {
            let line = line_of(manifest, differing)?;
            Some((differing.item as usize, line.path.clone()))
        });
        let gone = plan.gone.iter().cloned().zip(manifest.lines().len() + 1..);
        let subjects = std::iter::once((0, Subject::Manifest, false))
            .chain(differing.map(|(number, path)| (number, Subject::File(path), false)))
            .chain(gone.map(|(path, number)| (number, Subject::File(path), true)));
        let number = manifest.lines().len() + plan.gone.len() + 1;
        let is_left = !plan.left.is_empty();
        if is_left {
            self.write(&number.to_string(), listed(&plan.left).as_bytes())?;
        }
        let subjects = subjects.chain([(number, Subject::Left, !is_left)]);
        let trial = set.terms.trial.or_else(|| Trial::new(TRIAL));
        let trial = trial.ok_or_else(|| Failure::new(Reason::BadOffer, "the trial has no boots"))?;
        let mut syncs = Syncs::default();
        let mut journal = Journal { digest: set.digest, trial, lines: Vec::new() };
        for (number, subject, is_gone) in subjects {
            let place = self.place(&subject);
            // A folder in this place makes room.
            let kind = match (place.symlink_metadata().is_ok_and(|there| !there.is_dir()), is_gone) {
                (false, true) => continue,
                (false, false) => Kind::New,
                (true, true) => Kind::Gone,
                (true, false) => Kind::Replaced,
            };
            let line = JournalLine { kind, number, subject };
            if kind != Kind::New {
                syncs.add(self.copy(&place, &line.copy())?)?;
            }
            journal.lines.push(line);
        }
        syncs.end()?;
        Ok(journal)
    }

    /// Commits a set with one rename. After it the set will be put in place even if the power is cut.
    fn commit(&self, journal: &Journal) -> Result<(), Failure> {
        self.write(name::PLAN, journal.to_string().as_bytes())?;
        self.sync()?;
        Ok(self.rename(name::PLAN, name::COMMIT)?)
    }
}

fn line_of<'a>(manifest: &'a Manifest, differing: &Differing) -> Option<&'a ManifestLine> {
    manifest.lines().get((differing.item as usize).checked_sub(1)?)
}

/// Returns the list of files that earlier sets have left, as text.
fn listed(left: &[DevicePath]) -> String {
    left.iter().map(|path| format!("{path}\n")).collect()
}

fn changes(manifest: &Manifest, plan: &Plan) -> Changes {
    let lines = plan.differing.iter().filter_map(|differing| line_of(manifest, differing));
    Changes {
        files: plan.differing.len(),
        deleted: plan.gone.len(),
        bytes: lines.fold(0, |bytes, line| bytes.saturating_add(line.size)),
    }
}
