use std::io::Write as _;
use std::path::PathBuf;

/// Whether the thorough tier runs, which does everything at full size: `MQTT_OTA_THOROUGH` says so.
pub fn thorough() -> bool {
    std::env::var_os("MQTT_OTA_THOROUGH").is_some_and(|value| !value.is_empty() && value != "0")
}

/// `full` in the thorough tier, and `quick` otherwise: how often something is repeated, or how large it is.
pub fn sized<T>(full: T, quick: T) -> T {
    if thorough() { full } else { quick }
}

/// The path that the environment variable `name` holds, of something that no package registry has. Without one it is said
/// that the tests of `what` are skipped, also where the output of tests that pass is not shown.
pub fn brought(name: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).filter(|path| !path.is_empty());
    if path.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what}; {name} says where that is");
    }
    path.map(PathBuf::from)
}
