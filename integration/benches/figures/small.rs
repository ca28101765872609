use std::path::Path;

use crate::content::write_random;
use crate::paho;
use crate::place::Place;
use crate::sample::Sample;
use crate::stage::Stage;

/// The file's length in bytes: that of the original's own example.
const BYTES: usize = 3_891;

/// How often each sender runs.
const RUNS: usize = 50;

/// A small file: the time of the whole process, beside that of a Python sender of the same design.
pub(crate) fn measure() {
    println!("{BYTES} bytes, the whole process, {RUNS} runs each, alternating");
    let python = paho::python();
    if let Err(why) = &python {
        println!("  without the Python sender: {why}");
    }
    for place in Place::all(BYTES as u64) {
        measure_in(&place, python.as_deref().ok());
    }
}

fn measure_in(place: &Place, python: Option<&Path>) {
    let source = Place::disk();
    let file = source.file("main.py");
    let stage = Stage::set(place.path());
    let (mut ours, mut theirs) = (Sample::default(), Sample::default());
    let mut boots = 1;
    // The device is left alone until it is back from its reboot.
    let mut settle = || {
        boots += 1;
        stage.wait_for("online", boots);
        write_random(&file, BYTES);
    };

    write_random(&file, BYTES);
    let peak = stage.send(&file).peak();
    settle();
    for _ in 0..RUNS {
        ours.add(stage.send(&file).time());
        settle();
        if let Some(python) = python {
            theirs.add(stage.send_with_python(python, &file).time());
            settle();
        }
    }

    println!("  device's files in {place}");
    println!("    mqtt-ota send       {ours}, until the device says \"installed\"");
    if python.is_some() {
        println!("    Python, paho-mqtt   {theirs}, until the device has closed");
        println!("    ratio                    1/{:.1} (goal: at most 1/8)", theirs.over(ours.median()));
    }
    println!("    peak memory         {peak} (goal: under 16 MiB)");
}
