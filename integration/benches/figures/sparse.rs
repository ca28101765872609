use std::fs::File;

use crate::place::Place;
use crate::stage::Stage;

const BYTES: u64 = 1 << 30;

/// Measures the memory for a file that is larger than any device: the sender's memory must not grow with the file.
pub(crate) fn measure() {
    println!("1 GiB, sparse");
    let source = Place::disk();
    let file = source.file("zeros.bin");
    File::create(&file).and_then(|made| made.set_len(BYTES)).expect("a file is made");
    let root = Place::memory(BYTES).unwrap_or_else(Place::disk);
    let stage = Stage::set(root.path());
    let peak = stage.send(&file).arg("--no-reboot").peak();
    println!("    peak memory         {peak} (goal: under 16 MiB)");
}
