use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Number of paths that are told apart.
const MOST: usize = 256;

/// Time without rest after which a region is scanned in any case, and whole files in it count.
pub(super) const RESTLESS: Duration = Duration::from_secs(30);

/// Time for which nothing must have changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::keeper) struct Quiet {
    /// Time after a single file was closed.
    pub(in crate::keeper) one: Duration,
    /// Time after any other change: programs that write many files pause in between.
    pub(in crate::keeper) more: Duration,
}

/// Folder in which something was heard of.
#[derive(Debug)]
pub(super) struct Region {
    first: Instant,
    last: Instant,
    /// Time for which the region has to be quiet.
    pub(super) quiet: Duration,
    /// Paths that were heard of, each with the time of its last event.
    pub(super) paths: BTreeMap<PathBuf, Instant>,
    /// True if there were too many paths to be told apart.
    pub(super) is_many: bool,
    /// True if not every event was reported.
    pub(super) is_unsure: bool,
    /// True if the region does not come to rest, and is scanned as it is.
    pub(super) is_restless: bool,
    stage: Stage,
    looked_at: Option<Instant>,
}

/// Scan of the region since it moved last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nobody,
    /// Scanned ahead of its rest, so that its contents are known by then.
    Ahead,
    /// Scanned at rest.
    AtRest,
}

impl Region {
    pub(super) fn new(quiet: Duration, now: Instant) -> Self {
        Self {
            first: now,
            last: now,
            quiet,
            paths: BTreeMap::new(),
            is_many: false,
            is_unsure: false,
            is_restless: false,
            stage: Stage::Nobody,
            looked_at: None,
        }
    }

    pub(super) fn stir(&mut self, path: Option<PathBuf>, now: Instant) {
        (self.last, self.stage) = (now, Stage::Nobody);
        self.paths.extend(path.map(|path| (path, now)));
        if self.paths.len() > MOST {
            self.paths.clear();
            self.is_many = true;
        }
    }

    /// Returns the time for which the region has to be quiet. `is_whole`: the event has left a whole file.
    pub(super) fn quiet_of(&self, quiet: Quiet, is_whole: bool) -> Duration {
        let is_one = !self.is_many && self.paths.keys().filter(|path| !is_hidden(path)).count() <= 1;
        if is_whole && is_one { quiet.one } else { quiet.more }
    }

    /// Returns when to scan. A region with an open file is scanned early, to see whether that matters, and again when
    /// it is quiet.
    pub(super) fn look_at(&self, quiet: Quiet, has_open: bool) -> Option<Instant> {
        let rest_at = self.last + self.quiet;
        let restless_at = self.first + RESTLESS;
        match self.stage {
            Stage::AtRest => None,
            Stage::Nobody if has_open => {
                let early = self.looked_at.is_none().then_some(self.first + quiet.more);
                Some(rest_at.min(early.unwrap_or(restless_at)))
            }
            Stage::Nobody => Some(restless_at.min(self.last + self.quiet / 2)),
            Stage::Ahead => Some(restless_at.min(rest_at)),
        }
    }

    pub(super) fn looking(&mut self, now: Instant) {
        self.looked_at = Some(now);
        if self.last + self.quiet <= now {
            self.stage = Stage::AtRest;
        } else if self.last + self.quiet / 2 <= now {
            self.stage = Stage::Ahead;
        }
        if self.first + RESTLESS <= now && self.stage != Stage::AtRest {
            (self.is_restless, self.first) = (true, now);
        }
    }

    /// Returns true if the region has changed since a scan began, or is not at rest now.
    pub(super) fn is_moving(&self, began: Instant, now: Instant) -> bool {
        !self.is_restless && (self.last > began || now < self.last + self.quiet)
    }

    /// Returns the paths that are not at rest now.
    pub(super) fn moving(&self, now: Instant) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().filter(move |(_, last)| now < **last + self.quiet).map(|(path, _)| path)
    }

    /// Returns true if an event concerns a place.
    pub(super) fn has(&self, place: &Path) -> bool {
        self.is_many
            || place.ancestors().any(|above| self.paths.contains_key(above))
            || self.paths.range(place.to_owned()..).next().is_some_and(|(path, _)| path.starts_with(place))
    }
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
