use std::fs;
use std::thread::available_parallelism;

/// What the figures were measured on, and how busy it is with other things.
pub(crate) fn describe() -> String {
    let cores = available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    format!("{} {}, {cores} cores; {}", std::env::consts::OS, std::env::consts::ARCH, load())
}

/// How many processes have wanted to run, on average over the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().map_or_else(|| "load unknown".to_owned(), |load| format!("load {load}"))
}
