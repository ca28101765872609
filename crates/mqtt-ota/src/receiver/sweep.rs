use std::collections::HashSet;
use std::io;

use super::disk::Disk;
use super::journal::Kind;
use super::store::{Store, name};
use crate::wire::Manifest;

impl<D: Disk> Store<D> {
    /// Removes files in the client's folder that no journal and no manifest refers to. Files with names that the
    /// client does not use are left alone.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let copies = self.copies()?;
        let staged = self.staged()?;
        for entry in std::fs::read_dir(self.folder())? {
            let Ok(called) = entry?.file_name().into_string() else { continue };
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let is_needed = match called.as_str() {
                name::PLAN => false,
                name::BOOTS => self.there(name::TRIAL),
                name::ERROR => self.there(name::TRIAL) || self.there(name::BACK),
                name::WAS => !self.there(name::SET),
                name::LEFT_NEXT => false,
                name::PART | name::PART_OF => self.there(name::PART) && self.there(name::PART_OF),
                number if is_number(number) => {
                    number.parse().is_ok_and(|number: usize| staged.is_some_and(|lines| number <= lines))
                }
                copy if copy.strip_prefix('k').is_some_and(is_number) => copies.contains(copy),
                _ => true,
            };
            if !is_needed {
                self.forget(&called)?;
            }
        }
        Ok(())
    }

    /// Returns the names of the copies that a journal may put back.
    fn copies(&self) -> io::Result<HashSet<String>> {
        let mut copies = HashSet::new();
        for journal in [name::COMMIT, name::TRIAL, name::LAST, name::UNDO] {
            let lines = self.journal(journal)?.into_iter().flat_map(|journal| journal.lines);
            copies.extend(lines.filter(|line| line.kind != Kind::New).map(|line| line.copy()));
        }
        Ok(copies)
    }

    /// Returns the number of files that may be staged for the manifest in the client's folder. `None` without a
    /// manifest.
    fn staged(&self) -> io::Result<Option<usize>> {
        let manifest = self.read(name::MANIFEST)?.and_then(|bytes| Manifest::parse(&bytes).ok());
        Ok(manifest.map(|manifest| manifest.lines().len()))
    }
}
