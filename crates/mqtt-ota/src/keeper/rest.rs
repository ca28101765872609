//! Detection of the time when written files have come to rest, as far as the system reports it.
//!
//! No clock, no file and no watcher: given the events and their times, it says when to scan and what of a scan may
//! count.

mod region;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::region::Quiet;
use self::region::{Region, is_hidden};
pub(super) use self::told::Told;
use super::settings::SETTINGS_FILE;
use super::touched::Touched;
use crate::set::IGNORE_FILE;

/// Time for which a file that is never sent, and that becomes another one by a rename, holds its folder up.
const TEMPORARY: Duration = Duration::from_secs(60);
/// Limit of the files that are known to be open, and of those that are known to be irrelevant.
const MOST: usize = 4096;

/// Events that no scan has settled yet.
#[derive(Debug)]
pub(super) struct Rest {
    quiet: Quiet,
    /// Watched folders. The folder with the devices' folders comes first.
    bases: Vec<PathBuf>,
    /// Folders in the first base that are scanned although their names begin with a dot.
    hidden: BTreeSet<PathBuf>,
    /// Regions in which something was heard of.
    regions: BTreeMap<PathBuf, Region>,
    /// Files that were created or written to, and not closed since.
    unclosed: BTreeMap<PathBuf, Unclosed>,
    /// Files that exist and are not sent.
    unsent: BTreeSet<PathBuf>,
    touched: Touched,
}

/// File that somebody has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// True if the file was written to, and not only created.
    pub(super) is_written: bool,
    /// Time of the last event.
    last: Instant,
}

/// Judgement of what a scan has found in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Written to only now.
    Moving,
    /// Fully reported by the system, and over.
    Still,
    /// Not reported.
    Untold,
}

impl Rest {
    pub(super) fn of(root: PathBuf, quiet: Quiet) -> Self {
        Self {
            quiet,
            bases: vec![root],
            hidden: BTreeSet::new(),
            regions: BTreeMap::new(),
            unclosed: BTreeMap::new(),
            unsent: BTreeSet::new(),
            touched: Touched::All,
        }
    }

    /// Watches over these places. `outside`: those outside the root.
    pub(super) fn follow<'a, 'b>(
        &mut self,
        outside: impl Iterator<Item = &'a PathBuf>,
        inside: impl Iterator<Item = &'b Path>,
    ) {
        self.bases.truncate(1);
        self.bases.extend(outside.cloned());
        self.hidden = inside.map(|place| self.region(place)).filter(|place| is_hidden(place)).collect();
    }

    /// Takes an event of the system.
    pub(super) fn hear(&mut self, told: &Told, now: Instant) {
        if matches!(told, Told::Anything) {
            self.doubt();
            let root = self.bases.first().cloned().unwrap_or_default();
            self.stir(root.clone(), Some(root), false, now);
            return;
        }
        if told.paths().all(|path| self.is_nothing(path)) {
            return;
        }
        self.note(told, now);
        for path in told.paths().filter(|path| !self.is_nothing(path)).cloned().collect::<Vec<_>>() {
            if path.file_name().is_some_and(|name| name == IGNORE_FILE || name == SETTINGS_FILE) {
                self.unsent.clear();
            }
            self.touched.add(std::slice::from_ref(&path));
            self.stir(self.region(&path), Some(path), told.is_whole(), now);
        }
        if let Told::Arrived(path) = told
            && let Some(region) = self.regions.get_mut(&self.region(path))
        {
            region.is_unsure = true;
        }
        if let Told::Moved { from, to } = told
            && from.parent() == to.parent()
            && let Some(region) = self.regions.get_mut(&self.region(from))
        {
            region.paths.remove(from);
            region.quiet = region.quiet_of(self.quiet, true);
        }
    }

    /// Takes note of lost events: any file may be open, and anything may have changed.
    pub(super) fn lose(&mut self) {
        self.unclosed.clear();
        self.doubt();
        self.regions.values_mut().for_each(|region| region.is_unsure = true);
    }

    /// Takes note that anything may have changed until now.
    pub(super) fn doubt(&mut self) {
        self.touched = Touched::All;
    }

    /// Takes note that this path may have changed as well.
    pub(super) fn touch(&mut self, path: PathBuf) {
        self.touched.add(&[path]);
    }

    /// Returns when to scan next, if nothing more is heard.
    pub(super) fn next(&self) -> Option<Instant> {
        self.regions
            .iter()
            .filter_map(|(place, region)| region.look_at(self.quiet, self.has_open(place)))
            .min()
    }

    /// Takes note that a scan begins. Returns the paths that it has to read again.
    pub(super) fn looking(&mut self, now: Instant) -> Touched {
        self.regions.values_mut().for_each(|region| region.looking(now));
        self.touched.take()
    }

    /// Returns the files that somebody has open.
    pub(super) fn unclosed(&self, now: Instant) -> Vec<(PathBuf, Unclosed)> {
        // A file that was created and never written may have been closed without an event, as by a process that only
        // reads.
        let is_over = |path: &Path, open: &Unclosed| {
            (is_temporary(path) || !open.is_written) && open.last + TEMPORARY <= now
        };
        let open = self.unclosed.iter().filter(|(path, open)| !is_over(path, open));
        open.map(|(path, open)| (path.clone(), *open)).collect()
    }

    /// Returns the settings files that are being written.
    pub(super) fn settings(&self, now: Instant) -> BTreeSet<PathBuf> {
        let is_settings = |path: &&PathBuf| path.file_name().is_some_and(|name| name == SETTINGS_FILE);
        let moving = self.regions.values().flat_map(|region| region.moving(now));
        moving.chain(self.unclosed.keys()).filter(is_settings).cloned().collect()
    }

    /// Takes the findings of a scan about files that were reported: those that are not sent, and those that are gone.
    pub(super) fn sorted(&mut self, unsent: &BTreeSet<PathBuf>, gone: &BTreeSet<PathBuf>) {
        self.unclosed.retain(|path, _| !unsent.contains(path) && !gone.contains(path));
        if self.unsent.len() + unsent.len() > MOST {
            self.unsent.clear();
        }
        self.unsent.extend(unsent.iter().take(MOST).cloned());
        for region in self.regions.values_mut() {
            region.paths.retain(|path, _| !unsent.contains(path));
        }
        self.regions.retain(|_, region| region.is_many || !region.paths.is_empty());
    }

    /// Returns the verdict on a place in a scan that began at `began`. `real`: the real path of the place.
    pub(super) fn verdict(&self, place: &Path, real: &Path, began: Instant, now: Instant) -> Verdict {
        let mut verdict = Verdict::Untold;
        let is_open = |open: &Unclosed| open.last >= began;
        for place in [place, real] {
            let mut unclosed = self.unclosed_in(place);
            if unclosed.any(|(_, open)| is_open(open)) {
                return Verdict::Moving;
            }
            for region in self.around(place) {
                if !region.has(place) {
                    continue;
                }
                // A region that does not come to rest counts as it is, unless somebody has begun to write meanwhile.
                let is_open = region.is_restless && self.unclosed_in(place).next().is_some();
                if is_open || region.is_moving(began, now) {
                    return Verdict::Moving;
                }
                verdict = match (verdict, region.is_unsure) {
                    (Verdict::Moving, _) | (_, true) => return Verdict::Untold,
                    (Verdict::Untold | Verdict::Still, false) => Verdict::Still,
                };
            }
        }
        verdict
    }

    /// Returns true if anything is moving.
    pub(super) fn is_moving(&self, began: Instant, now: Instant) -> bool {
        self.regions.values().any(|region| region.is_moving(began, now))
    }

    /// Settles what a scan that began at `began` has found, except for what moves.
    pub(super) fn seen(&mut self, began: Instant, now: Instant) {
        self.regions.retain(|_, region| {
            let is_moving = region.is_moving(began, now);
            region.is_restless = false;
            is_moving
        });
    }

    /// Takes note of an event in a region.
    fn stir(&mut self, place: PathBuf, path: Option<PathBuf>, is_whole: bool, now: Instant) {
        let quiet = self.quiet;
        let region = self.regions.entry(place).or_insert_with(|| Region::new(quiet.more, now));
        region.stir(path, now);
        region.quiet = region.quiet_of(quiet, is_whole);
    }

    /// Notes which files are open.
    fn note(&mut self, told: &Told, now: Instant) {
        match told {
            Told::Created(path) => {
                self.unclosed.entry(path.clone()).or_insert(Unclosed { is_written: false, last: now });
            }
            Told::Written(path) => {
                self.unclosed.insert(path.clone(), Unclosed { is_written: true, last: now });
            }
            Told::Closed(path) => drop(self.unclosed.remove(path)),
            Told::Gone(path) => self.forget(path),
            Told::Moved { from, to } => {
                self.forget(to);
                let moved: Vec<_> =
                    self.unclosed_in(from).map(|(path, open)| (path.clone(), *open)).collect();
                for (path, open) in moved {
                    self.unclosed.remove(&path);
                    let path = path.strip_prefix(from).map_or_else(|_| to.clone(), |rest| join(to, rest));
                    self.unclosed.insert(path, open);
                }
            }
            Told::Arrived(_) | Told::Other(_) | Told::Anything => {}
        }
        // So many files opened at once are not told apart.
        if self.unclosed.len() > MOST {
            self.lose();
        }
    }

    fn forget(&mut self, path: &Path) {
        let gone: Vec<_> = self.unclosed_in(path).map(|(path, _)| path.clone()).collect();
        self.unclosed.retain(|path, _| !gone.contains(path));
    }

    /// Returns the open files at this path and below it.
    fn unclosed_in<'a>(&'a self, place: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Unclosed)> {
        self.unclosed.range(place.to_owned()..).take_while(move |(path, _)| path.starts_with(place))
    }

    fn has_open(&self, region: &Path) -> bool {
        self.unclosed_in(region).next().is_some()
    }

    /// Returns the regions that a place is in, or that are in it.
    fn around<'a>(&'a self, place: &'a Path) -> impl Iterator<Item = &'a Region> {
        let above = place.ancestors().skip(1).filter_map(|above| self.regions.get(above));
        let below = self.regions.range(place.to_owned()..).take_while(move |(at, _)| at.starts_with(place));
        above.chain(below.map(|(_, region)| region))
    }

    /// Returns the region of a path, which rests or moves as a whole: a folder in the root, or a watched folder
    /// elsewhere.
    fn region(&self, path: &Path) -> PathBuf {
        let (root, others) = match self.bases.split_first() {
            Some((root, others)) => (root.as_path(), others),
            None => return path.to_owned(),
        };
        match path.strip_prefix(root) {
            Ok(rest) => {
                join(root, rest.components().next().as_ref().map_or(Path::new(""), |first| first.as_ref()))
            }
            Err(_) => {
                let base = others
                    .iter()
                    .filter(|base| path.starts_with(base))
                    .max_by_key(|base| base.as_os_str().len());
                base.map_or_else(|| path.to_owned(), Clone::clone)
            }
        }
    }

    /// Returns true if events at this path are irrelevant.
    fn is_nothing(&self, path: &Path) -> bool {
        if self.unsent.contains(path) {
            return true;
        }
        let region = self.region(path);
        let is_inside = self.bases.first().is_some_and(|root| path.starts_with(root));
        is_inside && is_hidden(&region) && !self.hidden.contains(&region)
    }
}

/// Joins two paths, without a slash at the end.
fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

/// Returns true if a file becomes another one by a rename once it is written, such as rsync's `.main.py.a1B2c3`.
pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_random = last.len() == 6 && last.iter().all(u8::is_ascii_alphanumeric);
    is_hidden(path)
        && last.len() < name.len() - 1
        && (is_random || matches!(last, b"tmp" | b"part" | b"partial"))
}

#[cfg(test)]
mod tests;
