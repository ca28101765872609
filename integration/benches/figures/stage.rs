use std::path::Path;
use std::process::Command;

use mqtt_ota_integration::{Client, Endpoint as _, Mosquitto, MqttOta, Process, binary};
use tempfile::TempDir;

use crate::run::Run;

/// The device's name.
pub(crate) const DEVICE: &str = "LAMP";

/// A broker and a device that does its best: what everything is measured between.
pub(crate) struct Stage {
    broker: Mosquitto,
    device: Process,
    _device_home: TempDir,
    /// Of the sender: nobody's settings are in it.
    home: TempDir,
}

impl Stage {
    /// With the device's files in `root`.
    pub(crate) fn set(root: &Path) -> Self {
        let broker = Mosquitto::start();
        let receive = MqttOta::run("receive").args(["--json", "--as", DEVICE]).arg("--root").arg(root);
        let (device, device_home) = receive.broker(&broker).start();
        let home = tempfile::tempdir().expect("a temporary folder");
        let stage = Self { broker, device, _device_home: device_home, home };
        stage.wait_for("online", 1);
        stage
    }

    /// Makes senders believe that the device knows one hash function alone, until it announces itself again.
    pub(crate) fn announce(&self, algorithm: &str) {
        let client = Client::connect(&self.broker, "announcer");
        let announcement = format!("v=1|client=bench 0|sys=bench 0|addr=127.0.0.1|hash={algorithm}");
        client.publish_retained(&format!("{DEVICE}/OTA/device"), announcement);
    }

    /// Waits until the device has told of `event` `count` times since it was started.
    pub(crate) fn wait_for(&self, event: &str, count: usize) {
        let object = format!("\"event\":\"{event}\"");
        let is_there = |text: &str| (text.matches(&object).count() >= count).then_some(());
        self.device.stdout().wait_until(&object, is_there);
    }

    /// The real command, about to send `file`.
    pub(crate) fn send(&self, file: &Path) -> Run {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.home.path()).env("MQTT_OTA_BROKER", self.broker.url());
        command.args(["send", "--to", DEVICE]).arg(file);
        Run::of(command)
    }

    /// The Python sender, about to send `file`.
    pub(crate) fn send_with_python(&self, python: &Path, file: &Path) -> Run {
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/paho_sender.py"));
        command.arg(self.broker.address().port().to_string()).arg(DEVICE).arg(file);
        Run::of(command)
    }
}
