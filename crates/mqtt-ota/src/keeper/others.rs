//! Keepers of other names that devices with a folder belong to, as far as they are at work. No clock and no socket.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::SILENCE;

/// Time that the broker may take to say that a keeper is at work.
const UNHEARD: Duration = Duration::from_secs(3);
/// Time of silence after which a keeper is taken to be gone. A standby of the same name takes over before.
const GONE: Duration = SILENCE.saturating_add(Duration::from_secs(5));
/// Time for which a broker that is away is waited for.
const AWAY: Duration = Duration::from_secs(3600);
/// Largest number of other keepers, as anybody can invent names.
const MOST: usize = 256;

/// Other keepers by name, each with the time at which it is gone unless it is heard before.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<String, Instant>);

/// Result of [`Others::meet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// Keeper that was known before, and is at work as far as is known.
    Known,
    /// Keeper that is new: the broker is to be asked whether it is at work.
    New,
    /// Keeper beyond the limit, which is ignored.
    TooMany,
}

impl Others {
    /// Takes note that a device belongs to this keeper.
    pub(super) fn meet(&mut self, name: &str, now: Instant) -> Met {
        if self.0.contains_key(name) {
            return Met::Known;
        }
        if self.0.len() >= MOST {
            return Met::TooMany;
        }
        self.0.insert(name.to_owned(), now + UNHEARD);
        Met::New
    }

    /// Takes note of whether a keeper is at work.
    pub(super) fn hear(&mut self, name: &str, is_at_work: bool, now: Instant) {
        if let Some(until) = self.0.get_mut(name) {
            *until = if is_at_work { now + GONE } else { now };
        }
    }

    /// Takes note that the connection to the broker is lost, so that no keeper can be heard.
    pub(super) fn lost(&mut self, now: Instant) {
        self.0.values_mut().for_each(|until| *until = now + AWAY);
    }

    /// Takes note that the connection to the broker is back.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.0.values_mut().for_each(|until| *until = now + GONE);
    }

    /// Returns when to call [`Others::take_gone`] next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Forgets a keeper that is gone, and returns its name.
    pub(super) fn take_gone(&mut self, now: Instant) -> Option<String> {
        let name = self.0.iter().find(|(_, until)| **until <= now)?.0.clone();
        self.0.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_gone_when_it_says_so_or_is_silent_for_longer_than_its_own_standby_waits() {
        let (mut others, now) = (Others::default(), Instant::now());
        assert_eq!(others.meet("a", now), Met::New);
        assert_eq!(others.meet("a", now), Met::Known);
        others.hear("a", true, now);
        assert_eq!(others.take_gone(now + SILENCE), None);
        assert_eq!(others.take_gone(now + GONE).as_deref(), Some("a"));
        others.meet("a", now);
        others.hear("a", false, now);
        assert_eq!(others.take_gone(now).as_deref(), Some("a"));
        others.meet("a", now);
        assert_eq!(others.take_gone(now + UNHEARD).as_deref(), Some("a"), "it was never heard");
        assert_eq!(others.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_gone_because_the_broker_is_away() {
        let (mut others, now) = (Others::default(), Instant::now());
        others.meet("a", now);
        others.hear("a", true, now);
        others.lost(now);
        assert_eq!(others.take_gone(now + 2 * GONE), None);
        others.reconnected(now + 2 * GONE);
        assert_eq!(others.take_gone(now + 2 * GONE + SILENCE), None);
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let (mut others, now) = (Others::default(), Instant::now());
        let met = (0..1000).map(|number| others.meet(&format!("keeper {number}"), now));
        assert_eq!(met.filter(|met| *met == Met::New).count(), MOST);
    }
}
