use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::devices::last_heard;
use crate::wire::{Digest, SEPARATOR};

/// What a keeper remembers of a device, retained on `NAME/OTA/keeper`: what no announcement tells. An empty
/// message is nothing to remember.
///
/// `v=1|state=asleep|set=HASH|since=SECONDS|heard=SECONDS|why=TEXT`. Unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) state: State,
    /// The set that it is about.
    pub(super) set: Digest,
    /// When it came to be so, in whole seconds.
    pub(super) since: SystemTime,
    /// When the device was last heard, in whole seconds; None where no keeper has heard it.
    pub(super) heard: Option<SystemTime>,
    /// The reason; may be empty. Once it came from a device.
    pub(super) why: String,
}

/// What there is to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It gets the set when it wakes.
    Asleep,
    /// It has failed, and is tried again.
    Failing,
    /// It is left alone until its folder changes.
    LeftAlone,
    /// It has said that it has the set, and does not announce such things.
    InStep,
}

impl State {
    const CODES: [(Self, &'static str); 4] = [
        (Self::Asleep, "asleep"),
        (Self::Failing, "failing"),
        (Self::LeftAlone, "left-alone"),
        (Self::InStep, "in-step"),
    ];

    fn code(self) -> &'static str {
        Self::CODES.into_iter().find(|(state, _)| *state == self).map_or("", |(_, code)| code)
    }
}

impl Memory {
    /// The longest reason that is written, in bytes.
    const WHY_MAX: usize = 256;

    pub(super) fn now(state: State, set: Digest, why: &str) -> Self {
        Self { state, set, since: to_the_second(SystemTime::now()), heard: None, why: clean(why) }
    }

    /// Nothing where the message is empty, or cannot be read: then there is nothing to remember.
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
        Some(Self { state, set: field("set")?.parse().ok()?, since, heard, why })
    }

    /// Whether it says the same, but for the times.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.state, self.set, &self.why) == (other.state, other.set, &other.why)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, set, since, heard, why } = self;
        write!(f, "v=1|state={}|set={set}|since={}", state.code(), seconds(*since))?;
        if let Some(heard) = heard {
            write!(f, "|heard={}", seconds(*heard))?;
        }
        write!(f, "|why={}", clean(why))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn to_the_second(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds(time))
}

/// A value must not end its field, nor be longer than anyone reads.
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

    proptest! {
        #[test]
        fn property_a_memory_round_trips(
            index in 0_usize..4,
            why in any::<String>(),
            bytes in any::<[u8; 4]>(),
            heard in any::<Option<u32>>(),
        ) {
            let (state, _) = State::CODES[index];
            let heard = heard.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into()));
            let memory = Memory::now(state, Digest::of(Algorithm::Sha256, &bytes), &why);
            let memory = Memory { heard, ..memory };
            let text = memory.to_string();
            prop_assert!(text.len() < crate::wire::MAX_MESSAGE);
            prop_assert_eq!(Memory::parse(text.as_bytes()), Some(memory));
        }
    }
}
