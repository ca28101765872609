//! The check of Python files against `mpy-cross` and CPython: nothing is refused that a board compiles, and next to
//! nothing passes that neither compiles.
//!
//! `MQTT_OTA_CORPUS=FOLDER cargo test -p mqtt-ota-integration --test e2e corpus:: -- --nocapture` takes a folder of many
//! files, such as a checkout of MicroPython.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use mqtt_ota::Payload;
use mqtt_ota::check::Findings;
use mqtt_ota::wire::DevicePath;
use mqtt_ota_integration::{sized, thorough};

/// Assembler and machine code are for one processor each.
const ARCHITECTURES: [&str; 6] = ["armv7emsp", "armv7emdp", "xtensa", "xtensawin", "rv32imc", "x64"];

/// Prints which of the files on its standard input CPython compiles.
const CPYTHON: &str = "
import sys, warnings
warnings.simplefilter('ignore')
for path in sys.stdin.read().split('\\n'):
    try:
        compile(open(path, 'rb').read(), path, 'exec')
        print(path)
    except Exception:
        pass
";

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Python file below a folder.
fn python_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|suffix| suffix == "py") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn mpy_cross_compiles(path: &Path) -> bool {
    let compiler = here().join(".cache/micropython/bin/mpy-cross");
    ARCHITECTURES.iter().any(|architecture| {
        let mut command = Command::new(&compiler);
        command.arg(format!("-march={architecture}")).args(["-o", "/dev/null"]).arg(path);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("mpy-cross; see integration/micropython.sh").success()
    })
}

/// Those of the files that CPython compiles.
fn cpython_compiles(paths: &[PathBuf]) -> HashSet<PathBuf> {
    let mut python = Command::new("python3");
    let mut python =
        python.args(["-c", CPYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let list: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let (list, mut stdin) = (list.join("\n"), python.stdin.take().unwrap());
    let writing = thread::spawn(move || stdin.write_all(list.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// What is refused in a file, by the check that `send` does.
fn refused(source: Vec<u8>) -> Option<String> {
    let (path, payload): (DevicePath, _) =
        ("module.py".parse().unwrap(), Payload::from_bytes("module.py", source));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let findings = runtime.block_on(Findings::of([(&path, &payload)].into_iter())).unwrap();
    findings.refused(None).next().map(ToString::to_string)
}

/// The files below a folder, broken in many ways, written to another one.
fn broken(files: &[PathBuf], most: usize, to: &Path) -> Vec<PathBuf> {
    let mut written = Vec::new();
    let mut write = |text: String| {
        let path = to.join(format!("{}.py", written.len()));
        fs::write(&path, text).unwrap();
        written.push(path);
    };
    for file in files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        let step = lines.len().div_ceil(most).max(1);
        for at in (1..lines.len()).step_by(step) {
            let (before, line, behind) = (lines[..at].concat(), lines[at], lines[at + 1..].concat());
            let indent = &line[..line.len() - line.trim_start().len()];
            write(before.clone());
            write(before.clone() + &line.chars().take(line.chars().count() / 2).collect::<String>());
            write(format!("{before}{behind}"));
            write(format!("{before}  {line}{behind}"));
            write(format!("{before}{}{behind}", line.trim_start()));
            write(format!("{before}{} {behind}", line.trim_end()));
            write(format!("{before}{}{behind}", line.replacen(['(', '[', '{'], "", 1)));
            write(format!("{before}{}{behind}", line.replacen([')', ']', '}'], "", 1)));
            write(format!("{before}{}{behind}", line.replacen([':', '"', '\'', '=', ','], "", 1)));
            write(format!("{before}<<<<<<< HEAD\n{line}=======\n{line}>>>>>>> topic\n{behind}"));
            for old in ["print 'hello', 1", "exec 'x'", "raise ValueError, 'x'", "x = `1`", "if 1 <> 2: pass"]
            {
                write(format!("{before}{indent}{old}\n{line}{behind}"));
            }
        }
    }
    written
}

/// Splits work among the processors.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|share| scope.spawn(|| share.iter().map(&work).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn nothing_is_refused_that_mpy_cross_compiles(files: &[PathBuf]) {
    let verdicts = each(files, |path| (mpy_cross_compiles(path), refused(fs::read(path).unwrap())));
    let compiled = verdicts.iter().filter(|(compiles, _)| *compiles).count();
    println!("{} files, of which mpy-cross compiles {compiled}", files.len());
    for (path, (_, refused)) in files.iter().zip(&verdicts).filter(|(_, (compiles, _))| *compiles) {
        assert_eq!(*refused, None, "{}", path.display());
    }
    assert!(compiled > files.len() / 2, "only {compiled}");
}

fn next_to_nothing_passes_that_is_broken(files: &[PathBuf], most: usize) {
    let folder = tempfile::tempdir().unwrap();
    let broken = broken(files, most, folder.path());
    let fine = cpython_compiles(&broken);
    let bad: Vec<_> = broken.into_iter().filter(|path| !fine.contains(path)).collect();
    let verdicts = each(&bad, |path| !mpy_cross_compiles(path) && refused(fs::read(path).unwrap()).is_none());
    let passed: Vec<_> =
        bad.iter().zip(verdicts).filter(|(_, passed)| *passed).map(|(path, _)| path).collect();
    println!("{} broken files, of which {} pass", bad.len(), passed.len());
    for path in passed.iter().take(3) {
        println!("passes:\n{}", fs::read_to_string(path).unwrap());
    }
    assert!(passed.len() <= bad.len() / 1_000, "{} of {} pass", passed.len(), bad.len());
    assert!(bad.len() > 100, "only {}", bad.len());
}

#[test]
fn our_own_files_pass_and_what_they_become_when_they_are_broken_does_not() {
    let examples = python_files(&here().join("../micropython-client/examples"));
    nothing_is_refused_that_mpy_cross_compiles(&python_files(&here().join("../micropython-client")));
    next_to_nothing_passes_that_is_broken(&examples, sized(60, 4));
}

#[test]
fn every_file_that_micropython_compiles_passes() {
    let Some(corpus) = std::env::var_os("MQTT_OTA_CORPUS") else {
        println!("skipped: MQTT_OTA_CORPUS names no folder of Python files");
        return;
    };
    let files = python_files(Path::new(&corpus));
    nothing_is_refused_that_mpy_cross_compiles(&files);
    let compiled: Vec<_> = files.into_iter().filter(|path| mpy_cross_compiles(path)).collect();
    let some: Vec<_> = compiled
        .iter()
        .step_by(compiled.len().div_ceil(if thorough() { 200 } else { 40 }).max(1))
        .cloned()
        .collect();
    next_to_nothing_passes_that_is_broken(&some, 8);
}
