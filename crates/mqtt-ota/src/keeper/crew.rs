//! What the keeper at work leaves to those that stand by. No clock and no socket.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Delivered;
use super::duty::Ended;
use super::word::Word;
use crate::wire::{DeviceName, Digest};

/// How long a keeper must have been silent before it is taken to be gone, and its tasks are done by others.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a task may wait for one that takes it: the broker keeps it no longer than that.
pub(super) const TAKEN: Duration = Duration::from_secs(5);
/// How long nothing is left to others after one of them did not take a task: its folder may be a moment behind. Each
/// further one in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The other keepers of this name, and what they do. The broker chooses which of them gets a task.
#[derive(Debug, Default)]
pub(super) struct Crew {
    hands: HashMap<String, Hand>,
    tasks: HashMap<DeviceName, Handed>,
    /// Nothing is left to others before then, after a pause of this length.
    pause: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Hand {
    places: usize,
    heard: Instant,
}

#[derive(Debug)]
struct Handed {
    set: Digest,
    at: Instant,
    /// Who took it.
    by: Option<String>,
}

impl Crew {
    /// How many more tasks there may be.
    pub(super) fn room(&self, now: Instant) -> usize {
        if self.pause.is_some_and(|(until, _)| now < until) {
            return 0;
        }
        let places = self.hands.values().filter(|hand| now < hand.heard + SILENCE).map(|hand| hand.places);
        places.fold(0, usize::saturating_add).saturating_sub(self.tasks.len())
    }

    /// A task is published.
    pub(super) fn hand(&mut self, device: DeviceName, set: Digest, now: Instant) {
        self.tasks.insert(device, Handed { set, at: now, by: None });
    }

    /// Hears what one of them says; yields what became of a task.
    pub(super) fn hear(&mut self, word: Word, now: Instant) -> Option<(DeviceName, Delivered)> {
        match word {
            Word::Here { keeper, places } => drop(self.hands.insert(keeper, Hand { places, heard: now })),
            Word::Gone { keeper } => {
                if let Some(hand) = self.hands.get_mut(&keeper) {
                    // What it had is over at once.
                    (hand.places, hand.heard) = (0, now.checked_sub(SILENCE).unwrap_or(now));
                }
            }
            Word::Took { keeper, set, device } => {
                if let Some(task) = self.tasks.get_mut(&device).filter(|task| task.set == set) {
                    task.by = Some(keeper);
                    self.pause = None;
                }
            }
            Word::Done { keeper, set, position, result, device } => {
                let is_its =
                    |task: &&Handed| task.set == set && task.by.as_ref().is_none_or(|by| *by == keeper);
                self.tasks.get(&device).filter(is_its)?;
                let task = self.tasks.remove(&device)?;
                if task.by.is_none() && result == Ended::GaveWay {
                    self.declined(now);
                }
                return Some((device, Delivered::of(set, result, position)));
            }
        }
        None
    }

    /// A task that nobody does, or nobody that is heard.
    pub(super) fn take_lost(&mut self, now: Instant) -> Option<(DeviceName, Delivered)> {
        let device = self.tasks.iter().find(|(_, task)| self.ends(task) <= now)?.0.clone();
        let task = self.tasks.remove(&device)?;
        match task.by {
            Some(taker) => drop(self.hands.remove(&taker)),
            None => self.declined(now),
        }
        Some((device, Delivered::of(task.set, Ended::GaveWay, 0)))
    }

    /// When to call [`Crew::take_lost`] next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.tasks.values().map(|task| self.ends(task)).min()
    }

    /// Another keeper is at work, or nobody is heard: yields all the tasks, which are lost to this one.
    pub(super) fn disband(&mut self) -> Vec<(DeviceName, Delivered)> {
        let Self { tasks, .. } = std::mem::take(self);
        let lost = |(device, task): (_, Handed)| (device, Delivered::of(task.set, Ended::GaveWay, 0));
        tasks.into_iter().map(lost).collect()
    }

    fn declined(&mut self, now: Instant) {
        let pause = self.pause.map_or(FIRST_PAUSE, |(_, pause)| LONGEST_PAUSE.min(2 * pause));
        self.pause = Some((now + pause, pause));
    }

    fn ends(&self, task: &Handed) -> Instant {
        match &task.by {
            None => task.at + TAKEN,
            Some(taker) => self.hands.get(taker).map_or(task.at, |hand| hand.heard + SILENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;

    fn lamp() -> DeviceName {
        "LAMP".parse().unwrap()
    }

    fn set() -> Digest {
        Digest::of(Algorithm::Sha256, b"")
    }

    fn here(keeper: &str, places: usize) -> Word {
        Word::Here { keeper: keeper.to_owned(), places }
    }

    fn took(keeper: &str) -> Word {
        Word::Took { keeper: keeper.to_owned(), set: set(), device: lamp() }
    }

    fn done(keeper: &str, result: Ended) -> Word {
        Word::Done { keeper: keeper.to_owned(), set: set(), position: 7, result, device: lamp() }
    }

    #[tokio::test(start_paused = true)]
    async fn as_much_is_left_to_others_as_they_have_places_for() {
        let (mut crew, now) = (Crew::default(), Instant::now());
        assert_eq!(crew.room(now), 0);
        crew.hear(here("a", 2), now);
        crew.hear(here("b", 1), now + SILENCE / 2);
        assert_eq!(crew.room(now + SILENCE / 2), 3);
        crew.hand(lamp(), set(), now);
        assert_eq!(crew.room(now + SILENCE / 2), 2);
        assert_eq!(crew.room(now + SILENCE), 0, "one is silent, and the other has something");
        crew.hear(took("b"), now);
        let (device, delivered) = crew.hear(done("b", Ended::Installed), now).unwrap();
        assert_eq!((device, delivered.position, delivered.end.result), (lamp(), 7, Ended::Installed));
        assert_eq!((crew.room(now), crew.next()), (3, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_comes_back_and_nothing_is_left_to_others_for_a_while() {
        let (mut crew, now) = (Crew::default(), Instant::now());
        crew.hear(here("a", 1), now);
        crew.hand(lamp(), set(), now);
        assert_eq!(crew.next(), Some(now + TAKEN));
        assert!(crew.take_lost(now).is_none());
        let (_, delivered) = crew.take_lost(now + TAKEN).unwrap();
        assert_eq!(delivered.end.result, Ended::GaveWay);
        let mut now = now + TAKEN;
        assert_eq!((crew.room(now), crew.room(now + FIRST_PAUSE)), (0, 1));
        // Nor where nobody wants it, and then for ever longer.
        for pause in [2, 4, 8, 16, 32, 50, 50].map(|times| times * FIRST_PAUSE) {
            now += LONGEST_PAUSE;
            crew.hear(here("a", 1), now);
            crew.hand(lamp(), set(), now);
            assert_eq!(crew.hear(done("a", Ended::GaveWay), now).unwrap().1.end.result, Ended::GaveWay);
            let just_before = pause - Duration::from_millis(1);
            assert_eq!((crew.room(now + just_before), crew.room(now + pause)), (0, 1));
        }
        now += LONGEST_PAUSE;
        crew.hand(lamp(), set(), now);
        crew.hear(took("a"), now);
        crew.hear(done("a", Ended::GaveWay), now);
        assert_eq!(crew.room(now), 1, "it was taken, and what ended it is another matter");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_keeper_had_that_is_gone_comes_back() {
        for is_said in [true, false] {
            let (mut crew, now) = (Crew::default(), Instant::now() + SILENCE);
            crew.hear(here("a", 1), now);
            crew.hand(lamp(), set(), now);
            crew.hear(took("a"), now);
            let mut gone = now + SILENCE;
            if is_said {
                crew.hear(Word::Gone { keeper: "a".to_owned() }, now);
                gone = now;
            }
            assert_eq!(crew.next(), Some(gone));
            assert_eq!(crew.take_lost(gone).unwrap().1.end.result, Ended::GaveWay);
            assert_eq!(crew.room(gone), 0);
            // What it says later is of no task.
            assert!(crew.hear(done("a", Ended::Installed), gone).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_took_a_task_can_say_that_it_is_done() {
        let (mut crew, now) = (Crew::default(), Instant::now());
        crew.hear(here("a", 1), now);
        crew.hear(here("b", 1), now);
        crew.hand(lamp(), set(), now);
        crew.hear(took("b"), now);
        assert!(crew.hear(done("a", Ended::Installed), now).is_none());
        assert!(crew.hear(done("b", Ended::Installed), now).is_some());
    }
}
