use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::client::Client;
use crate::command::MqttOta;
use crate::demo_device::Interpreter;
use crate::endpoint::Endpoint;
use crate::home::files;
use crate::mosquitto::Mosquitto;
use crate::process::{Finished, Process};
use crate::raw_device::RawDevice;
use crate::scene::Scene;
use crate::set_device::SetDevice;

/// Broker, folder that has one folder for each device in it, and listener to the devices' announcements.
#[derive(Debug)]
pub struct House<B = Mosquitto> {
    /// Broker, and the place of the folder.
    pub scene: Scene<B>,
    /// Client that is subscribed to `+/OTA/device`.
    pub client: Client,
}

/// Running `mqtt-ota keep`. Killed when dropped.
#[derive(Debug)]
pub struct Keeper {
    /// Running command. Its standard error tells what it does.
    pub process: Process,
    _home: TempDir,
}

impl Keeper {
    /// Waits until the keeper prints a line with `part`.
    pub fn says(&self, part: &str) -> &Self {
        self.process.stderr().wait_for(part);
        self
    }
}

impl House {
    /// Creates a house with a plain Mosquitto.
    pub fn new() -> Self {
        Self::with(Mosquitto::start(), &[])
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Endpoint> House<B> {
    /// Creates a house with `broker`, and with these files in the folders.
    pub fn with(broker: B, files: &[(&str, &str)]) -> Self {
        let client = Client::connect(&broker, "listener");
        client.subscribe("+/OTA/device");
        let house = Self { scene: Scene::with(broker), client };
        fs::create_dir(house.folder()).expect("a folder can be made");
        files.iter().for_each(|(name, text)| house.has(name, text));
        house
    }

    /// Returns the folder with the devices' folders.
    pub fn folder(&self) -> PathBuf {
        self.scene.folder().join("devices")
    }

    /// Writes a file of a device's folder, such as `LAMP/main.py`.
    pub fn has(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
        fs::write(path, bytes).expect("a file can be written");
    }

    /// Starts a keeper.
    pub fn keeper(&self, args: &[&str]) -> Keeper {
        self.keeper_at(&self.scene.broker, args)
    }

    /// Starts a keeper that reaches the broker at another address.
    pub fn keeper_at(&self, broker: &impl Endpoint, args: &[&str]) -> Keeper {
        let command = MqttOta::run("keep").broker(broker).arg(self.folder()).args(args);
        let (process, _home) = command.start();
        process.stderr().wait_for("keeping the devices");
        Keeper { process, _home }
    }

    /// Runs `mqtt-ota status` for the folder.
    pub fn status(&self) -> Finished {
        self.scene.command("status").arg(self.folder()).finish()
    }

    /// Boots a device whose flash is the folder `root`: the companion client on MicroPython.
    pub fn boots(&self, device: &str, root: &Path) -> SetDevice {
        SetDevice::boot(Interpreter::MicroPython, &self.scene.broker, device, root)
    }

    /// Creates a device that a test drives, with this announcement.
    pub fn device(&self, name: &str, announcement: &str) -> RawDevice {
        let device = RawDevice::join(&self.scene.broker, name);
        device.announce_as(announcement);
        device
    }

    /// Panics unless the device's files are those of its folder.
    #[track_caller]
    pub fn assert_has(&self, device: &str, root: &Path) {
        assert_eq!(files(root), files(&self.folder().join(device)));
    }

    /// Waits for an announcement of the device that contains `part`, and returns it.
    pub fn announced(&self, device: &str, part: &str) -> String {
        loop {
            let message = self.client.next();
            if message.topic == format!("{device}/OTA/device") && message.text().contains(part) {
                return message.text();
            }
        }
    }

    /// Waits until the device announces a set that is not `before`, and returns its hash.
    pub fn next_set(&self, device: &str, before: &str) -> String {
        loop {
            let message = self.client.next();
            let text = message.text();
            let set = text.split('|').find_map(|field| field.strip_prefix("set=")).unwrap_or("-");
            if message.topic == format!("{device}/OTA/device") && set != before {
                return set.to_owned();
            }
        }
    }
}
