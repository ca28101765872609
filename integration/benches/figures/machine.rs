use std::fs;
use std::thread::available_parallelism;

/// Describes the machine that the figures are measured on, and its load.
pub(crate) fn describe() -> String {
    let cores = available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    format!("{} {}, {cores} cores; {}", std::env::consts::OS, std::env::consts::ARCH, load())
}

/// Returns the load average of the last minute: the number of processes that wanted to run.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().map_or_else(|| "load unknown".to_owned(), |load| format!("load {load}"))
}
