use std::path::Path;
use std::process::Command;

use crate::process::{Process, captured};

/// Running `python3 -m http.server`, which serves a folder on loopback.
#[derive(Debug)]
pub struct FileServer {
    process: Process,
}

impl FileServer {
    /// Serves `folder` on a free port.
    pub fn of(folder: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        captured(&mut command);
        Self { process: Process::start("python3 -m http.server", command) }
    }

    /// Waits until the server listens, and returns its address, `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        let address = |text: &str| Some(text.split_once('(')?.1.split_once("/)")?.0.to_owned());
        self.process.stdout().wait_until("its address", address)
    }
}
