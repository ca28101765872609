use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use mqtt_ota::wire::Manifest;
use mqtt_ota::{Delete, DeviceName, DevicePath, Digest};

/// State of a device of a [`Fleet`](crate::Fleet), and its history so far.
#[derive(Debug, Clone)]
pub struct FleetDevice {
    /// Name of the device.
    pub name: DeviceName,
    /// True if the device is subscribed, and the broker has its announcement.
    pub is_online: bool,
    /// Set that is installed.
    pub set: Option<Digest>,
    /// Files of the device, with their digests.
    pub files: BTreeMap<DevicePath, Digest>,
    /// Set that the device took back last, if no other was installed since.
    pub rolled_back: Option<Digest>,
    /// Number of reboots after an installation, by the digest of the set, or by that of the file for plain offers.
    pub reboots: BTreeMap<Digest, u32>,
    /// Number of offers that the device has heard.
    pub offers: u32,
    /// Number of announcements that the device has made.
    pub announcements: u32,
    /// Number of bytes that the device has received from senders.
    pub received: u64,
    /// Detail of each `failed` that the device has answered.
    pub failures: Vec<String>,
    /// Files of the set that is installed.
    pub(super) set_files: Vec<DevicePath>,
    /// True if what was installed does not run yet.
    pub(super) is_to_reboot: bool,
}

impl FleetDevice {
    pub(super) fn new(name: DeviceName) -> Self {
        Self {
            name,
            is_online: false,
            set: None,
            files: BTreeMap::new(),
            rolled_back: None,
            reboots: BTreeMap::new(),
            offers: 0,
            announcements: 0,
            received: 0,
            failures: Vec::new(),
            set_files: Vec::new(),
            is_to_reboot: false,
        }
    }

    /// Returns the number of all reboots after installations.
    pub fn all_reboots(&self) -> u32 {
        self.reboots.values().sum()
    }

    /// Returns true if the device has told the broker that it has this set, and has rebooted for it or is rebooting
    /// now.
    pub fn has_rebooted_for(&self, set: Digest) -> bool {
        self.reboots.contains_key(&set)
    }

    /// Returns true if the device is online and runs this set, after a reboot if one was needed.
    pub fn runs(&self, set: Digest) -> bool {
        self.is_online && self.set == Some(set) && !self.is_to_reboot
    }

    /// Puts a single file in place. After that the device has no set any more.
    pub(super) fn put(&mut self, path: DevicePath, digest: Digest) {
        self.files.insert(path, digest);
        self.set = None;
    }

    /// Puts a set in place.
    pub(super) fn install(&mut self, digest: Digest, manifest: &Manifest, delete: Delete) {
        match delete {
            Delete::FormerSet => {
                let gone = std::mem::take(&mut self.set_files);
                self.files.retain(|path, _| !gone.contains(path));
            }
            Delete::Everything => self.files.clear(),
            _ => {}
        }
        self.files.extend(manifest.lines().iter().map(|line| (line.path.clone(), line.digest)));
        self.set_files = manifest.lines().iter().map(|line| line.path.clone()).collect();
        (self.set, self.rolled_back) = (Some(digest), None);
    }
}

/// States of all devices, and a way to wait for changes.
#[derive(Debug)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
    changed: Condvar,
}

#[derive(Debug)]
struct Pages {
    devices: Vec<FleetDevice>,
    /// Device that each waiter waits for. `None` is any.
    awaited: Vec<Option<usize>>,
}

impl Ledger {
    pub(super) fn new(devices: Vec<FleetDevice>) -> Self {
        Self { pages: Mutex::new(Pages { devices, awaited: Vec::new() }), changed: Condvar::new() }
    }

    /// Changes the state of one device.
    pub(super) fn change<T>(&self, index: usize, change: impl FnOnce(&mut FleetDevice) -> T) -> T {
        let mut pages = self.pages.lock().unwrap();
        let changed = change(&mut pages.devices[index]);
        if pages.awaited.iter().any(|awaited| awaited.is_none_or(|awaited| awaited == index)) {
            self.changed.notify_all();
        }
        changed
    }

    /// Passes all devices to `look`.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[FleetDevice]) -> T) -> T {
        look(&self.pages.lock().unwrap().devices)
    }

    /// Waits until `found` returns a value. Otherwise `found` returns the device that has to change first. Returns
    /// `None` once `guard` has passed.
    pub(super) fn wait<T>(
        &self,
        guard: Duration,
        mut found: impl FnMut(&[FleetDevice]) -> Result<T, Option<usize>>,
    ) -> Option<T> {
        let give_up = Instant::now() + guard;
        let mut pages = self.pages.lock().unwrap();
        loop {
            let awaited = match found(&pages.devices) {
                Ok(found) => return Some(found),
                Err(awaited) => awaited,
            };
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            pages.awaited.push(awaited);
            pages = self.changed.wait_timeout(pages, left).unwrap().0;
            let ours =
                pages.awaited.iter().position(|other| *other == awaited).expect("nobody else removes it");
            pages.awaited.swap_remove(ours);
        }
    }
}
