use std::fmt;

use super::duty::Ended;
use super::memory::clean;
use crate::wire::{DeviceName, Digest, SEPARATOR};

/// What a keeper that stands by says to the one that is at work, on `mqtt-ota/keeper/KEEPER/hands`. Keepers are named as
/// in the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// `here|ID|PLACES`: it can give so many devices their files at once. Said every few seconds.
    Here { keeper: String, places: usize },
    /// `took|ID|SET|DEVICE`: it has got a task, and begins.
    Took { keeper: String, set: Digest, device: DeviceName },
    /// `done|ID|SET|POSITION|RESULT|WHY|DEVICE`: what became of it, and how far the device got, in bytes. One that it
    /// did not take gave way.
    Done { keeper: String, set: Digest, position: u64, result: Ended, device: DeviceName },
    /// `gone|ID`: it ends.
    Gone { keeper: String },
}

/// What the keeper at work leaves to another one, on `mqtt-ota/keeper/KEEPER/task`: `ID|SET|DEVICE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Who is at work.
    pub(super) keeper: String,
    pub(super) set: Digest,
    pub(super) device: DeviceName,
}

impl Task {
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(message).ok()?.splitn(3, SEPARATOR);
        let keeper = fields.next()?.to_owned();
        Some(Self { keeper, set: fields.next()?.parse().ok()?, device: fields.next()?.parse().ok()? })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keeper, set, device } = self;
        write!(f, "{keeper}|{set}|{device}")
    }
}

impl Word {
    /// Who says it.
    pub(super) fn keeper(&self) -> &str {
        match self {
            Self::Here { keeper, .. }
            | Self::Took { keeper, .. }
            | Self::Done { keeper, .. }
            | Self::Gone { keeper } => keeper,
        }
    }

    /// Nothing where it cannot be read: a later keeper may say more.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        // A device's name is the last field: there may be anything in it.
        let fields: Vec<_> = std::str::from_utf8(message).ok()?.splitn(7, SEPARATOR).collect();
        let keeper = |id: &str| id.to_owned();
        match *fields.as_slice() {
            ["here", id, places] => Some(Self::Here { keeper: keeper(id), places: places.parse().ok()? }),
            ["gone", id] => Some(Self::Gone { keeper: keeper(id) }),
            ["done", id, set, position, result, why, device] => Some(Self::Done {
                keeper: keeper(id),
                set: set.parse().ok()?,
                position: position.parse().ok()?,
                result: ended(result, why)?,
                device: device.parse().ok()?,
            }),
            ["took", id, set, ref device @ ..] => {
                let device = device.join(&SEPARATOR.to_string()).parse().ok()?;
                Some(Self::Took { keeper: keeper(id), set: set.parse().ok()?, device })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here { keeper, places } => write!(f, "here|{keeper}|{places}"),
            Self::Took { keeper, set, device } => write!(f, "took|{keeper}|{set}|{device}"),
            Self::Done { keeper, set, position, result, device } => {
                let (code, why) = code(result);
                write!(f, "done|{keeper}|{set}|{position}|{code}|{}|{device}", clean(why))
            }
            Self::Gone { keeper } => write!(f, "gone|{keeper}"),
        }
    }
}

fn code(result: &Ended) -> (&'static str, &str) {
    match result {
        Ended::Installed => ("installed", ""),
        Ended::Unchanged => ("unchanged", ""),
        Ended::RolledBack { why } => ("rolled-back", why),
        Ended::NotThere => ("not-there", ""),
        Ended::NobodyCame { why } => ("nobody-came", why),
        Ended::Busy => ("busy", ""),
        Ended::GaveWay => ("gave-way", ""),
        Ended::Failed { why, may_pass: true } => ("failed", why),
        Ended::Failed { why, may_pass: false } => ("failed-for-good", why),
        Ended::Hindered { why } => ("hindered", why),
    }
}

fn ended(code: &str, why: &str) -> Option<Ended> {
    let why = why.to_owned();
    Some(match code {
        "installed" => Ended::Installed,
        "unchanged" => Ended::Unchanged,
        "rolled-back" => Ended::RolledBack { why },
        "not-there" => Ended::NotThere,
        "nobody-came" => Ended::NobodyCame { why },
        "busy" => Ended::Busy,
        "gave-way" => Ended::GaveWay,
        "failed" => Ended::Failed { why, may_pass: true },
        "failed-for-good" => Ended::Failed { why, may_pass: false },
        "hindered" => Ended::Hindered { why },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;
    use proptest::prelude::*;

    fn result() -> impl Strategy<Value = Ended> {
        let why = "[^|\\pC]{0,40}";
        prop_oneof![
            Just(Ended::Installed),
            Just(Ended::Unchanged),
            why.prop_map(|why| Ended::RolledBack { why }),
            Just(Ended::NotThere),
            why.prop_map(|why| Ended::NobodyCame { why }),
            Just(Ended::Busy),
            Just(Ended::GaveWay),
            (why, any::<bool>()).prop_map(|(why, may_pass)| Ended::Failed { why, may_pass }),
            why.prop_map(|why| Ended::Hindered { why }),
        ]
    }

    fn word() -> impl Strategy<Value = Word> {
        let keeper = || "[0-9a-f]{16}\\.[0-9a-f]{8}";
        let about = || {
            let device = "[A-Za-z|]{1,64}".prop_map(|name| name.parse().unwrap());
            (keeper(), any::<u8>().prop_map(|byte| Digest::of(Algorithm::Sha256, &[byte])), device)
        };
        prop_oneof![
            (keeper(), any::<usize>()).prop_map(|(keeper, places)| Word::Here { keeper, places }),
            keeper().prop_map(|keeper| Word::Gone { keeper }),
            about().prop_map(|(keeper, set, device)| Word::Took { keeper, set, device }),
            (about(), any::<u64>(), result()).prop_map(|((keeper, set, device), position, result)| {
                Word::Done { keeper, set, position, result, device }
            }),
        ]
    }

    proptest! {
        #[test]
        fn property_every_word_is_read_as_it_was_written(word in word()) {
            prop_assert_eq!(Word::parse(word.to_string().as_bytes()), Some(word));
        }

        #[test]
        fn property_every_task_is_read_as_it_was_written(device in "[A-Za-z|]{1,64}") {
            let set = Digest::of(Algorithm::Sha1, b"");
            let task = Task { keeper: "a.b".to_owned(), set, device: device.parse().unwrap() };
            prop_assert_eq!(Task::parse(task.to_string().as_bytes()), Some(task));
        }

        #[test]
        fn property_whatever_comes_is_read_or_passed_over(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Word::parse(&message), Task::parse(&message));
        }
    }
}
