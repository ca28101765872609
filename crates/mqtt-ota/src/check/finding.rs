use std::fmt;

use crate::wire::{Announcement, DevicePath};

/// A file, and a flaw of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// File name on the device.
    pub path: DevicePath,
    /// Name of the local file, if it differs from the name on the device.
    pub file: Option<String>,
    /// Flaw of the file.
    pub flaw: Flaw,
}

/// Flaw of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// A Git LFS pointer stands in the file's place. Refused.
    LfsPointer,
    /// A git-annex pointer stands in the file's place. Refused.
    AnnexPointer,
    /// A Python file begins with a byte order mark, which MicroPython does not take. Refused.
    ByteOrderMark,
    /// A Python file is in UTF-16, which MicroPython cannot read. Refused.
    Utf16,
    /// A Python file contains NUL bytes. Refused.
    Nul,
    /// A Python file has conflict markers in it and does not parse. Refused.
    Conflict {
        /// Line of the first marker, from 1.
        line: usize,
    },
    /// A Python file does not parse. Refused.
    Syntax {
        /// First line in which the fault may be, from 1.
        line: usize,
        /// Last line in which the fault may be.
        until: usize,
        /// Rule that is broken.
        what: &'static str,
    },
    /// A `boot.py` does not call the client that puts sets in place, without which the device could not be given a set
    /// again. Refused for a board that understands sets.
    NoClient,
    /// The device's file system takes two paths for one. Refused for a device that folds case.
    Clash {
        /// Other path.
        with: String,
    },
    /// A text file has conflict markers in it. A warning.
    ConflictInText {
        /// Line of the first marker, from 1.
        line: usize,
    },
    /// The application's `main.py` is empty. A warning.
    Empty,
    /// A Python file is too long to be parsed, or takes too long to parse. A warning.
    Unchecked,
    /// MicroPython imports something else by the module's name. A warning.
    Hidden {
        /// File that is imported instead, or folder with a `/` at its end.
        by: String,
    },
}

impl Flaw {
    /// Returns true if a file with this flaw is refused, and not only warned about.
    pub(super) fn is_refused(&self) -> bool {
        !matches!(self, Self::ConflictInText { .. } | Self::Empty | Self::Unchecked | Self::Hidden { .. })
    }

    /// Returns true if the flaw matters to a device with this announcement.
    pub(super) fn concerns(&self, device: Option<&Announcement>) -> bool {
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

/// Returns true if a device compiles Python files itself, as a board does.
///
/// A host that runs `mqtt-ota receive`, or the companion client under CPython, may have a different Python, or none.
fn runs_micropython(device: &Announcement) -> bool {
    let is_receiver = device.client.as_ref().is_some_and(|client| client.starts_with("mqtt-ota "));
    let version = device.system.as_ref().and_then(|system| system.split_whitespace().nth(1));
    !is_receiver && !version.is_some_and(|version| version.starts_with("3."))
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
