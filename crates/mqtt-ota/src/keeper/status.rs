use std::collections::{BTreeSet, HashMap};
use std::path::{self, Path};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use super::duty::{Duty, Input};
use super::ear::{Ear, Said};
use super::error::KeeperError;
use super::folders::{Before, FolderError, Folders, Kept, Suspects};
use super::memory::{Memory, State};
use super::name_of;
use super::roll_call;
use super::standing::Standing;
use super::touched::Touched;
use crate::mqtt::LinkError;
use crate::sender::Sender;
use crate::wire::{Algorithm, Announcement, Crash, DeviceName, Digest};

/// Time of silence after which the broker is taken to have sent everything it retains.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Status of one device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeviceStatus {
    /// Device.
    pub device: DeviceName,
    /// Standing of the device.
    pub standing: Standing,
    /// Time since which the standing lasts, if a keeper has noted it.
    pub since: Option<SystemTime>,
    /// Name of the keeper that has the device, if one has noted it.
    pub keeper: Option<String>,
    /// Set that the folder makes. `None` where nothing can be sent from there.
    pub wanted: Option<Digest>,
    /// Last announcement of the device.
    pub announcement: Option<Announcement>,
    /// Problem with its folder.
    pub problem: Option<Arc<FolderError>>,
    /// Last exception that its application did not catch.
    pub crash: Option<Crash>,
}

/// Status of the devices of a folder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FolderStatus {
    /// Entries of the devices, sorted by name.
    pub devices: Vec<DeviceStatus>,
    /// Name of the folder's keeper.
    pub keeper: String,
    /// True if a keeper of this name, or one that a device belongs to, says that it is at work. A keeper that was
    /// killed could not withdraw this, so `true` does not prove that it is running. `None` where the broker does not
    /// let this user read it.
    pub is_kept: Option<bool>,
}

/// Returns how the devices that have a folder in `root` stand, by their announcements and the notes of a keeper. No
/// keeper need run. `keeper`: the name of this folder's keeper. `None`: the name of the folder.
///
/// # Errors
/// The folder cannot be read, or the broker cannot be asked.
///
/// Cancel safe.
pub async fn status(
    sender: &Sender,
    root: impl AsRef<Path>,
    keeper: Option<&str>,
) -> Result<FolderStatus, KeeperError> {
    let path = path::absolute(root.as_ref()).unwrap_or_else(|_| root.as_ref().to_owned());
    let keeper = keeper.map_or_else(|| name_of(&path), str::to_owned);
    let algorithms = BTreeSet::from([Algorithm::Sha1, Algorithm::Sha256]);
    let folders =
        Folders::scan(root.as_ref(), Before::default(), algorithms, Touched::All, Suspects::default())
            .await?;
    let folders = Arc::new(folders);
    for stray in &folders.strays {
        tracing::warn!(error = stray.as_ref() as &dyn std::error::Error, "a folder is no device's");
    }
    let gathered = gather(sender, &folders, &keeper).await?;
    let Gathered { mut announced, mut remembered, mut crashes, at_work, can_tell, .. } = gathered;
    let mut named = remembered.values().filter_map(|memory| memory.keeper.as_ref());
    let is_kept = at_work.contains(&keeper) || named.any(|name| at_work.contains(name));
    let is_elsewhere = |memory: &Memory| {
        memory.keeper.as_ref().is_some_and(|name| *name != keeper && at_work.contains(name))
    };
    let devices = folders.devices.iter().map(|(device, kept)| {
        let (announcement, memory) = (announced.remove(device), remembered.remove(device));
        let is_elsewhere = memory.as_ref().is_some_and(is_elsewhere);
        // A `Waiting` note counts only while its keeper is at work: a keeper that is gone cannot withdraw it.
        let is_valid = |memory: &Memory| {
            let keeper = memory.keeper.as_ref();
            memory.state != State::Waiting || keeper.is_some_and(|keeper| at_work.contains(keeper))
        };
        let stands = stand(device.clone(), kept.clone(), announcement, memory.filter(is_valid), is_elsewhere);
        DeviceStatus { crash: crashes.remove(device), ..stands }
    });
    let devices = devices.collect();
    let is_kept = can_tell.then_some(is_kept);
    Ok(FolderStatus { devices, keeper, is_kept })
}

/// Messages that the broker retains of the devices that have a folder.
#[derive(Default)]
struct Gathered {
    announced: HashMap<DeviceName, Announcement>,
    remembered: HashMap<DeviceName, Memory>,
    crashes: HashMap<DeviceName, Crash>,
    /// Keepers that say that they are at work.
    at_work: BTreeSet<String>,
    /// False if the broker does not let this user read which keepers are at work.
    can_tell: bool,
    /// True if more messages came at once than there was room for.
    is_partial: bool,
}

/// Limit of the keepers that are recorded, because anybody can invent names.
const KEEPERS: usize = 256;

/// Reads what the broker retains, and asks by name for the devices and keepers that it does not report by itself.
async fn gather(sender: &Sender, folders: &Arc<Folders>, keeper: &str) -> Result<Gathered, KeeperError> {
    let mut ear = Ear::open(sender.link(), Arc::clone(folders), None).await?;
    let mut gathered = Gathered::default();
    hear_all(&mut ear, &mut gathered).await?;
    let is_missing = |name: &&DeviceName| gathered.is_partial || !gathered.announced.contains_key(*name);
    let missing: Vec<_> = folders.devices.keys().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        roll_call::ask(sender, &missing).await?;
        hear_all(&mut ear, &mut gathered).await?;
    }
    let keepers = gathered.remembered.values().filter_map(|memory| memory.keeper.clone());
    let keepers: BTreeSet<_> = [keeper.to_owned()]
        .into_iter()
        .chain(keepers)
        .filter(|name| !gathered.at_work.contains(name))
        .take(KEEPERS)
        .collect();
    gathered.can_tell = true;
    if !keepers.is_empty() {
        match roll_call::ask_for_leases(sender, keepers.iter().map(String::as_str)).await {
            // A user who may not read the leases may still see the devices.
            Err(LinkError::SubscribeRefused { .. }) => gathered.can_tell = false,
            asked => asked?,
        }
        hear_all(&mut ear, &mut gathered).await?;
    }
    Ok(gathered)
}

/// Reads what the broker sends, until it is silent.
async fn hear_all(ear: &mut Ear, gathered: &mut Gathered) -> Result<(), LinkError> {
    let Gathered { announced, remembered, crashes, at_work, is_partial, .. } = gathered;
    let mut whole_at = Instant::now() + LAST_WORD;
    while let Ok(Some(said)) = timeout_at(whole_at, ear.next()).await
        && Instant::now() < whole_at
    {
        match said {
            // Message of a device without a folder.
            None => {}
            Some(Said::Announced { device, announcement, anew }) => {
                // New announcements may come without end, so only retained ones extend the wait.
                if !anew {
                    whole_at = Instant::now() + LAST_WORD;
                }
                announced.insert(device, announcement);
            }
            Some(Said::Withdrawn { device }) => drop(announced.remove(&device)),
            Some(Said::Crashed { device, crash, .. }) => {
                crashes.extend(crash.map(|crash| (device, crash)));
            }
            Some(Said::Remembered { device, memory: Some(memory) }) => {
                drop(remembered.insert(device, memory))
            }
            Some(Said::Remembered { device, memory: None }) => drop(remembered.remove(&device)),
            // An interrupted list must not pass for a shorter one.
            Some(Said::Lost | Said::Reconnected) => return Err(LinkError::Lost),
            // The missing devices are asked for by name.
            Some(Said::Missed) => *is_partial = true,
            Some(Said::AtWork { keeper, id }) if id.is_empty() => drop(at_work.remove(&keeper)),
            Some(Said::AtWork { keeper, .. }) if at_work.len() < KEEPERS => drop(at_work.insert(keeper)),
            Some(Said::AtWork { .. } | Said::Answered { .. } | Said::Odd { .. }) => {}
        }
    }
    Ok(())
}

fn stand(
    device: DeviceName,
    kept: Kept,
    announcement: Option<Announcement>,
    memory: Option<Memory>,
    is_elsewhere: bool,
) -> DeviceStatus {
    let keeper = memory.as_ref().and_then(|memory| memory.keeper.clone());
    let algorithm = announcement.as_ref().map_or(Algorithm::Sha256, Announcement::set_algorithm);
    let (wanted, is_held, problem) = match kept {
        Kept::Folder(folder) => match folder.refused(announcement.as_ref()) {
            None => (folder.prepared(algorithm).map(|prepared| prepared.digest), folder.settings.hold, None),
            Some(error) => (None, folder.settings.hold, Some(error)),
        },
        Kept::Unusable { error, .. } => (None, false, Some(error)),
    };
    let now = Instant::now();
    let mut duty = Duty::new(u32::MAX);
    duty.step(Input::Wanted(wanted), now);
    if let Some(announcement) = announcement.clone() {
        duty.step(Input::Announced { announcement, anew: false }, now);
    }
    // While a folder is held back, its contents are not the set that the keeper noted, so a `Waiting` note counts for
    // any set.
    let memory = memory.filter(|memory| Some(memory.set) == wanted || memory.state == State::Waiting);
    if let Some(memory) = memory.as_ref().filter(|memory| memory.state == State::InStep) {
        duty.step(Input::Told { set: memory.set }, now);
    }
    if let Some(memory) = memory.as_ref().filter(|memory| memory.again) {
        duty.step(Input::GivenAgain { set: memory.set }, now);
    }
    let elsewhere = keeper.clone().filter(|_| is_elsewhere);
    let standing = match (duty.standing(), elsewhere, &memory) {
        (Standing::InStep, ..) => Standing::InStep,
        _ if is_held => Standing::Held,
        (_, Some(keeper), _) => Standing::KeptElsewhere { keeper },
        (Standing::Pending, None, Some(Memory { state: State::Waiting, why, .. })) => {
            Standing::Waiting { why: why.clone() }
        }
        (Standing::Pending, None, Some(memory)) => match memory.state {
            State::Asleep => Standing::Asleep,
            State::Postponed => Standing::Postponed { why: memory.why.clone() },
            State::Failing => Standing::Failing { why: memory.why.clone() },
            State::LeftAlone => Standing::LeftAlone { why: memory.why.clone() },
            State::InStep | State::Kept | State::RolledBack | State::Pending | State::Waiting => {
                Standing::Pending
            }
        },
        (standing, ..) => standing,
    };
    // A note of another state says nothing about the beginning of this one.
    let since = memory.filter(|memory| memory.state.is_of(&standing)).map(|memory| memory.since);
    DeviceStatus { device, standing, since, keeper, wanted, announcement, problem, crash: None }
}
