//! Look at files before they are offered: what is left out, what is refused, and what is warned about.
//!
//! Errors in a Python file show on the device only after it has rebooted into it, and a board without sets then needs
//! its cable. `docs/files.md` in the project's repository lists the rules.

mod content;
mod fold;
mod ignore;
mod imports;
mod python;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

pub(crate) use self::content::Kind;
pub(crate) use self::fold::folded;
#[cfg(feature = "keeper")]
pub(crate) use self::ignore::is_no_devices;
pub(crate) use self::ignore::walk;
pub use self::ignore::{IGNORED, LeftOut};
use crate::payload::{Payload, PayloadError};
use crate::wire::{Announcement, DevicePath};

/// What was found in some files that go to a device together. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<[Finding]>);

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file's path on the device.
    pub path: DevicePath,
    /// The local file's name, if it differs from the file's name on the device.
    pub file: Option<String>,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// A pointer of Git LFS stands in the file's place. Refused.
    LfsPointer,
    /// A pointer of git-annex stands in the file's place. Refused.
    AnnexPointer,
    /// A Python file begins with a byte order mark, which MicroPython does not take. Refused.
    ByteOrderMark,
    /// A Python file is in UTF-16, which MicroPython cannot read. Refused.
    Utf16,
    /// A Python file contains NUL bytes. Refused.
    Nul,
    /// A Python file has conflict markers in it, and does not parse. Refused.
    Conflict {
        /// The line of the first marker, from 1.
        line: usize,
    },
    /// A Python file does not parse. Refused.
    Syntax {
        /// The first line where the fault may be, from 1.
        line: usize,
        /// The last line where it may be.
        until: usize,
        /// The rule that is broken.
        what: &'static str,
    },
    /// The device's `boot.py` does not call the client that puts sets in place: without it the device could not be given a
    /// set again. Refused where it takes sets.
    NoClient,
    /// The device's file system takes two paths for one. Refused where it folds case.
    Clash {
        /// The other path.
        with: String,
    },
    /// A text file has conflict markers in it. A warning.
    ConflictInText {
        /// The line of the first marker, from 1.
        line: usize,
    },
    /// The application's file is empty. A warning.
    Empty,
    /// A Python file is too long to be parsed, or takes too long. A warning.
    Unchecked,
    /// MicroPython imports something else by the module's name. A warning.
    Hidden {
        /// The file, or the folder with a `/` at its end, that is imported.
        by: String,
    },
}

impl Flaw {
    /// Whether a file with this flaw is refused, and not only warned about.
    fn is_refused(&self) -> bool {
        !matches!(self, Self::ConflictInText { .. } | Self::Empty | Self::Unchecked | Self::Hidden { .. })
    }

    /// Whether it matters to a device that has announced this.
    fn concerns(&self, device: Option<&Announcement>) -> bool {
        match self {
            Self::LfsPointer | Self::AnnexPointer | Self::ConflictInText { .. } => true,
            Self::Clash { .. } => device.is_some_and(|device| device.folds_case),
            Self::NoClient => {
                device.is_some_and(|device| device.understands_sets() && runs_micropython(device))
            }
            _ => device.is_none_or(runs_micropython),
        }
    }
}

/// Whether a device compiles Python files itself, as a board does. A host that runs `mqtt-ota receive`, or the companion
/// client under CPython, may have another Python, or none.
fn runs_micropython(device: &Announcement) -> bool {
    let is_receiver = device.client.as_ref().is_some_and(|client| client.starts_with("mqtt-ota "));
    let version = device.system.as_ref().and_then(|system| system.split_whitespace().nth(1));
    !is_receiver && !version.is_some_and(|version| version.starts_with("3."))
}

impl Findings {
    /// Looks at files by the names that they are to have on a device.
    ///
    /// # Errors
    /// A file cannot be read.
    ///
    /// Cancel safe: what was looked at is not looked at again.
    pub async fn of<'a>(
        files: impl Iterator<Item = (&'a DevicePath, &'a Payload)> + Clone,
    ) -> Result<Self, PayloadError> {
        let mut found = Vec::new();
        for (path, payload) in files.clone() {
            let own = Some(payload.name()).filter(|name| !Path::new(path.as_str()).ends_with(name));
            let of = |flaw| Finding { path: path.clone(), file: own.map(str::to_owned), flaw };
            let flaws = payload.flaws(path).await?;
            found.extend(flaws.iter().cloned().map(of));
            if path.as_str() == "main.py" && payload.len() == 0 {
                found.push(of(Flaw::Empty));
            }
        }
        let paths = files.map(|(path, _)| path);
        found.extend(imports::hidden(paths.clone()));
        found.extend(fold::clashes(paths));
        Ok(Self(found.into()))
    }

    /// What is a reason not to send the files to a device that has announced this.
    pub fn refused<'a>(&'a self, device: Option<&'a Announcement>) -> impl Iterator<Item = &'a Finding> {
        self.0.iter().filter(move |finding| finding.flaw.is_refused() && finding.flaw.concerns(device))
    }

    /// What a user should know who sends the files to a device that has announced this.
    pub fn warnings<'a>(&'a self, device: Option<&'a Announcement>) -> impl Iterator<Item = &'a Finding> {
        self.0.iter().filter(move |finding| !finding.flaw.is_refused() && finding.flaw.concerns(device))
    }

    /// Makes sure that nothing is refused.
    ///
    /// # Errors
    /// Something is.
    pub(crate) fn allow(&self, device: Option<&Announcement>) -> Result<(), Refused> {
        let mut refused = self.refused(device);
        match refused.next() {
            Some(first) => Err(Refused { first: first.clone(), more: refused.count() }),
            None => Ok(()),
        }
    }
}

/// Files that are not offered, as a device could not use them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The first finding.
    pub first: Finding,
    /// How many there are beside it.
    pub more: usize,
}

impl Refused {
    /// What to try next, as a sentence.
    pub fn hint(&self) -> String {
        match &self.first.flaw {
            Flaw::LfsPointer => "`git lfs pull` fetches the files themselves",
            Flaw::AnnexPointer => "`git annex get` fetches the files themselves",
            Flaw::ByteOrderMark | Flaw::Utf16 => "let the editor save it as UTF-8 without a byte order mark",
            Flaw::Nul => "it may not have been written to the end: save it again",
            Flaw::Conflict { .. } => "settle the conflict, and commit",
            Flaw::Clash { .. } => {
                "the device's file system does not tell upper case from lower case: rename one of them"
            }
            Flaw::NoClient => "put them at its top, or send it as it is with --no-check",
            _ => "mend it, or send it as it is with --no-check",
        }
        .to_owned()
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, ", and {more} more like it"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.as_deref().unwrap_or(self.path.as_str());
        write!(f, "{name}{}", self.flaw)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LfsPointer => f.write_str(" is a Git LFS pointer, not the file"),
            Self::AnnexPointer => f.write_str(" is a git-annex pointer, not the file"),
            Self::ByteOrderMark => {
                f.write_str(" begins with a byte order mark, which MicroPython does not take")
            }
            Self::Utf16 => f.write_str(" is in UTF-16, which MicroPython cannot read"),
            Self::Nul => f.write_str(" contains NUL bytes"),
            Self::Conflict { line } | Self::ConflictInText { line } => {
                write!(f, ", line {line}: has the markers of a merge conflict")
            }
            Self::Syntax { line, until, what } if line == until => write!(f, ", line {line}: {what}"),
            Self::Syntax { line, until, what } => write!(f, ", lines {line} to {until}: {what}"),
            Self::NoClient => f.write_str(
                " does not start the client, without which the device could not be given a set again: it needs the lines \
                 `import mqtt_ota_boot` and `mqtt_ota_boot.boot()`",
            ),
            Self::Clash { with } => write!(f, " and {with} are one file on this device"),
            Self::Empty => f.write_str(" is empty"),
            Self::Unchecked => f.write_str(" is too long to be checked"),
            Self::Hidden { by } => write!(f, " is never imported: {by} comes before it"),
        }
    }
}

impl Payload {
    /// Returns what is wrong with what is in the file. Remembered.
    async fn flaws(&self, path: &DevicePath) -> Result<Arc<[Flaw]>, PayloadError> {
        let kind = Kind::of(path.as_str());
        if let Some(known) = self.known_flaws(kind) {
            return Ok(known);
        }
        let flaws = match self.len() {
            0 => content::flaws(&[], kind),
            len if len > content::LONGEST => {
                (kind != Kind::Other).then_some(Flaw::Unchecked).into_iter().collect()
            }
            _ => {
                let bytes = self.bytes().await?;
                let looked = spawn_blocking(move || content::flaws(&bytes, kind)).await;
                looked.unwrap_or_else(|_| vec![Flaw::Unchecked])
            }
        };
        Ok(self.remember_flaws(kind, flaws.into()))
    }
}
