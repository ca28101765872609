use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::duty::{Duty, Input};
use super::folders::Folder;
use super::memory::{Memory, State, to_the_second};
use super::standing::Standing;
use crate::wire::{Algorithm, Announcement};

/// A device and what is known of it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) duty: Duty,
    pub(super) folder: Option<Arc<Folder>>,
    pub(super) memory: Option<Memory>,
    /// It is to have something, and what cannot be told now: its folder is unusable, or not hashed yet.
    pub(super) is_unclear: bool,
    /// How far it ever got with the set that is wanted, in bytes.
    pub(super) furthest: u64,
    pub(super) is_failure: bool,
    /// When it last said something, as far as it was heard.
    pub(super) heard: Option<SystemTime>,
}

impl Device {
    /// `limit`: after how many failures in a row it is left alone.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            duty: Duty::new(limit),
            folder: None,
            memory: None,
            is_unclear: false,
            furthest: 0,
            is_failure: false,
            heard: None,
        }
    }

    /// The hash function in which it is told its set.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.duty.announced().map_or(Algorithm::Sha256, Announcement::set_algorithm)
    }

    /// Leaves alone what is remembered to have been. Which set that was about is known only once the device has
    /// said in which hash function it is told its set.
    pub(super) fn recall(&mut self) {
        if let Some(Memory { state: State::LeftAlone, set, why, .. }) = &self.memory {
            self.duty.step(Input::Remembered { set: *set, why: why.clone() }, Instant::now());
        }
    }

    /// What its announcement does not tell.
    pub(super) fn to_remember(&self, standing: Standing) -> Option<Memory> {
        let set = self.duty.wanted()?;
        let knows_sets = self.duty.announced()?.understands_extended();
        let memory = match standing {
            Standing::Asleep => Memory::now(State::Asleep, set, ""),
            Standing::Failing { why, .. } => Memory::now(State::Failing, set, &why),
            Standing::LeftAlone { why } => Memory::now(State::LeftAlone, set, &why),
            Standing::InStep if !knows_sets => Memory::now(State::InStep, set, ""),
            // What it says itself is said.
            _ => return None,
        };
        Some(Memory { heard: self.heard.map(to_the_second), ..memory })
    }
}
