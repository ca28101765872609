use super::standing::Standing;

/// Who may be given files now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Everybody.
    Open,
    /// Those that go first.
    Canaries,
    /// Nobody.
    Closed(Closed),
}

/// Why nobody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is not the time of the day.
    Window,
    /// A device that goes first does not work with its files.
    Canary,
    /// Too many others do not.
    Failures,
}

impl Gate {
    /// `canaries`: how those stand that go first. `failures`: how many devices are left alone, or have taken
    /// their set back; `allowed`: how many may, if any number may not.
    pub(super) fn new(
        is_time: bool,
        canaries: impl IntoIterator<Item = Standing>,
        failures: usize,
        allowed: Option<usize>,
    ) -> Self {
        if !is_time {
            return Self::Closed(Closed::Window);
        }
        if allowed.is_some_and(|allowed| failures >= allowed) {
            return Self::Closed(Closed::Failures);
        }
        let mut gate = Self::Open;
        for canary in canaries {
            match canary {
                Standing::InStep | Standing::Nothing | Standing::Held => {}
                Standing::LeftAlone { .. } | Standing::RolledBack { .. } => {
                    return Self::Closed(Closed::Canary);
                }
                _ => gate = Self::Canaries,
            }
        }
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> String {
        String::new()
    }

    #[test]
    fn the_others_wait_until_all_canaries_have_confirmed() {
        let gate = |canaries: &[Standing]| Gate::new(true, canaries.iter().cloned(), 0, None);
        assert_eq!(gate(&[]), Gate::Open);
        assert_eq!(gate(&[Standing::InStep, Standing::Nothing]), Gate::Open);
        let waiting = [
            Standing::Unknown,
            Standing::Pending,
            Standing::Receiving,
            Standing::Rebooting,
            Standing::Asleep,
        ];
        for standing in waiting.into_iter().chain([Standing::Failing { why: why() }]) {
            assert_eq!(gate(&[Standing::InStep, standing.clone()]), Gate::Canaries, "{standing:?}");
        }
        for standing in [Standing::LeftAlone { why: why() }, Standing::RolledBack { why: why() }] {
            assert_eq!(gate(&[Standing::Pending, standing]), Gate::Closed(Closed::Canary));
        }
    }

    #[test]
    fn the_rollout_stops_after_so_many_failures_and_outside_its_hours() {
        assert_eq!(Gate::new(true, [], 2, Some(3)), Gate::Open);
        assert_eq!(Gate::new(true, [], 3, Some(3)), Gate::Closed(Closed::Failures));
        assert_eq!(Gate::new(true, [], 300, None), Gate::Open);
        assert_eq!(Gate::new(false, [], 3, Some(3)), Gate::Closed(Closed::Window));
    }
}
