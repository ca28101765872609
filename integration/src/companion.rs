use std::fs;
use std::path::{Path, PathBuf};

use crate::endpoint::Endpoint;

/// Returns the folder of the MicroPython client.
pub fn companion() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../micropython-client")
}

/// Returns the names of the client's modules, without `.py`, in alphabetical order.
pub fn companion_modules() -> Vec<String> {
    // CPython needs this module. Boards do not have it.
    const CPYTHON: &str = "mqtt_ota_python";
    let entries = fs::read_dir(companion()).expect("the client's folder");
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let modules = files.filter(|file| file.starts_with("mqtt_ota"));
    let mut modules: Vec<_> =
        modules.filter_map(|file| file.strip_suffix(".py").map(str::to_owned)).collect();
    modules.retain(|module| module != CPYTHON);
    modules.sort();
    modules
}

/// Copies all modules to `lib`, as an installation does.
pub fn install_companion(lib: &Path) {
    fs::create_dir_all(lib).expect("a folder");
    for module in companion_modules() {
        let file = module + ".py";
        fs::copy(companion().join(&file), lib.join(file)).expect("a module is copied");
    }
}

/// Copies the template to `folder`, and fills in the settings that a user has to.
pub fn copy_template(folder: &Path, broker: &impl Endpoint, name: &str) {
    fs::create_dir_all(folder).expect("a folder");
    for entry in fs::read_dir(companion().join("template")).expect("the template") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.join(path.file_name().expect("a file"))).expect("a file is copied");
    }
    let path = folder.join("settings.py");
    let settings = fs::read_to_string(&path).expect("settings.py");
    let address = broker.address();
    let mine = [("NAME", name.to_owned()), ("HOST", address.ip().to_string())];
    let mut mine: Vec<_> = mine.map(|(key, value)| (key, format!("{value:?}"))).into();
    mine.push(("PORT", address.port().to_string()));
    let lines = settings.lines().map(|line| {
        let mine = mine.iter().find(|(key, _)| line.starts_with(&format!("{key} = ")));
        mine.map_or_else(|| line.to_owned(), |(key, value)| format!("{key} = {value}"))
    });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").expect("settings.py");
}
