use std::io::Write as _;
use std::path::PathBuf;

/// Returns true in the thorough tier, which does everything at full size. `MQTT_OTA_THOROUGH` selects it.
pub fn thorough() -> bool {
    std::env::var_os("MQTT_OTA_THOROUGH").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Returns `full` in the thorough tier, and `quick` otherwise. For the number of repetitions or for sizes.
pub fn sized<T>(full: T, quick: T) -> T {
    if thorough() { full } else { quick }
}

/// Returns the path in the environment variable `name`, of something that no package registry has. Without one it
/// prints that the tests of `what` are skipped, even where the output of passing tests is hidden.
pub fn brought(name: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).filter(|path| !path.is_empty());
    if path.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what}; {name} says where that is");
    }
    path.map(PathBuf::from)
}
