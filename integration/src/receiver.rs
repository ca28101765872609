use std::path::Path;

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::endpoint::Endpoint;
use crate::process::Process;

/// Running `mqtt-ota receive`, the device that is written in Rust. Killed when dropped.
#[derive(Debug)]
pub struct Receiver {
    process: Process,
    _home: TempDir,
}

impl Receiver {
    /// Starts a device called `name` whose files are in `root`, and returns when it is announced.
    pub fn start(broker: &impl Endpoint, name: &str, root: &Path) -> Self {
        let command = MqttOta::run("receive").args(["--json", "--as", name]).arg("--root").arg(root);
        let (process, home) = command.broker(broker).start();
        process.stdout().wait_for("\"online\"");
        Self { process, _home: home }
    }

    /// Returns the running command alone, to see how it ends.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// Returns the running command. Its standard output tells what it does, one JSON object per line.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
