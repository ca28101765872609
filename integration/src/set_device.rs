use std::path::{Path, PathBuf};
use std::process::Command;

use crate::demo_device::Interpreter;
use crate::endpoint::Endpoint;
use crate::process::{Process, captured};

/// Device that takes sets: the real companion client, on a folder as its flash. Killed when dropped, as by a power cut.
#[derive(Debug)]
pub struct SetDevice {
    process: Process,
}

impl SetDevice {
    /// Boots a device called `name` whose flash is the folder `root`, and returns when it takes offers.
    pub fn boot(interpreter: Interpreter, broker: &impl Endpoint, name: &str, root: &Path) -> Self {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropython-client");
        // `COMPANION` names the folder of another version of the client to try.
        let client = std::env::var_os("COMPANION").map_or(client, PathBuf::from);
        Self::boot_of(&client, interpreter, broker, name, root)
    }

    /// Like [`Self::boot`], with the modules of the client that are in the folder `client`.
    pub fn boot_of(
        client: &Path,
        interpreter: Interpreter,
        broker: &impl Endpoint,
        name: &str,
        root: &Path,
    ) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let address = broker.address();
        let mut command = Command::new(interpreter.program());
        command.arg(here.join("micropython/set_device.py"));
        command.arg(here.join("../crates/mqtt-ota-cli/src/commands/demo/device.py"));
        command.arg(address.ip().to_string()).arg(address.port().to_string()).arg(name).arg(root);
        let path = format!("{}:.frozen", client.display());
        command.env("MICROPYPATH", &path).env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1");
        captured(&mut command);
        let process = Process::start(format!("a device with sets on {interpreter:?}"), command);
        let device = Self { process };
        device.process.stdout().wait_for("waiting for offers");
        device
    }

    /// Returns the running interpreter. The device's steps are on its standard output.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
