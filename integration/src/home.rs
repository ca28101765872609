use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::demo_device::Interpreter;
use crate::receiver::Receiver;
use crate::scene::Scene;
use crate::set_device::SetDevice;

/// Broker, folder with hostile names and contents, and device that is to get the folder's files.
#[derive(Debug)]
pub struct Home {
    /// Broker, and the place of the folder.
    pub scene: Scene,
    name: &'static str,
    root: TempDir,
}

impl Home {
    /// Creates the home of a device called `name`, which has no files yet.
    pub fn of(name: &'static str) -> Self {
        let home = Self { scene: Scene::new(), name, root: tempfile::tempdir().expect("a temporary folder") };
        home.has("main.py", "VERSION = 1\n");
        home.has("lib/lamp.py", "x = 1\n".repeat(700));
        home.has("lib/größe & b.py", "");
        home.has("lib.txt", "sorted between\n");
        home.has("data.bin", noise(1, 40_000));
        home
    }

    /// Writes a file of the folder.
    pub fn has(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
        fs::write(path, bytes).expect("a file can be written");
    }

    /// Returns the folder on the sender's side.
    pub fn folder(&self) -> PathBuf {
        self.scene.folder().join("src")
    }

    /// Returns the folder of the device's files.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Boots the device: the companion client.
    pub fn boots(&self, interpreter: Interpreter) -> SetDevice {
        SetDevice::boot(interpreter, &self.scene.broker, self.name, self.root())
    }

    /// Starts the device: `mqtt-ota receive`.
    pub fn receives(&self) -> Receiver {
        Receiver::start(&self.scene.broker, self.name, self.root())
    }

    /// Prepares `mqtt-ota sync FOLDER --to NAME`.
    pub fn sync(&self) -> MqttOta {
        MqttOta::run("sync").broker(&self.scene.broker).arg(self.folder()).args(["--to", self.name])
    }

    /// Panics unless the device has the folder's files, and no others.
    #[track_caller]
    pub fn assert_same(&self) {
        let (device, folder) = (files(self.root()), files(&self.folder()));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&device), names(&folder));
        for (name, bytes) in &folder {
            assert!(device[name] == *bytes, "{name} has other bytes");
        }
    }
}

/// Returns all files below a folder by name. Names that begin with a dot are left out, as the client's own files have
/// them.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder that can be read") {
            let entry = entry.expect("an entry");
            let base = entry.file_name().into_string().expect("a name in UTF-8");
            let name = format!("{prefix}{base}");
            if base.starts_with('.') {
                continue;
            } else if entry.file_type().expect("a kind").is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read(entry.path()).expect("a file that can be read"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

/// Returns bytes of every value, the same for the same seed.
pub fn noise(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u64 * 31 + (i as u64 >> 8) * 7 + u64::from(seed)) as u8).collect()
}
