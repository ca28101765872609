use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Returns a Python with paho-mqtt, which the first call installs.
///
/// # Errors
/// Returns the reason if the installation fails.
pub(crate) fn python() -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/paho.sh");
    let output = Command::new("bash").arg(script).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("bash: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().into())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("paho.sh failed").to_owned())
    }
}
