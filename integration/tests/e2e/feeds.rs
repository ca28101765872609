//! How long a watchdog goes without a feed while a set is taken, and what that writes to the flash: for 20 files and 200.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use mqtt_ota_integration::{Interpreter, companion};

#[test]
fn what_a_set_takes_grows_with_its_files_and_no_faster() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("micropython");
    let output = Command::new(Interpreter::MicroPython.program())
        .env("MICROPYPATH", format!("{}:.frozen:{}", companion().display(), scripts.display()))
        .args(["-X", "heapsize=64m"])
        .arg(scripts.join("gaps.py"))
        .args(["20", "200"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Past the test harness, which keeps what a passing test prints. The times are of this machine, and nothing is
    // asserted of them.
    std::io::stdout().write_all(text.replace(" files: ", " files of a set: ").as_bytes()).unwrap();

    let figures: Vec<HashMap<&str, u32>> = text
        .lines()
        .map(|line| {
            let pairs = line.split([' ', ',']).filter_map(|word| word.split_once('='));
            pairs.map(|(name, number)| (name, number.parse().unwrap())).collect()
        })
        .collect();
    let [few, many] = &figures[..] else { panic!("{text}") };
    for name in ["steps", "erases", "programs"] {
        assert!(few[name] > 0 && many[name] <= 11 * few[name], "{name}: {text}");
    }
}
