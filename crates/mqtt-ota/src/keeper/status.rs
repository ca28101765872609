use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use super::duty::{Duty, Input};
use super::ear::{Ear, Said};
use super::error::KeeperError;
use super::folders::{Before, FolderError, Folders, Kept};
use super::memory::{Memory, State};
use super::roll_call;
use super::standing::Standing;
use super::touched::Touched;
use crate::mqtt::LinkError;
use crate::sender::Sender;
use crate::wire::{Algorithm, Announcement, DeviceName, Digest};

/// How long the broker may be silent before what it keeps is taken to be whole.
const LAST_WORD: Duration = Duration::from_millis(200);

/// How one device stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceStatus {
    /// The device.
    pub device: DeviceName,
    /// How it stands.
    pub standing: Standing,
    /// Since when it is asleep, failing or left alone, if a keeper has noted it.
    pub since: Option<SystemTime>,
    /// The set that its folder is; None where nothing can be sent from there.
    pub wanted: Option<Digest>,
    /// What it says of itself.
    pub announcement: Option<Announcement>,
    /// What is wrong with its folder.
    pub problem: Option<Arc<FolderError>>,
}

/// How the devices stand that have a folder in `root`, by what they announce and what a keeper remembers. No
/// keeper need run.
///
/// # Errors
/// The folder cannot be read, or the broker not be asked.
///
/// Cancel safe.
pub async fn status(sender: &Sender, root: impl AsRef<Path>) -> Result<Vec<DeviceStatus>, KeeperError> {
    let algorithms = BTreeSet::from([Algorithm::Sha1, Algorithm::Sha256]);
    let folders = Folders::scan(root.as_ref(), Before::default(), algorithms, Touched::All).await?;
    let folders = Arc::new(folders);
    for stray in &folders.strays {
        tracing::warn!(error = stray.as_ref() as &dyn std::error::Error, "a folder is no device's");
    }
    let (mut announced, mut remembered) = gather(sender, &folders).await?;
    Ok(folders
        .devices
        .iter()
        .map(|(device, kept)| {
            let (announcement, memory) = (announced.remove(device), remembered.remove(device));
            stand(device.clone(), kept.clone(), announcement, memory)
        })
        .collect())
}

type Gathered = (HashMap<DeviceName, Announcement>, HashMap<DeviceName, Memory>);

/// What the broker keeps of those that have a folder.
async fn gather(sender: &Sender, folders: &Arc<Folders>) -> Result<Gathered, KeeperError> {
    let mut ear = Ear::open(sender.link(), Arc::clone(folders), None).await?;
    let mut gathered = Gathered::default();
    hear_all(&mut ear, &mut gathered).await?;
    let missing: Vec<_> =
        folders.devices.keys().filter(|name| !gathered.0.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        roll_call::ask(sender, &missing).await?;
        hear_all(&mut ear, &mut gathered).await?;
    }
    Ok(gathered)
}

/// Hears what the broker has to say, until it is silent.
async fn hear_all(ear: &mut Ear, (announced, remembered): &mut Gathered) -> Result<(), LinkError> {
    let mut whole_at = Instant::now() + LAST_WORD;
    while let Ok(Some(said)) = timeout_at(whole_at, ear.next()).await
        && Instant::now() < whole_at
    {
        match said {
            // Of one that has no folder.
            None => {}
            Some(Said::Announced { device, announcement, anew }) => {
                // What is published now may never end.
                if !anew {
                    whole_at = Instant::now() + LAST_WORD;
                }
                announced.insert(device, announcement);
            }
            Some(Said::Remembered { device, memory: Some(memory) }) => {
                drop(remembered.insert(device, memory))
            }
            Some(Said::Remembered { device, memory: None }) => drop(remembered.remove(&device)),
            // A list that breaks off is no shorter list.
            Some(Said::Lost | Said::Reconnected) => return Err(LinkError::Lost),
            Some(Said::Missed) => return Err(LinkError::Overrun),
            Some(Said::AtWork { .. } | Said::Answered { .. }) => {}
        }
    }
    Ok(())
}

fn stand(
    device: DeviceName,
    kept: Kept,
    announcement: Option<Announcement>,
    memory: Option<Memory>,
) -> DeviceStatus {
    let algorithm = announcement.as_ref().map_or(Algorithm::Sha256, Announcement::set_algorithm);
    let (wanted, is_held, problem) = match kept {
        Kept::Folder(folder) => {
            (folder.prepared(algorithm).map(|prepared| prepared.digest), folder.settings.hold, None)
        }
        Kept::Unusable { error, .. } => (None, false, Some(error)),
    };
    let now = Instant::now();
    let mut duty = Duty::new(u32::MAX);
    duty.step(Input::Wanted(wanted), now);
    if let Some(announcement) = announcement.clone() {
        duty.step(Input::Announced { announcement, anew: false }, now);
    }
    let memory = memory.filter(|memory| Some(memory.set) == wanted);
    if let Some(memory) = memory.as_ref().filter(|memory| memory.state == State::InStep) {
        duty.step(Input::Told { set: memory.set }, now);
    }
    let mut since = None;
    let standing = match (duty.standing(), memory) {
        (Standing::InStep, _) => Standing::InStep,
        _ if is_held => Standing::Held,
        (Standing::Pending, Some(memory)) => {
            since = Some(memory.since);
            match memory.state {
                State::Asleep => Standing::Asleep,
                State::Failing => Standing::Failing { why: memory.why },
                State::LeftAlone => Standing::LeftAlone { why: memory.why },
                State::InStep => Standing::Pending,
            }
        }
        (standing, _) => standing,
    };
    DeviceStatus { device, standing, since, wanted, announcement, problem }
}
