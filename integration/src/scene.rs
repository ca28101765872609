use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::endpoint::Endpoint;
use crate::mosquitto::Mosquitto;

/// Broker, and a folder with files to send. Most tests start from it.
#[derive(Debug)]
pub struct Scene<B = Mosquitto> {
    /// Broker that the command is pointed at.
    pub broker: B,
    folder: TempDir,
}

impl Scene {
    /// Creates a scene with a plain Mosquitto.
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
    /// Creates a scene with `broker`.
    pub fn with(broker: B) -> Self {
        Self { broker, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Prepares `mqtt-ota send FILE --to DEVICE`, started in the folder.
    ///
    /// Nothing is offered twice. A test of retries gives `--retries`.
    pub fn send(&self, file: impl AsRef<Path>, device: &str) -> MqttOta {
        self.command("send")
            .arg(file.as_ref())
            .args(["--to", device])
            .env("MQTT_OTA_RETRIES", "0")
            .env("MQTT_OTA_RETRY_PAUSE", "10ms")
    }

    /// Prepares any other command, pointed at the broker and started in the folder.
    pub fn command(&self, subcommand: &str) -> MqttOta {
        MqttOta::run(subcommand).broker(&self.broker).in_folder(self.folder())
    }
}
