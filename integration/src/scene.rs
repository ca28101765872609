use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::endpoint::Endpoint;
use crate::mosquitto::Mosquitto;

/// A broker, and a folder with files to send: what most tests start from.
#[derive(Debug)]
pub struct Scene<B = Mosquitto> {
    /// The broker that the command is pointed at.
    pub broker: B,
    folder: TempDir,
}

impl Scene {
    /// With a plain Mosquitto.
    pub fn new() -> Self {
        Self::with(Mosquitto::start())
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Endpoint> Scene<B> {
    /// With `broker`.
    pub fn with(broker: B) -> Self {
        Self { broker, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// `mqtt-ota send FILE --to DEVICE`, started in the folder and about to be run.
    ///
    /// Nothing is offered twice: a test that wants that says `--retries`.
    pub fn send(&self, file: impl AsRef<Path>, device: &str) -> MqttOta {
        self.command("send")
            .arg(file.as_ref())
            .args(["--to", device])
            .env("MQTT_OTA_RETRIES", "0")
            .env("MQTT_OTA_RETRY_PAUSE", "10ms")
    }

    /// Any other command, pointed at the broker and started in the folder.
    pub fn command(&self, subcommand: &str) -> MqttOta {
        MqttOta::run(subcommand).broker(&self.broker).in_folder(self.folder())
    }
}
