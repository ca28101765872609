use std::path::Path;
use std::process::Command;

use mqtt_ota_integration::{Client, Endpoint as _, Mosquitto, MqttOta, Process, binary};
use tempfile::TempDir;

use crate::run::Run;

/// Name of the device.
pub(crate) const DEVICE: &str = "LAMP";

/// Broker and device between which everything is measured. The device announces all that it has.
pub(crate) struct Stage {
    broker: Mosquitto,
    device: Process,
    _device_home: TempDir,
    /// Home folder of the sender, without settings.
    home: TempDir,
}

impl Stage {
    /// Starts a broker and a device with its files in `root`.
    pub(crate) fn set(root: &Path) -> Self {
        let broker = Mosquitto::start();
        let receive = MqttOta::run("receive").args(["--json", "--as", DEVICE]).arg("--root").arg(root);
        let (device, device_home) = receive.broker(&broker).start();
        let home = tempfile::tempdir().expect("a temporary folder");
        let stage = Self { broker, device, _device_home: device_home, home };
        stage.wait_for("online", 1);
        stage
    }

    /// Makes senders believe that the device has a single hash function, until it announces itself again.
    pub(crate) fn announce(&self, algorithm: &str) {
        let client = Client::connect(&self.broker, "announcer");
        let announcement = format!("v=1|client=bench 0|sys=bench 0|addr=127.0.0.1|hash={algorithm}");
        client.publish_retained(&format!("{DEVICE}/OTA/device"), announcement);
    }

    /// Waits until the device has reported `event` `count` times since its start.
    pub(crate) fn wait_for(&self, event: &str, count: usize) {
        let object = format!("\"event\":\"{event}\"");
        let is_there = |text: &str| (text.matches(&object).count() >= count).then_some(());
        self.device.stdout().wait_until(&object, is_there);
    }

    /// Prepares the real command to send `file`.
    pub(crate) fn send(&self, file: &Path) -> Run {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.home.path()).env("MQTT_OTA_BROKER", self.broker.url());
        command.args(["send", "--to", DEVICE]).arg(file);
        Run::of(command)
    }

    /// Prepares the Python sender to send `file`.
    pub(crate) fn send_with_python(&self, python: &Path, file: &Path) -> Run {
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/paho_sender.py"));
        command.arg(self.broker.address().port().to_string()).arg(DEVICE).arg(file);
        Run::of(command)
    }
}
