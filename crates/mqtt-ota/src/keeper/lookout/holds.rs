use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::keeper::error::chain;
use crate::keeper::folders::FolderError;
use crate::keeper::rest::Quiet;

/// Time after which it is logged that a place is held, and why.
const SAID: Duration = Duration::from_secs(60);
/// Time after which it is logged that git has left something that somebody has to end.
const SAID_OF_GIT: Duration = Duration::from_secs(2);
/// Time for which held places are scanned as often as possible, and the interval after that.
const EAGER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_secs(1);

/// Places that do not count.
#[derive(Debug, Default)]
pub(super) struct Holds {
    places: BTreeMap<PathBuf, Hold>,
    /// True if the logged holds have changed since [`Holds::take_said`].
    is_news: bool,
}

#[derive(Debug)]
struct Hold {
    since: Instant,
    why: Arc<FolderError>,
    is_said: bool,
}

impl Holds {
    /// Takes the holds of a scan. Returns when to scan again, as nothing reports the end of a hold.
    pub(super) fn update(
        &mut self,
        held: &HashMap<PathBuf, Arc<FolderError>>,
        quiet: Quiet,
        now: Instant,
    ) -> Option<Instant> {
        let is_news = &mut self.is_news;
        self.places.retain(|place, hold| {
            let is_held = held.contains_key(place);
            if !is_held && hold.is_said {
                *is_news = true;
                tracing::info!("{} is no longer held back", place.display());
            }
            is_held
        });
        let mut next = None;
        for (place, why) in held {
            let new = || Hold { since: now, why: Arc::clone(why), is_said: false };
            let hold = self.places.entry(place.clone()).or_insert_with(new);
            self.is_news |= hold.is_said && chain(hold.why.as_ref()) != chain(why.as_ref());
            hold.why = Arc::clone(why);
            let age = now.saturating_duration_since(hold.since);
            let said = if why.is_for_somebody_to_end() { SAID_OF_GIT } else { SAID };
            if age >= said && !hold.is_said {
                hold.is_said = true;
                self.is_news = true;
                tracing::warn!("nothing new is sent from {}: {}", place.display(), chain(why.as_ref()));
            }
            let pause = match why.as_ref() {
                // The system reports writes there.
                FolderError::Unsteady { .. } => SAID.saturating_sub(age).max(POLL),
                _ if age < EAGER => quiet.more,
                _ => POLL.max(quiet.more),
            };
            next = next.into_iter().chain([now + pause]).min();
        }
        next
    }

    /// Returns the places in which somebody has a file open. They are scanned again whether or not anything is reported
    /// of them.
    pub(super) fn doubted(&self) -> impl Iterator<Item = &PathBuf> {
        let is_open = |hold: &Hold| matches!(*hold.why, FolderError::Open { .. });
        self.places.iter().filter(move |(_, hold)| is_open(hold)).map(|(place, _)| place)
    }

    /// Returns the places that have been held for so long that it was logged, and the reasons. `None` where nothing has
    /// changed since the last call.
    pub(super) fn take_said(&mut self) -> Option<HashMap<PathBuf, Arc<FolderError>>> {
        let said = self.places.iter().filter(|(_, hold)| hold.is_said);
        take(&mut self.is_news)
            .then(|| said.map(|(place, hold)| (place.clone(), Arc::clone(&hold.why))).collect())
    }
}
