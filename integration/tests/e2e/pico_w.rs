//! The companion client with the real firmware of a Pico W, its lwIP, its LittleFS and its flash driver, on an emulated
//! RP2040 and radio. `PICO_W_UF2` names the firmware; `integration/pico-w.sh` runs this, in half an hour.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use mqtt_ota_integration::{Endpoint, MqttOta, PicoW, Process, Scene, companion, noise};
use tempfile::TempDir;

type Files = BTreeMap<String, String>;

const NAME: &str = "NIGHTLAMP";
/// An emulated second is up to a minute, so nothing here is a test of time-outs.
const LONG: Duration = Duration::from_secs(30 * 60);
/// At how many of the changes of the flash the power is cut, in them and after them.
const CUTS: usize = 12;

/// In place of the template's. It needs the radio last, as the emulator takes half a minute to turn that on.
const APP: &str = "\
import time
import lamp
print('lamp', lamp.VERSION)
import broker, mqtt_ota, wifi
client = broker.client()
ota = mqtt_ota.attach(client, 'NIGHTLAMP')
wifi.connect()
client.connect()
ota.start()
print('lamp', lamp.VERSION, 'is ready')
while True:
    client.check_msg()
    time.sleep_ms(20)
";

/// What the client takes of the board's memory, with OPTIONS for its boot.
const HEAP: &str = "\
import gc
def free(what):
    gc.collect()
    print('free with', what, gc.mem_free())
free('nothing')
from umqtt.simple import MQTTClient
free('umqtt')
import mqtt_ota_boot
mqtt_ota_boot.boot(OPTIONS)
free('mqtt_ota_boot')
import mqtt_ota
free('mqtt_ota')
ota = mqtt_ota.attach(MQTTClient('NIGHTLAMP', '10.0.0.1'), 'NIGHTLAMP')
free('its object')
print('measured')
";

/// A board that is at the broker, and a folder with what is sent to it.
struct Home {
    scene: Scene,
    board: PicoW,
}

impl Home {
    /// With more options of `boot()`; the first version of its application is ready.
    fn new(options: &str) -> Option<Self> {
        let mut home = Self::off(options)?;
        assert_eq!(home.board.boots_to("lamp 1 is ready"), 0);
        println!("pico w: to the broker: {}", home.board.took());
        Some(home)
    }

    /// The same, with the power off.
    fn off(options: &str) -> Option<Self> {
        let scene = Scene::new();
        let template = |name: &str, old: &str, new: &str| {
            let text = fs::read_to_string(companion().join("template").join(name)).unwrap();
            assert!(text.contains(old), "{name} has no {old:?}");
            text.replace(old, new)
        };
        let settings = format!(
            "NAME, HOST, PORT = {NAME:?}, {:?}, {}\nSSID, WIFI_PASSWORD, USER, PASSWORD = {:?}, '', None, None\n",
            PicoW::COMPUTER,
            scene.broker.address().port(),
            PicoW::SSID,
        );
        let board = PicoW::flash(&[
            ("boot.py", &template("boot.py", "connect=connect", &format!("connect=connect{options}"))),
            ("main.py", &template("main.py", "", "")),
            // The broker waits for a ping on this computer's clock, which runs faster.
            ("broker.py", &template("broker.py", "KEEPALIVE = 60", "KEEPALIVE = 6000")),
            ("wifi.py", &template("wifi.py", "", "")),
            ("settings.py", &settings),
            ("app.py", APP),
            ("lamp.py", &lamp(1)),
        ])?;
        Some(Self { scene, board })
    }

    fn sends(&self, lamp: &str) -> (Process, TempDir) {
        self.starts(self.scene.send(self.scene.file("lamp.py", lamp), NAME).arg("--no-check"))
    }

    /// A folder with this module, and others beside it.
    fn syncs(&self, lamp: &str, others: &[&str]) -> (Process, TempDir) {
        let folder = self.scene.folder().join("lamp");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("lamp.py"), lamp).unwrap();
        for (seed, name) in (0..).zip(others) {
            let text: String = noise(seed, 1500).iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(folder.join("lib").join(name), format!("TEXT = '{text}'\n")).unwrap();
        }
        self.starts(self.scene.command("sync").arg(folder).args(["--to", NAME]))
    }

    fn starts(&self, command: MqttOta) -> (Process, TempDir) {
        let timeouts = ["CONNECT", "IDLE", "CONFIRM", "BOOT"].map(|what| format!("MQTT_OTA_{what}_TIMEOUT"));
        let command = timeouts.iter().fold(command, |command, name| command.env(name, "20m"));
        command.args(["--wait-boot", "--advertise", PicoW::COMPUTER]).env("MQTT_OTA_RETRIES", "0").start()
    }

    /// The board resets itself, and boots as often as it does until this version is ready: how often it reset itself again.
    fn boots_to(&mut self, version: u32) -> usize {
        self.board.resets();
        self.board.boots_to(&format!("lamp {version} is ready"))
    }
}

fn lamp(version: u32) -> String {
    format!("VERSION = {version}\n")
}

fn is_done(running: (Process, TempDir), words: &str) {
    running.0.wait_for(LONG).assert_status(0).assert_mentions(words).assert_mentions("back online");
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn what_the_client_takes_of_its_heap() {
    for options in ["", "connect=print", "connect=print, at_boot=True"] {
        let Some(mut board) = PicoW::flash(&[("main.py", &HEAP.replace("OPTIONS", options))]) else { return };
        assert!(board.comes_to("measured"));
        let printed = board.power_off();
        println!("pico w: boot({options}):");
        for line in printed.lines().filter(|line| line.contains("free with")) {
            println!("pico w: {line}");
        }
    }
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn a_set_is_installed_as_a_whole_and_one_that_crashes_is_taken_back() {
    let Some(mut home) = Home::new("") else { return };
    let sending = home.sends(&lamp(2));
    assert_eq!(home.boots_to(2), 0);
    is_done(sending, "installed");
    println!("pico w: a file: {}", home.board.took());

    let (before, old) = (home.board.copy(), home.board.files());
    home.board.forgets_changes();
    let syncing = home.syncs(&lamp(3), &["one.py", "two.py", "three.py"]);
    assert_eq!(home.boots_to(3), 0);
    is_done(syncing, "installed");
    println!("pico w: a set: {}", home.board.took());
    let (erased, programmed) = home.board.changes();
    println!("pico w: a set of four files: {erased} erases, {programmed} programs");
    let new = home.board.files();

    let syncing = home.syncs("raise ValueError('no lamp')\n", &[]);
    // Two boots die of it, and the third one takes it back.
    assert_eq!(home.boots_to(3), 3);
    syncing.0.wait_for(LONG).assert_status(1).assert_error("rolled back").assert_error("no lamp");
    home.scene.command("devices").finish().assert_status(0).assert_mentions("rolled back");
    assert_eq!(home.board.files(), new);
    println!("pico w: a set that crashes: {}", home.board.took());

    home.board.power_off();
    assert_ne!(old, new);
    cut_anywhere_leaves_the_old_set_or_the_new_one(&home.board, erased + programmed, &before, &old, &new);
}

/// Cuts the power at some of the first `total` changes that `traced` has made of `before`, in them and after them.
fn cut_anywhere_leaves_the_old_set_or_the_new_one(
    traced: &PicoW,
    total: usize,
    before: &PicoW,
    old: &Files,
    new: &Files,
) {
    let mut left: BTreeMap<_, usize> = BTreeMap::new();
    let mut cut_again = 0;
    let since = Instant::now();
    for cut in (1..total).step_by(total.div_ceil(CUTS)) {
        for is_torn in [false, true] {
            let mut board = before.copy();
            board.changes_as(traced, cut, is_torn);
            // And once more, in the recovery, if there is one.
            if !board.comes_before_cut_to("lamp", 2, is_torn) {
                cut_again += usize::from(board.ends().contains("power cut"));
                board.boots_to("lamp");
            }
            let printed = board.power_off();
            let files = board.files();
            let is_new = files == *new;
            assert!(is_new || files == *old, "cut at {cut}, torn: {is_torn}: {files:?}");
            assert!(printed.contains(if is_new { "lamp 3" } else { "lamp 2" }), "{printed}");
            *left.entry((is_new, is_torn)).or_default() += 1;
        }
    }
    let seconds = since.elapsed().as_secs();
    println!("pico w: cuts in {total} changes: (new, torn) {left:?}, {cut_again} cut again, {seconds} s");
    assert!(left.len() == 4 && cut_again > 0, "{left:?}, {cut_again}");
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn a_plug_that_is_pulled_does_not_count_against_a_set_and_a_reset_of_its_own_is_no_fault() {
    let Some(mut home) = Home::new(", patience=3") else { return };
    let _syncing = home.syncs("import time\nprint('lamp hangs')\ntime.sleep(60)\n", &[]);
    home.board.resets();
    assert!(home.board.comes_to("lamp hangs"));
    for _ in 0..3 {
        home.board.power_off();
        assert!(home.board.comes_to("lamp hangs"));
    }
    assert_eq!(home.board.state("boots"), "4 0 0 .");
    // An RP2040 is reset by its watchdog each time that it resets itself.
    home.board.resets();
    assert!(home.board.comes_to("lamp hangs"));
    assert_eq!(home.board.state("boots"), "5 0 1 .");
    println!("pico w: a plug: {}", home.board.took());
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn what_is_offered_is_fetched_at_boot() {
    let Some(mut home) = Home::new(", at_boot=True") else { return };
    let syncing = home.syncs(&lamp(2), &["one.py"]);
    // One boot fetches it.
    assert_eq!(home.boots_to(2), 1);
    is_done(syncing, "fetches it at its boot");
    println!("pico w: a set at boot: {}", home.board.took());
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn a_file_that_crashes_three_times_is_repaired_in_safe_mode() {
    let Some(mut home) = Home::new("") else { return };
    let sending = home.sends("raise ValueError('no lamp')\n");
    home.board.resets();
    assert_eq!(home.board.boots_to("is not run until an update comes"), 3);
    sending.0.wait_for(LONG).assert_status(0).assert_mentions("no lamp").assert_mentions("in safe mode");
    home.scene.command("devices").finish().assert_status(0).assert_mentions("safe mode");
    println!("pico w: three crashes: {}", home.board.took());

    let sending = home.sends(&lamp(2));
    assert_eq!(home.boots_to(2), 0);
    is_done(sending, "installed");
    println!("pico w: its repair: {}", home.board.took());
}

#[test]
#[ignore = "an emulated Pico W: integration/pico-w.sh"]
fn a_set_goes_on_after_a_power_cut_in_the_middle_of_it() {
    let Some(mut home) = Home::off("") else { return };
    assert!(home.board.comes_before_cut_to("lamp 1 is ready", 20, true));
    let syncing = home.syncs(&lamp(2), &["one.py", "two.py", "three.py"]);
    assert!(home.board.ends().contains("power cut"));
    assert_eq!(home.board.boots_to("lamp 1 is ready"), 0);
    assert_eq!(home.boots_to(2), 0);
    is_done(syncing, "installed");
    println!("pico w: a set with a power cut: {}", home.board.took());
}
