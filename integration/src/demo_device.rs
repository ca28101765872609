use std::path::{Path, PathBuf};
use std::process::Command;

use crate::companion::companion;
use crate::endpoint::Endpoint;
use crate::process::{Process, captured};

/// Folder of the interpreters that `integration/micropython.sh` installs.
const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/micropython/bin");

/// Interpreter that runs a [`DemoDevice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpreter {
    /// The unix port of MicroPython 1.25, or the one that MICROPYTHON names.
    MicroPython,
    /// The newest MicroPython that a package registry has, in the thorough tier.
    Newest,
    /// The oldest MicroPython that the client supports, 1.19, if MICROPYTHON_OLDEST names it.
    Oldest,
    /// CPython 3.
    Python3,
}

impl Interpreter {
    /// Returns the program to start.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Python3 => PathBuf::from("python3"),
            Self::MicroPython => {
                let cached = Path::new(CACHE).join("micropython");
                let cached = if cached.exists() { cached } else { PathBuf::from("micropython") };
                std::env::var_os("MICROPYTHON").map_or(cached, PathBuf::from)
            }
            Self::Newest => Path::new(CACHE).join("micropython-newest"),
            Self::Oldest => std::env::var_os("MICROPYTHON_OLDEST").expect("MICROPYTHON_OLDEST").into(),
        }
    }
}

/// Script that `mqtt-ota demo` runs, as a device on its own.
#[derive(Debug)]
pub struct DemoDevice {
    process: Process,
}

impl DemoDevice {
    /// Boots a device called `name` whose flash is the folder `root`, and returns when it takes offers.
    pub fn boot(interpreter: Interpreter, broker: &impl Endpoint, name: &str, root: &Path) -> Self {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/mqtt-ota-cli/src/commands/demo/device.py");
        let address = broker.address();
        let mut command = Command::new(interpreter.program());
        command.arg(script).arg(address.ip().to_string()).arg(address.port().to_string()).arg(name).arg(root);
        command
            .env("MICROPYPATH", format!(".frozen:{}", companion().display()))
            .env("PYTHONPATH", companion());
        Self::start(interpreter, command, "waiting for offers")
    }

    /// Like [`Self::boot`], with the asyncio application that [`Board`](crate::Board)s run.
    pub fn boot_asyncio(interpreter: Interpreter, broker: &impl Endpoint, name: &str, root: &Path) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let address = broker.address();
        let settings = format!("NAME, HOST, PORT = {name:?}, \"{}\", {}\n", address.ip(), address.port());
        std::fs::write(root.join("settings.py"), settings).expect("settings.py");
        let (client, board) = (here.join("../micropython-client"), here.join("micropython/board"));
        let path = format!(".frozen:{}:{}:{}", client.display(), board.display(), root.display());
        let mut command = Command::new(interpreter.program());
        command.arg(here.join("micropython/apps/asynchronous.py")).arg(root);
        command.env("MICROPYPATH", &path).env("PYTHONPATH", &path).env("PYTHONUNBUFFERED", "1");
        Self::start(interpreter, command, "is ready")
    }

    /// Runs an application, one of those below `micropython/apps`, on MicroPython, and returns when it is ready. The
    /// application imports from `modules` and from umqtt's folder.
    pub fn boot_application<'a>(
        application: &str,
        modules: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::boot_application_on(Interpreter::MicroPython, application, modules, arguments)
    }

    /// Like [`Self::boot_application`], on another MicroPython.
    pub fn boot_application_on<'a>(
        interpreter: Interpreter,
        application: &str,
        modules: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // `UMQTT_LIB` names the folder above another version of umqtt to try.
        let umqtt =
            std::env::var_os("UMQTT_LIB").map_or_else(|| here.join(".cache/micropython/lib"), PathBuf::from);
        let mut command = Command::new(interpreter.program());
        command.arg(here.join("micropython/apps").join(application)).args(arguments);
        command.env("MICROPYPATH", format!(".frozen:{}:{}", modules.display(), umqtt.display()));
        Self::start(interpreter, command, "is ready")
    }

    /// Starts the application `main`, on CPython with paho-mqtt and aiomqtt, and waits for nothing.
    pub fn start_python(main: &Path) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(here.join(".cache/paho/bin/python"));
        command.arg(main).env("PYTHONPATH", companion()).env("PYTHONUNBUFFERED", "1");
        captured(command.env("PYTHONDONTWRITEBYTECODE", "1"));
        Self { process: Process::start("a device on CPython", command) }
    }

    fn start(interpreter: Interpreter, mut command: Command, ready: &str) -> Self {
        captured(&mut command);
        let process = Process::start(format!("a device on {interpreter:?}"), command);
        let ready = process.stdout().has_line_before_end(ready);
        assert!(ready, "the device does not boot: {process:?}");
        Self { process }
    }

    /// Returns the running interpreter. The device's steps are on its standard output.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
