use super::standing::Standing;

/// Set of devices that may be given files now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Every device.
    Open,
    /// Only the canaries: the devices that go first.
    Canaries,
    /// No device.
    Closed(Closed),
}

/// Reason why no device may be given files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    /// Time outside the window.
    Window,
    /// Canary that does not work with its files.
    Canary,
    /// Too many failed devices.
    Failures,
}

impl Gate {
    /// Computes the gate. `canaries`: the standings of the devices that go first. `failures`: the number of devices
    /// that are left alone or have taken their set back. `allowed`: the number of failures at which the gate closes.
    /// `None`: no limit.
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
