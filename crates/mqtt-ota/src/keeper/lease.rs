//! Agreement on which of the keepers of one folder is at work. No clock and no socket.

use std::time::Duration;

use tokio::time::Instant;

use super::role::Role;

/// Interval at which a keeper says that it is at work.
const BEAT: Duration = Duration::from_secs(5);
/// Time for which another keeper must have been silent before it is taken to be gone.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// Time for which a claim stands before it is acted upon. All keepers hear all claims in the same order, and the last
/// one counts.
const CLAIM: Duration = Duration::from_millis(300);
/// Number of times that a claim that did not come back is repeated, each time after twice the wait.
const DEAF: u32 = 5;
/// Time for which a broker that is away is waited for.
const AWAY: Duration = Duration::from_secs(3600);
/// Longest wait before a claim, so that two keepers that start together do not claim in the same moment.
const SCATTER: Duration = Duration::from_millis(100);

/// View that one keeper has of the retained message that says who is at work.
#[derive(Debug)]
pub(super) struct Lease {
    id: String,
    /// True if this keeper has held the lease before. A message of its home is then from a twin, and not left by a life
    /// that was killed.
    was_held: bool,
    /// Number of claims in a row that did not come back from the broker.
    unheard: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting: no claim before this time.
    Waiting { until: Instant },
    /// Standing by for another keeper, which is gone if it is not heard until this time.
    StandingBy { until: Instant },
    /// Claimed by this keeper. The outcome is known at this time.
    Claiming { until: Instant, is_ours: bool },
    /// Held by this keeper.
    Held { beat_at: Instant },
}

impl Lease {
    /// Creates the view of a keeper with this `id`, which has the form `HOME.LIFE`. The home is the same after a
    /// restart, the life is a new one.
    pub(super) fn new(id: String, now: Instant) -> Self {
        Self { id, was_held: false, unheard: 0, state: State::Waiting { until: now + scatter() } }
    }

    /// Returns true if this keeper is at work.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. })
    }

    /// Returns true if claims fail to come back again and again: the broker does not pass them on.
    pub(super) fn is_deaf(&self) -> bool {
        self.unheard >= DEAF
    }

    /// Returns whether this keeper is at work or standing by. `None` while that is not decided.
    pub(super) fn role(&self) -> Option<Role> {
        match self.state {
            State::Held { .. } => Some(Role::AtWork),
            State::StandingBy { .. } => Some(Role::StandingBy),
            State::Waiting { .. } | State::Claiming { .. } => None,
        }
    }

    /// Returns when to call [`Lease::tick`] next.
    pub(super) fn next(&self) -> Instant {
        match self.state {
            State::Waiting { until } | State::StandingBy { until } | State::Claiming { until, .. } => until,
            State::Held { beat_at } => beat_at,
        }
    }

    /// Takes the id of the keeper that is at work. An empty id means none.
    pub(super) fn hear(&mut self, holder: &str, now: Instant) {
        self.unheard = 0;
        if holder == self.id || self.is_former(holder) {
            match &mut self.state {
                State::Waiting { .. } | State::StandingBy { .. } => self.state = self.held(now),
                State::Claiming { .. } if holder != self.id => {}
                State::Claiming { is_ours, .. } => *is_ours = true,
                State::Held { .. } => {}
            }
        } else if holder.is_empty() {
            // Either another keeper has gone, or this is our own goodbye of before.
            if !self.is_held() {
                self.state = State::Waiting { until: now + scatter() };
            }
        } else {
            self.state = State::StandingBy { until: now + SILENCE };
        }
    }

    /// Returns true if this id was left by an earlier life of this keeper that was killed.
    fn is_former(&self, holder: &str) -> bool {
        let home = |id: &str| id.split_once('.').map(|(home, _)| home.to_owned());
        !self.was_held && home(holder).is_some() && home(holder) == home(&self.id)
    }

    fn held(&mut self, beat_at: Instant) -> State {
        self.was_held = true;
        State::Held { beat_at }
    }

    /// Takes note that the connection to the broker is lost. A claim made now would reach the broker late, after a
    /// claim of somebody else.
    pub(super) fn lost(&mut self, now: Instant) {
        self.unheard = 0;
        self.state = State::Waiting { until: now + AWAY };
    }

    /// Takes note that the connection to the broker is back. Others may have been at work meanwhile. Retained messages
    /// come next.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + CLAIM };
    }

    /// Advances to this time. Returns the text to be retained, if any.
    pub(super) fn tick(&mut self, now: Instant) -> Option<String> {
        if self.next() > now {
            return None;
        }
        match self.state {
            State::Claiming { is_ours: true, .. } => {
                self.state = self.held(now + BEAT);
                None
            }
            State::Waiting { .. } | State::StandingBy { .. } | State::Claiming { .. } => {
                let is_again = matches!(self.state, State::Claiming { .. });
                self.unheard = if is_again { self.unheard + 1 } else { 0 };
                let until = now + CLAIM * (1 << self.unheard.min(DEAF));
                self.state = State::Claiming { until, is_ours: false };
                Some(self.id.clone())
            }
            State::Held { .. } => {
                self.state = State::Held { beat_at: now + BEAT };
                Some(self.id.clone())
            }
        }
    }
}

fn scatter() -> Duration {
    SCATTER.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keepers at a broker that passes every message on to all, in order.
    struct House {
        now: Instant,
        keepers: Vec<Lease>,
        /// Message that the broker retains, for keepers that have not heard it yet.
        retained: String,
    }

    impl House {
        fn of(count: usize) -> Self {
            let now = Instant::now();
            let keepers = (0..count).map(|number| Lease::new(format!("keeper {number}"), now)).collect();
            Self { now, keepers, retained: String::new() }
        }

        fn pass(&mut self, time: Duration, alive: &[usize]) {
            let end = self.now + time;
            while self.now < end {
                self.now += Duration::from_millis(10);
                for index in alive {
                    if let Some(claim) = self.keepers[*index].tick(self.now) {
                        self.retained.clone_from(&claim);
                        alive.iter().for_each(|other| self.keepers[*other].hear(&claim, self.now));
                    }
                }
            }
        }

        fn at_work(&self, alive: &[usize]) -> Vec<usize> {
            alive.iter().copied().filter(|index| self.keepers[*index].is_held()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_keeper_is_at_work_in_less_than_half_a_second() {
        let mut house = House::of(1);
        house.pass(Duration::from_millis(450), &[0]);
        assert_eq!(house.at_work(&[0]), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_starts_again_is_at_work_at_once() {
        let mut house = House::of(1);
        house.keepers[0].hear("keeper 0", house.now);
        assert!(house.keepers[0].is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_one_is_at_work_and_another_after_it_has_gone() {
        let all = [0, 1, 2];
        let mut house = House::of(3);
        house.pass(Duration::from_secs(60), &all);
        let first = house.at_work(&all);
        assert_eq!(first.len(), 1);
        let rest: Vec<_> = all.into_iter().filter(|index| *index != first[0]).collect();
        house.pass(SILENCE / 2, &rest);
        assert_eq!(house.at_work(&rest), []);
        house.pass(SILENCE, &rest);
        assert_eq!(house.at_work(&rest).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_goodbye_is_followed_at_once() {
        let mut house = House::of(2);
        house.pass(Duration::from_secs(2), &[0]);
        house.keepers[1].hear("keeper 0", house.now);
        assert_eq!(house.keepers[1].role(), Some(Role::StandingBy));
        house.keepers[1].hear("", house.now);
        assert_eq!(house.keepers[1].role(), None);
        house.pass(Duration::from_millis(450), &[1]);
        assert_eq!(house.at_work(&[1]), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_away_stands_back_if_another_is_at_work_and_goes_on_if_not() {
        let mut house = House::of(1);
        house.pass(Duration::from_secs(2), &[0]);
        let lease = &mut house.keepers[0];
        lease.reconnected(house.now);
        assert!(!lease.is_held());
        lease.hear("keeper 0", house.now);
        assert!(lease.is_held());
        lease.reconnected(house.now);
        lease.hear("keeper 7", house.now);
        house.pass(SILENCE / 2, &[0]);
        assert_eq!(house.at_work(&[0]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_machines_that_are_called_the_same_one_is_at_work() {
        let now = Instant::now();
        let keepers = vec![Lease::new("home.1".to_owned(), now), Lease::new("home.2".to_owned(), now)];
        let mut house = House { now, keepers, retained: String::new() };
        house.pass(Duration::from_secs(2), &[0]);
        let retained = house.retained.clone();
        house.keepers[1].hear(&retained, house.now);
        assert!(house.keepers[1].is_held(), "it may be the same machine, after a kill");
        for _ in 0..10 {
            house.pass(Duration::from_secs(6), &[0, 1]);
            assert_eq!(house.at_work(&[0, 1]), [1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_cut_off_claims_nothing_until_it_is_back() {
        let mut house = House::of(1);
        house.pass(Duration::from_secs(2), &[0]);
        house.keepers[0].lost(house.now);
        house.retained.clear();
        house.pass(4 * SILENCE, &[0]);
        assert!(!house.keepers[0].is_held() && house.retained.is_empty());
        house.keepers[0].reconnected(house.now);
        house.pass(Duration::from_secs(1), &[0]);
        assert!(house.keepers[0].is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_hear_its_own_claims_is_deaf_after_a_few() {
        let mut lease = Lease::new("keeper 0".to_owned(), Instant::now());
        let (mut claims, start) = (0, Instant::now());
        while !lease.is_deaf() {
            let now = lease.next();
            claims += usize::from(lease.tick(now).is_some());
            assert!(!lease.is_held() && now < start + SILENCE);
        }
        assert_eq!(claims, 6);
        lease.hear("keeper 7", lease.next());
        assert!(!lease.is_deaf());
    }

    proptest! {
        #[test]
        fn property_there_are_never_two_for_longer_than_a_message_takes(
            steps in proptest::collection::vec((1_u64..20_000, 0_usize..8), 1..20)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _guard = runtime.enter();
            let mut house = House::of(3);
            for (time, subset) in steps {
                let alive: Vec<_> = (0..3).filter(|index| subset & (1 << index) != 0).collect();
                // A keeper that comes back hears what the broker retains.
                for index in &alive {
                    house.keepers[*index].reconnected(house.now);
                    let retained = house.retained.clone();
                    house.keepers[*index].hear(&retained, house.now);
                }
                house.pass(Duration::from_millis(time), &alive);
                prop_assert!(house.at_work(&alive).len() <= 1);
            }
        }
    }
}
