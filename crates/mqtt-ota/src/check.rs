//! Checks of files before they are offered: files that are left out, that are refused, and that are warned about.
//!
//! Errors in a Python file show on the device only after it has rebooted into it. A board without sets then needs its
//! cable. `docs/files.md` in the project's repository lists the rules.

mod content;
mod finding;
mod fold;
mod ignore;
mod imports;
mod python;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

pub(crate) use self::content::Kind;
pub use self::finding::{Finding, Flaw};
pub(crate) use self::fold::folded;
#[cfg(feature = "keeper")]
pub(crate) use self::ignore::is_no_devices;
pub(crate) use self::ignore::walk;
pub use self::ignore::{IGNORED, LeftOut};
use crate::payload::{Payload, PayloadError};
use crate::wire::{Announcement, DevicePath};

/// Findings about files that go to a device together. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<[Finding]>);

impl Findings {
    /// Checks files by the names that they will have on a device.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    ///
    /// Cancel safe: the results for files that were checked are remembered.
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

    /// Returns the findings that prevent the files from being sent to a device with this announcement.
    pub fn refused<'a>(&'a self, device: Option<&'a Announcement>) -> impl Iterator<Item = &'a Finding> {
        self.0.iter().filter(move |finding| finding.flaw.is_refused() && finding.flaw.concerns(device))
    }

    /// Returns the findings that a user should know of before sending the files to a device with this announcement.
    pub fn warnings<'a>(&'a self, device: Option<&'a Announcement>) -> impl Iterator<Item = &'a Finding> {
        self.0.iter().filter(move |finding| !finding.flaw.is_refused() && finding.flaw.concerns(device))
    }

    /// Checks that no finding prevents the files from being sent.
    ///
    /// # Errors
    /// Returns the first finding that does, and the number of further ones.
    pub(crate) fn allow(&self, device: Option<&Announcement>) -> Result<(), Refused> {
        let mut refused = self.refused(device);
        match refused.next() {
            Some(first) => Err(Refused { first: first.clone(), more: refused.count() }),
            None => Ok(()),
        }
    }
}

/// Error returned for files that are not offered, because the device could not use them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// First finding.
    pub first: Finding,
    /// Number of further findings.
    pub more: usize,
}

impl Refused {
    /// Returns what to try next, as a sentence.
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

impl Payload {
    /// Returns the flaws of the file's content. The result is remembered.
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
