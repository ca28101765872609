use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::endpoint::Endpoint;
use crate::process::{Finished, Process, captured};
use crate::runtime::GUARD;

/// Only variables of the tester's environment that the command sees. A system needs them to start a program.
const KEPT: [&str; 6] = ["PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "LLVM_PROFILE_FILE"];

/// User and group id that owns nothing on Linux and macOS.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

/// The real `mqtt-ota`, about to be run, with a home of its own and without the tester's settings.
#[derive(Debug)]
pub struct MqttOta {
    command: Command,
    shown: String,
    home: TempDir,
}

impl MqttOta {
    /// Prepares `mqtt-ota` with its first argument, the subcommand.
    pub fn run(subcommand: &str) -> Self {
        Self::run_of(binary(), subcommand)
    }

    /// Like [`Self::run`], with another `mqtt-ota`, such as one of another version.
    pub fn run_of(binary: &Path, subcommand: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(binary);
        command.env_clear();
        for name in KEPT {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path().join(".config"));
        command.env("APPDATA", home.path());
        command.current_dir(home.path());
        captured(&mut command);
        Self { command, shown: "mqtt-ota".to_owned(), home }.arg(subcommand)
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Points the command at `broker`, with its login, by environment variables.
    pub fn broker(self, broker: &impl Endpoint) -> Self {
        let url = broker.url();
        match broker.login() {
            None => self.env("MQTT_OTA_BROKER", url),
            Some((user, password)) => {
                self.env("MQTT_OTA_BROKER", url).env("MQTT_OTA_USER", user).env("MQTT_OTA_PASSWORD", password)
            }
        }
    }

    /// Sets an environment variable of the command.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder that the command starts in, which is its home by default.
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Returns the command's home folder, to put settings into. The folder lives as long as this value.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Connects standard output to a pipe that nobody reads, as after `| head -0`.
    pub fn stdout_closed(mut self) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        self.command.stdout(Stdio::from(writer));
        self
    }

    /// Drops the rights of a tester who is root, and so may read everything, to those of an unprivileged user.
    #[cfg(unix)]
    pub fn unprivileged(mut self) -> Self {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        use std::os::unix::process::CommandExt as _;

        if !rustix::process::geteuid().is_root() {
            return self;
        }
        // The binary may be in a folder that only root may enter.
        let copy = self.home.path().join("mqtt-ota");
        fs::copy(binary(), &copy).expect("the binary is copied");
        fs::set_permissions(self.home.path(), Permissions::from_mode(0o755)).expect("a mode is set");
        let mut command = Command::new(copy);
        command.args(self.command.get_args()).env_clear().uid(NOBODY).gid(NOBODY);
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.current_dir(self.command.get_current_dir().unwrap_or(self.home.path()));
        captured(&mut command);
        self.command = command;
        self
    }

    /// Starts the command. The second value is its home folder, which has to outlive it.
    pub fn start(self) -> (Process, TempDir) {
        (Process::start(self.shown, self.command), self.home)
    }

    /// Starts the command, and waits for its end.
    pub fn finish(self) -> Finished {
        self.finish_within(GUARD)
    }

    /// Starts the command, and waits for its end, for at most `limit`.
    pub fn finish_within(self, limit: Duration) -> Finished {
        let (process, _home) = self.start();
        process.wait_for(limit)
    }
}

/// Returns the path of the `mqtt-ota` binary that was built with the tests, or of the one that `MQTT_OTA_BINARY` names.
///
/// # Panics
///
/// Panics if the built binary is missing, or older than a source that it was built from. A test builds nothing.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("MQTT_OTA_BINARY").map_or_else(built, PathBuf::from))
}

fn built() -> PathBuf {
    let test = env::current_exe().expect("the test knows where it is");
    // A test is in `deps`, below the folder of the binaries.
    let folder = test.parent().and_then(Path::parent).expect("a test is in a target folder");
    let binary = folder.join(format!("mqtt-ota{}", env::consts::EXE_SUFFIX));
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    let is_current = modified(&binary).is_ok_and(|built| {
        sources_of(&binary).iter().all(|source| modified(source).is_ok_and(|modified| modified <= built))
    });
    assert!(
        is_current,
        "{} is missing or older than its source: run `cargo build --workspace`, with the profile of this test",
        binary.display(),
    );
    binary
}

/// Returns the sources of the binary: those that `cargo build` lists beside it. `cargo test` alone lists none, and then
/// the result is every source of the crates.
fn sources_of(binary: &Path) -> Vec<PathBuf> {
    if let Ok(text) = fs::read_to_string(binary.with_extension("d")) {
        // The file has the binary, a colon, and the sources, with blanks escaped.
        let sources = text.split_once(": ").map_or("", |(_, sources)| sources).trim_end();
        let sources = sources.replace("\\ ", "\0");
        return sources.split(' ').map(|source| PathBuf::from(source.replace('\0', " "))).collect();
    }
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // Not part of a binary.
            if ["tests", "tests.rs", "played.rs", "examples", "benches"]
                .iter()
                .any(|name| entry.file_name() == *name)
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rs") {
                sources.push(path);
            }
        }
    }
    sources
}
