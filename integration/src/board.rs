use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::companion::install_companion;
use crate::demo_device::Interpreter;
use crate::endpoint::Endpoint;
use crate::process::{Finished, Process, captured};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Words in the line that an application prints when it is ready.
const READY: &str = "is ready";

/// File system of a [`Board`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// LittleFS 2, as on an ESP8266, an ESP32 and a Pico.
    Lfs2,
    /// LittleFS 1.
    Lfs1,
    /// FAT, as on an SD card.
    Fat,
}

/// Simulated board: real MicroPython with a real file system, on an image as its flash. Its `main.py` is an
/// application, which starts anew after each reset.
#[derive(Debug)]
pub struct Board {
    home: TempDir,
    firmware: Interpreter,
    file_system: FileSystem,
    process: Option<Process>,
    wifi: bool,
    cause: &'static str,
}

impl Board {
    /// Flashes a board with the companion client and with `application`, one of those below `micropython/apps`. The
    /// board connects to `broker` as `name`. `settings` are further lines of its `settings.py`.
    pub fn flash(
        file_system: FileSystem,
        application: &str,
        broker: &impl Endpoint,
        name: &str,
        settings: &str,
    ) -> Self {
        Self::flash_on(Interpreter::MicroPython, file_system, application, broker, name, settings)
    }

    /// Like [`Self::flash`], with another MicroPython as the firmware.
    pub fn flash_on(
        firmware: Interpreter,
        file_system: FileSystem,
        application: &str,
        broker: &impl Endpoint,
        name: &str,
        settings: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = folder.path();
        let here = Path::new(HERE);
        install_companion(&files.join("lib"));
        copy_file(&here.join(application), &files.join("main.py"));
        let address = broker.address();
        let settings = format!(
            "NAME = {name:?}\nHOST = \"{}\"\nPORT = {}\nCLIENT = \"simple\"\nKEEPALIVE = 60\nBLOCKS = False\n{settings}\n",
            address.ip(),
            address.port(),
        );
        fs::write(files.join("settings.py"), settings).expect("settings.py");
        Self::flash_files(firmware, file_system, files)
    }

    /// Flashes a board with a folder's files, besides those of its firmware: umqtt, and stand-ins for its hardware.
    pub fn flash_folder(file_system: FileSystem, folder: &Path) -> Self {
        Self::flash_files(Interpreter::MicroPython, file_system, folder)
    }

    fn flash_files(firmware: Interpreter, file_system: FileSystem, folder: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let board = Self { home, firmware, file_system, process: None, wifi: true, cause: "power" };
        let files = board.home.path().join("files");
        let here = Path::new(HERE);
        copy(&here.join("micropython/board"), &files.join("lib"));
        if let Some(mqtt_as) = mqtt_as() {
            fs::remove_file(files.join("lib/mqtt_as.py")).expect("what stands in for it");
            copy(&mqtt_as, &files.join("lib/mqtt_as"));
        }
        // `UMQTT` names the folder of another version of umqtt to try.
        let umqtt = std::env::var_os("UMQTT")
            .map_or_else(|| here.join(".cache/micropython/lib/umqtt"), PathBuf::from);
        for module in ["simple.py", "robust.py", "simple2.py"] {
            if umqtt.join(module).exists() {
                copy_file(&umqtt.join(module), &files.join("lib/umqtt").join(module));
            }
        }
        copy(folder, &files);
        board.run("flash", Some(&files)).assert_status(0);
        board
    }

    /// Puts a file on the flash, as with a cable. The power has to be off.
    pub fn put(&self, file: &str, bytes: impl AsRef<[u8]>) {
        assert!(self.process.is_none(), "turn the power off first");
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(file), bytes).expect("a file");
        self.run("put", Some(folder.path())).assert_status(0);
    }

    /// Turns the power on, and returns when the application is ready.
    #[track_caller]
    pub fn boot(&mut self) -> &Process {
        assert!(self.tries_to_boot(), "the board does not boot: {:?}", self.process());
        self.process()
    }

    /// Turns the power on, and waits for nothing.
    pub fn power_on(&mut self) {
        let mut command = self.command("boot", None);
        captured(&mut command);
        self.process = Some(Process::start(format!("a board with {:?}", self.file_system), command));
    }

    /// Turns the power on. Returns true if the application is ready before the board resets.
    pub fn tries_to_boot(&mut self) -> bool {
        self.tries_to_come_up(READY)
    }

    /// Turns the power on. Returns true if the board prints a line with these words before it resets.
    pub fn tries_to_come_up(&mut self, words: &str) -> bool {
        self.power_on();
        self.process().stdout().has_line_before_end(words)
    }

    /// Turns the power on without an application, with the prompt on a terminal as on a cable. Returns the terminal's
    /// path.
    pub fn prompt(&mut self) -> PathBuf {
        let board = self.command("prompt", None);
        let mut command = Command::new("python3");
        command.arg(Path::new(HERE).join("cable.py")).arg(board.get_program()).args(board.get_args());
        captured(&mut command);
        let process = self.process.insert(Process::start("a board at its prompt", command));
        let path = |text: &str| text.strip_suffix('\n').map(PathBuf::from);
        process.stdout().wait_until("the terminal's path", path)
    }

    /// Waits for a reset of the board. Returns what the board has printed since the boot.
    #[track_caller]
    pub fn resets(&mut self) -> String {
        let run = self.process.take().expect("the board runs").wait();
        let mut lines = run.stdout.lines().rev();
        assert!(lines.next().is_some_and(|line| line.ends_with("reset")), "{run:?}");
        self.cause = match lines.next() {
            Some("watchdog") => "watchdog",
            Some(line) if line.starts_with("sleeps ") => "sleep",
            _ => "reset",
        };
        run.stdout
    }

    /// Waits for a reset of the board, and lets it boot again. Returns what the board printed before.
    #[track_caller]
    pub fn reboots(&mut self) -> String {
        let printed = self.resets();
        self.boot();
        printed
    }

    /// Returns the running interpreter.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the board runs")
    }

    /// Returns true if the board is still in the boot that it began with.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| !process.has_ended())
    }

    /// Turns the power off.
    pub fn power_off(&mut self) {
        self.process.take().expect("the board runs").kill();
        self.cause = "power";
    }

    /// Turns the access point on or off for all further boots.
    pub fn has_wifi(&mut self, wifi: bool) {
        self.wifi = wifi;
    }

    /// Returns the bytes of a file on the flash. The power has to be off, as there is one file system driver only.
    pub fn read(&self, file: &str) -> Vec<u8> {
        assert!(self.process.is_none(), "turn the power off first");
        let read = self.run("read", Some(Path::new(file)));
        let hex = read.assert_status(0).stdout.trim_end().as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).expect("hexadecimal") as u8;
        hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// Returns all files on the flash, except those that every board was flashed with. The power has to be off.
    pub fn files(&self) -> Vec<String> {
        assert!(self.process.is_none(), "turn the power off first");
        let list = self.run("list", None);
        let files = list.assert_status(0).stdout.lines().filter(|file| !file.starts_with("lib/"));
        files.map(str::to_owned).collect()
    }

    fn run(&self, what: &str, argument: Option<&Path>) -> Finished {
        let mut command = self.command(what, argument);
        captured(&mut command);
        Process::start(format!("board.py {what}"), command).wait()
    }

    fn command(&self, what: &str, argument: Option<&Path>) -> Command {
        let mut command = Command::new(self.firmware.program());
        command.arg(Path::new(HERE).join("micropython/board.py"));
        command.arg(match self.file_system {
            FileSystem::Lfs2 => "lfs2",
            FileSystem::Lfs1 => "lfs1",
            FileSystem::Fat => "fat",
        });
        command.arg(self.home.path().join("image")).arg(what).args(argument);
        command.env("BOARD_WIFI", if self.wifi { "1" } else { "0" }).env("BOARD_CAUSE", self.cause);
        command
    }
}

/// Returns the folder of the package mqtt_as, if `MQTT_AS` names its checkout.
fn mqtt_as() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("MQTT_AS")?).join("mqtt_as"))
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("a folder can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() { copy(&path, &target) } else { copy_file(&path, &target) }
    }
}

fn copy_file(from: &Path, to: &PathBuf) {
    fs::create_dir_all(to.parent().expect("a file is in a folder")).expect("a folder");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
