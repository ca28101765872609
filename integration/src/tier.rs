/// Whether the thorough tier runs, which does everything at full size: `MQTT_OTA_THOROUGH` says so.
pub fn thorough() -> bool {
    std::env::var_os("MQTT_OTA_THOROUGH").is_some_and(|value| !value.is_empty() && value != "0")
}

/// `full` in the thorough tier, and `quick` otherwise: how often something is repeated, or how large it is.
pub fn sized<T>(full: T, quick: T) -> T {
    if thorough() { full } else { quick }
}
