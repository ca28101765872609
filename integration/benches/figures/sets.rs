use std::fs;
use std::time::Duration;

use mqtt_ota_integration::{Distance, Interpreter, Mosquitto, MqttOta, SetDevice, free_port};

use crate::content::write_random;
use crate::sample::Sample;
use crate::stage::DEVICE;

const FILES: usize = 50;
/// Length of each file, in bytes.
const BYTES: usize = 4096;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const RUNS: usize = 10;

/// Measures sets over a link with a round trip: the cost of one changed file, and a folder in comparison with one file
/// of its size. The device is the companion client on MicroPython.
pub(crate) fn measure() {
    println!("{FILES} files of {BYTES} bytes, a round trip of {ROUND_TRIP:?}, {RUNS} runs each");
    let (mut one_near, mut one_far) = (Sample::default(), Sample::default());
    let (mut set, mut file) = (Sample::default(), Sample::default());
    for _ in 0..RUNS {
        let stage = Stage::new();
        file.add(stage.run("send", "whole", ROUND_TRIP));
        set.add(stage.run("sync", "folder", ROUND_TRIP));
        stage.change();
        one_near.add(stage.run("sync", "folder", Duration::ZERO));
        stage.change();
        one_far.add(stage.run("sync", "folder", ROUND_TRIP));
    }
    let beyond = one_far.median().saturating_sub(one_near.median()).as_secs_f64() / ROUND_TRIP.as_secs_f64();
    println!("    one file changed    {one_far}, without the round trip {one_near}");
    println!("    round trips              {beyond:.1} (goal: at most 4)");
    println!("    all files, new      {set}");
    println!("    one file as long    {file}");
    println!(
        "    throughput               {:.0} % of it (goal: at least 80 %)",
        100.0 * file.over(set.median())
    );
}

struct Stage {
    broker: Mosquitto,
    _device: SetDevice,
    _root: tempfile::TempDir,
    files: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let (_root, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = files.path().join("folder");
        fs::create_dir(&folder).unwrap();
        for number in 0..FILES {
            write_random(&folder.join(format!("{number:02}.bin")), BYTES);
        }
        write_random(&files.path().join("whole"), FILES * BYTES);
        let broker = Mosquitto::start();
        let _device = SetDevice::boot(Interpreter::MicroPython, &broker, DEVICE, _root.path());
        Self { broker, _device, _root, files }
    }

    /// Rewrites one file of the folder.
    fn change(&self) {
        write_random(&self.files.path().join("folder/17.bin"), BYTES);
    }

    /// Runs the command. Returns the time from the making of its offer to the device's confirmation.
    fn run(&self, command: &str, what: &str, round_trip: Duration) -> Duration {
        let port = free_port();
        let link = Distance::to(port, round_trip);
        let run = MqttOta::run(command)
            .broker(&self.broker)
            .arg(self.files.path().join(what))
            .args(["--to", DEVICE, "--json", "--wait-boot", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--advertise", &link.advertised()])
            .finish();
        run.assert_status(0);
        let lines = run.json_lines();
        let result = lines.iter().find(|line| line["event"] == "result").unwrap();
        Duration::from_secs_f64(result["seconds"].as_f64().unwrap())
    }
}
