use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// How many paths are told apart.
const MOST: usize = 256;

/// After so long without rest it is looked at all the same, and what is whole counts.
pub(super) const RESTLESS: Duration = Duration::from_secs(30);

/// How long nothing must have changed.
#[derive(Debug, Clone, Copy)]
pub(in crate::keeper) struct Quiet {
    /// After one file was closed.
    pub(in crate::keeper) one: Duration,
    /// After anything else: programs that write many files pause in between.
    pub(in crate::keeper) more: Duration,
}

/// A folder in which something was heard of.
#[derive(Debug)]
pub(super) struct Region {
    first: Instant,
    last: Instant,
    /// How long it has to be quiet.
    pub(super) quiet: Duration,
    /// What was heard of, and when last.
    pub(super) paths: BTreeMap<PathBuf, Instant>,
    /// That is too much to be told apart.
    pub(super) is_many: bool,
    /// Not all was told that has happened.
    pub(super) is_unsure: bool,
    /// It does not come to rest, and is looked at as it is.
    pub(super) is_restless: bool,
    stage: Stage,
    looked_at: Option<Instant>,
}

/// What has looked at it since it moved last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nobody,
    /// A look ahead of its rest, so that it is known by then what it came to.
    Ahead,
    /// One at rest.
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

    /// How long it has to be quiet, after what was whole, or may not be.
    pub(super) fn quiet_of(&self, quiet: Quiet, is_whole: bool) -> Duration {
        let is_one = !self.is_many && self.paths.keys().filter(|path| !is_hidden(path)).count() <= 1;
        if is_whole && is_one { quiet.one } else { quiet.more }
    }

    /// When to look. While a file is open it is looked at once to see whether that matters, and then when it is quiet.
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

    /// Whether it was not at rest when a look began, or is not now.
    pub(super) fn is_moving(&self, began: Instant, now: Instant) -> bool {
        !self.is_restless && (self.last > began || now < self.last + self.quiet)
    }

    /// The files that it moves with.
    pub(super) fn moving(&self, now: Instant) -> impl Iterator<Item = &PathBuf> {
        self.paths.iter().filter(move |(_, last)| now < **last + self.quiet).map(|(path, _)| path)
    }

    /// Whether what was heard has to do with a place.
    pub(super) fn has(&self, place: &Path) -> bool {
        self.is_many
            || place.ancestors().any(|above| self.paths.contains_key(above))
            || self.paths.range(place.to_owned()..).next().is_some_and(|(path, _)| path.starts_with(place))
    }
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
