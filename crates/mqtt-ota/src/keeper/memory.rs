use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::standing::Standing;
use crate::devices::last_heard;
use crate::wire::{Digest, SEPARATOR};

/// Note of a keeper about a device, retained on `NAME/OTA/keeper`: a claim to the device, and everything that no
/// announcement tells. An empty message is no note.
///
/// `v=1|state=asleep|set=HASH|since=SECONDS|heard=SECONDS|again=1|why=TEXT|keeper=NAME`. Unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) state: State,
    /// Set that the note is about.
    pub(super) set: Digest,
    /// Time since which the state lasts, in whole seconds.
    pub(super) since: SystemTime,
    /// Time at which the device was last heard, in whole seconds. `None` where no keeper has heard it.
    pub(super) heard: Option<SystemTime>,
    /// Reason, originally from a device. May be empty.
    pub(super) why: String,
    /// Name of the keeper that has the device. `None` in a note of a keeper of version 0.1.
    pub(super) keeper: Option<String>,
    /// True if the device was given the set once more, after it had taken the set back for want of a network.
    pub(super) again: bool,
}

/// State that a keeper notes of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Asleep: given the set when it wakes.
    Asleep,
    /// Failed, and tried again.
    Failing,
    /// Left alone until its folder changes.
    LeftAlone,
    /// Has the set by its own words, and does not announce sets.
    InStep,
    /// Announces that it has the set.
    Kept,
    /// Has taken the set back.
    RolledBack,
    /// Given the set as soon as possible.
    Pending,
    /// Sent nothing new: its folder is being written, or git has not finished with it.
    Waiting,
    /// Offered the set again later, as the device has asked.
    Postponed,
}

impl State {
    const CODES: [(Self, &'static str); 9] = [
        (Self::Asleep, "asleep"),
        (Self::Failing, "failing"),
        (Self::LeftAlone, "left-alone"),
        (Self::InStep, "in-step"),
        (Self::Kept, "kept"),
        (Self::RolledBack, "rolled-back"),
        (Self::Pending, "pending"),
        (Self::Waiting, "waiting"),
        (Self::Postponed, "postponed"),
    ];

    /// Returns true if this is the state of a device that stands so.
    pub(super) fn is_of(self, standing: &Standing) -> bool {
        match standing {
            Standing::InStep => matches!(self, Self::InStep | Self::Kept),
            Standing::Asleep => self == Self::Asleep,
            Standing::Postponed { .. } => self == Self::Postponed,
            Standing::Failing { .. } => self == Self::Failing,
            Standing::LeftAlone { .. } => self == Self::LeftAlone,
            Standing::RolledBack { .. } => self == Self::RolledBack,
            Standing::Waiting { .. } => self == Self::Waiting,
            Standing::Pending | Standing::Receiving | Standing::Rebooting => self == Self::Pending,
            _ => false,
        }
    }

    /// Returns true if nobody has to act on this state.
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::InStep | Self::Kept)
    }

    fn code(self) -> &'static str {
        Self::CODES.into_iter().find(|(state, _)| *state == self).map_or("", |(_, code)| code)
    }
}

impl Memory {
    /// Longest reason that is written, in bytes.
    const WHY_MAX: usize = 256;

    /// Creates a note by the keeper of this name, from now on.
    pub(super) fn now(keeper: &str, state: State, set: Digest, why: &str) -> Self {
        let (since, keeper) = (to_the_second(SystemTime::now()), Some(keeper.to_owned()));
        Self { state, set, since, heard: None, why: clean(why), keeper, again: false }
    }

    /// Parses a message. Returns `None` where it is empty or cannot be read, so that there is nothing to remember.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let field = |key: &str| {
            text.split(SEPARATOR)
                .filter_map(|field| field.split_once('='))
                .find_map(|(name, value)| (name == key).then_some(value))
        };
        let (state, _) = State::CODES.into_iter().find(|(_, code)| field("state") == Some(code))?;
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(field("since")?.parse().ok()?))?;
        let why = field("why").unwrap_or_default().to_owned();
        let heard = last_heard(message);
        let keeper = field("keeper").filter(|name| is_level(name)).map(str::to_owned);
        let again = field("again") == Some("1");
        Some(Self { state, set: field("set")?.parse().ok()?, since, heard, why, keeper, again })
    }

    /// Returns true if two notes say the same, apart from their times.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let all = |memory: &Self| (memory.state, memory.set, memory.again);
        all(self) == all(other) && self.why == other.why && self.keeper == other.keeper
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, set, since, heard, why, keeper, again } = self;
        write!(f, "v=1|state={}|set={set}|since={}", state.code(), seconds(*since))?;
        if let Some(heard) = heard {
            write!(f, "|heard={}", seconds(*heard))?;
        }
        if *again {
            f.write_str("|again=1")?;
        }
        write!(f, "|why={}", clean(why))?;
        keeper.iter().filter(|keeper| is_level(keeper)).try_for_each(|keeper| write!(f, "|keeper={keeper}"))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn to_the_second(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

/// Returns true if this can be a keeper's name: a level of a topic, and a value in a message.
fn is_level(name: &str) -> bool {
    let is_bad = |c: char| matches!(c, '/' | '+' | '#' | SEPARATOR) || c.is_control();
    !name.is_empty() && name.len() <= Memory::WHY_MAX && !name.contains(is_bad)
}

/// Returns the text as a value of a message: without separators or control characters, at most 256 bytes.
pub(super) fn clean(text: &str) -> String {
    let mut text = text.replace(|c: char| c == SEPARATOR || c.is_control(), " ");
    while text.len() > Memory::WHY_MAX {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Algorithm;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_memory_is_nothing() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for bad in [
            String::new(),
            "v=1".to_owned(),
            format!("v=1|state=dreaming|set={hash}|since=1"),
            format!("v=1|state=asleep|set={hash}"),
            "v=1|state=asleep|set=-|since=1".to_owned(),
            format!("v=1|state=asleep|set={hash}|since=-1"),
            format!("v=1|state=asleep|set={hash}|since=18446744073709551615"),
        ] {
            assert_eq!(Memory::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(Memory::parse(format!("state=asleep|new=1|set={hash}|since=1").as_bytes()).is_some());
    }

    #[test]
    fn only_what_can_be_a_topic_is_a_keeper() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        for (name, is_one) in
            [("house", true), ("a b", true), ("", false), ("a/b", false), ("#", false), ("+", false)]
        {
            let text = format!("v=1|state=kept|set={digest}|since=1|keeper={name}");
            let keeper = Memory::parse(text.as_bytes()).unwrap().keeper;
            assert_eq!(keeper.as_deref(), is_one.then_some(name));
        }
    }

    proptest! {
        #[test]
        fn property_a_memory_round_trips(
            index in 0..State::CODES.len(),
            why in any::<String>(),
            bytes in any::<[u8; 4]>(),
            heard in any::<Option<u32>>(),
            again in any::<bool>(),
        ) {
            let (state, _) = State::CODES[index];
            let heard = heard.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into()));
            let memory = Memory::now("house", state, Digest::of(Algorithm::Sha256, &bytes), &why);
            let memory = Memory { heard, again, ..memory };
            let text = memory.to_string();
            prop_assert!(text.len() < crate::wire::MAX_MESSAGE);
            prop_assert_eq!(Memory::parse(text.as_bytes()), Some(memory));
        }
    }
}
