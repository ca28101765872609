//! Contents of the folders, and the set that each device is to have in consequence.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::Keeping;
use crate::keeper::duty::Input;
use crate::keeper::error::chain;
use crate::keeper::folders::{Folder, FolderError, Folders, Kept};
use crate::keeper::lookout::Sight;
use crate::keeper::words::some;
use crate::wire::DeviceName;

impl Keeping {
    pub(super) fn look(&mut self) {
        self.lookout.look(&self.algorithms);
    }

    pub(super) fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Due => self.look(),
            Sight::Clear(folders) => self.looked(folders),
            Sight::Blurred => {}
            // An unreadable folder is no change of what is wanted, and gives no device a second chance.
            Sight::Unreadable(error) => {
                tracing::warn!("nothing is sent until the folder can be read: {}", chain(&error));
                self.is_readable = false;
            }
        }
        if let Some(held) = self.lookout.take_held() {
            self.note_held(&held);
        }
    }

    /// Notes which devices get nothing new because their folders have been held for a while, so that others know it.
    fn note_held(&mut self, held: &HashMap<PathBuf, Arc<FolderError>>) {
        let folders = Arc::clone(&self.folders);
        for (name, kept) in &folders.devices {
            let why = kept.places().iter().find_map(|place| held.get(place)).map(|why| chain(why.as_ref()));
            let device = self.device(name);
            if device.held != why {
                device.held = why;
                self.consider(name, false);
            }
        }
    }

    /// Works out which devices are to have something else now.
    fn looked(&mut self, folders: Arc<Folders>) {
        let empty_groups = self.options.canary_groups.iter().filter(|group| !folders.may_have(group));
        let empty_groups = empty_groups.cloned().collect();
        self.complain(&folders, &empty_groups);
        self.empty_groups = empty_groups;
        self.is_readable = true;
        self.room_at = Some(Instant::now());
        let first = &self.options.canary_groups;
        let in_group = folders.devices.iter().filter_map(|(name, kept)| {
            // A device whose groups are not known may be one of those that the others wait for.
            let is_first = kept.groups().map_or(!first.is_empty(), |groups| !groups.is_disjoint(first));
            is_first.then_some(name)
        });
        self.canaries = self.options.canaries.iter().chain(in_group).cloned().collect();
        self.folders = Arc::clone(&folders);
        for (device, kept) in &folders.devices {
            self.want_kept(device, Some(kept));
            self.consider(device, false);
        }
        // Every device with a folder is in the map by now, so a longer map has devices without one.
        if self.devices.len() > folders.devices.len() {
            let is_without = |device: &&DeviceName| !folders.devices.contains_key(*device);
            for device in self.devices.keys().filter(is_without).cloned().collect::<Vec<_>>() {
                self.want_kept(&device, None);
                self.consider(&device, false);
                self.forget_without_folder(&device);
            }
        }
        if let Some(ear) = &mut self.ear {
            ear.heed(&folders);
            // Messages from before the devices had a folder were dropped.
            self.call_the_roll(false);
        }
    }

    /// Reports problems with the folders that are new.
    fn complain(&self, folders: &Folders, empty_groups: &BTreeSet<String>) {
        let is_new = |device: &&DeviceName| !self.is_readable || self.folders.devices.contains_key(*device);
        let without = self.options.canaries.iter().filter(|device| !folders.devices.contains_key(*device));
        for first in without.filter(is_new) {
            tracing::warn!(
                "{first} is to go first, and there is no such folder: the others wait until there is"
            );
        }
        let groups: BTreeSet<_> =
            folders.devices.values().filter_map(Kept::groups).flatten().map(String::as_str).collect();
        for first in empty_groups.difference(&self.empty_groups) {
            let known = if groups.is_empty() { "none".to_owned() } else { some(groups.iter().copied()) };
            tracing::warn!(
                "no folder is in the canary group @{first}, so all other devices wait; groups in use: {known}"
            );
        }
        for stray in &folders.strays {
            if !self.folders.strays.iter().any(|before| chain(before.as_ref()) == chain(stray.as_ref())) {
                tracing::warn!("a folder is no device's: {}", chain(stray.as_ref()));
            }
        }
        for (device, kept) in &folders.devices {
            let Kept::Unusable { error, .. } = kept else { continue };
            let is_known = match self.folders.devices.get(device) {
                Some(Kept::Unusable { error: before, .. }) => chain(before.as_ref()) == chain(error.as_ref()),
                _ => false,
            };
            // A hold is reported only after it has lasted.
            if !is_known && !error.is_held() {
                tracing::warn!("{device}: nothing can be sent: {}", chain(error.as_ref()));
            }
        }
        if folders.devices.is_empty() && (!self.is_readable || !self.folders.devices.is_empty()) {
            let path = self.lookout.path().display();
            tracing::warn!(
                "there is no device's folder in {path}; a device's files are in a folder with its name"
            );
        }
    }

    /// Passes the set of a device's folder to its duty.
    pub(super) fn want(&mut self, name: &DeviceName) {
        let folders = Arc::clone(&self.folders);
        self.want_kept(name, folders.devices.get(name));
    }

    /// Returns true if the check of a folder's files refuses them for this device. Each finding is logged once.
    fn refuse(&mut self, name: &DeviceName, folder: &Folder) -> bool {
        let device = self.device(name);
        let announced = device.duty.announced();
        let error = folder.refused(announced);
        let warnings = folder.findings().into_iter().flat_map(|findings| findings.warnings(announced));
        let said = error.iter().map(|error| chain(error.as_ref())).chain(warnings.map(ToString::to_string));
        let said: Vec<_> = said.collect();
        for what in said.iter().filter(|what| !device.said.contains(what)) {
            match &error {
                Some(_) => {
                    tracing::warn!(device = %name, error = what, "nothing is sent until its files are mended")
                }
                None => {
                    tracing::warn!(device = %name, what, "a file of the device may not do what it should")
                }
            }
        }
        device.said = said;
        error.is_some()
    }

    fn want_kept(&mut self, name: &DeviceName, kept: Option<&Kept>) {
        let (folder, is_unusable) = match kept {
            Some(Kept::Folder(folder)) if self.refuse(name, folder) => (None, true),
            Some(Kept::Folder(folder)) => (Some(Arc::clone(folder)), false),
            Some(Kept::Unusable { .. }) => (None, true),
            None => (None, false),
        };
        let device = self.device(name);
        let algorithm = device.algorithm();
        let wanted = folder
            .as_ref()
            .filter(|folder| !folder.settings.hold)
            .and_then(|folder| folder.prepared(algorithm))
            .map(|prepared| prepared.digest);
        let is_other = device.duty.wanted() != wanted;
        if is_other {
            device.furthest = 0;
        }
        let is_unhashed = folder.is_some() && !self.algorithms.contains(&algorithm);
        let is_held = folder.as_ref().is_some_and(|folder| folder.settings.hold);
        let device = self.device(name);
        device.is_unclear = is_unusable || (folder.is_some() && !is_held && wanted.is_none());
        device.folder = folder;
        device.duty.step(Input::Wanted(wanted), Instant::now());
        if is_other {
            device.recall();
            // The delivery may be of a mistake that is corrected by now, or held back.
            self.slots.overtake(name, wanted);
        }
        if is_unhashed {
            self.algorithms.insert(algorithm);
            self.look();
        }
    }
}
