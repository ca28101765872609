use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the MicroPython client.
pub fn companion() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropython-client")
}

/// The names of its modules, without `.py`, in their order.
pub fn companion_modules() -> Vec<String> {
    let entries = fs::read_dir(companion()).expect("the client's folder");
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let modules = files.filter(|file| file.starts_with("mqtt_ota"));
    let mut modules: Vec<_> =
        modules.filter_map(|file| file.strip_suffix(".py").map(str::to_owned)).collect();
    modules.sort();
    modules
}
