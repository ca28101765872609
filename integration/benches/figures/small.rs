use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mqtt_ota_integration::{Endpoint as _, Mosquitto, OriginalDevice, Step, binary};

use crate::content::write_random;
use crate::paho;
use crate::place::Place;
use crate::run::Run;
use crate::sample::Sample;
use crate::stage::Stage;

/// Length of the file, in bytes: that of the original's own example.
const BYTES: usize = 3_891;

/// Number of runs of each sender.
const RUNS: usize = 50;

/// Pause for a device that has just subscribed.
///
/// For 40 ms its system does not acknowledge the broker's answer, and Mosquitto sends it nothing more until then
/// (Nagle). This delay is no part of what either sender takes.
const AT_REST: Duration = Duration::from_millis(100);

/// Measures a small file: the time of the whole process, in comparison with a Python sender of the same design.
pub(crate) fn measure() {
    println!("{BYTES} bytes, the whole process, {RUNS} runs each, alternating");
    let python = paho::python();
    if let Err(why) = &python {
        println!("  without the Python sender: {why}");
    }
    for place in Place::all(BYTES as u64) {
        measure_in(&place, python.as_deref().ok());
    }
    measure_original(python.as_deref().ok());
}

/// Measures a small file to the firmware of 2018, which announces nothing and reports nothing. Both senders end when
/// the device has closed its connection.
fn measure_original(python: Option<&Path>) {
    const DEVICE: &str = "HEATER";
    let (source, root) = (Place::disk(), Place::disk());
    let (file, broker) = (source.file("data.bin"), Mosquitto::start());
    let device = OriginalDevice::boot(&broker, DEVICE, root.path());
    let home = tempfile::tempdir().expect("a temporary folder");
    let (mut ours, mut theirs) = (Sample::default(), Sample::default());
    let settle = || {
        assert_eq!(device.next_step(), Step::Installed("data.bin".to_owned()));
        assert_eq!(device.next_step(), Step::Booted);
        std::thread::sleep(AT_REST);
    };
    for _ in 0..RUNS {
        write_random(&file, BYTES);
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", home.path()).env("MQTT_OTA_BROKER", broker.url());
        command.args(["send", "--to", DEVICE, "--advertise", "127.0.0.1"]).arg(&file);
        ours.add(Run::of(command).time());
        settle();
        if let Some(python) = python {
            let mut command = Command::new(python);
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/paho_sender.py"));
            command.arg(broker.address().port().to_string()).arg(DEVICE).arg(&file);
            theirs.add(Run::of(command).time());
            settle();
        }
    }
    println!("  a device that announces nothing");
    println!("    mqtt-ota send       {ours}, until the device has closed");
    if python.is_some() {
        println!("    Python, paho-mqtt   {theirs}, until the device has closed");
        println!("    ratio                    1/{:.1} (goal: at most 1/8)", theirs.over(ours.median()));
    }
}

fn measure_in(place: &Place, python: Option<&Path>) {
    let source = Place::disk();
    let file = source.file("data.bin");
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
