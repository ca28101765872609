use std::io;
use std::path::PathBuf;

use crate::check::Refused;
use crate::keeper::checkout::{Checkout, Unfinished};
use crate::keeper::settings::SettingsError;
use crate::set::SetError;
use crate::wire::{DeviceName, NameError};

/// Why nothing can be sent from a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It is not there, or may not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its name is no device's.
    #[error("{} is named as no device can be", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// The rule that it breaks.
        source: NameError,
    },
    /// Its settings.
    #[error("{} is wrong", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<SettingsError>,
    },
    /// A folder that it includes.
    #[error("cannot include {}", path.display())]
    Include {
        /// The folder that is included.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has no settings, and those of another folder that cannot be understood may include it.
    #[error("cannot tell whether others include {}: {} is wrong", path.display(), settings.display())]
    Unclear {
        /// The folder.
        path: PathBuf,
        /// The other folder's settings.
        settings: PathBuf,
    },
    /// Its files.
    #[error("cannot send what is in {}", path.display())]
    Set {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        source: SetError,
    },
    /// A folder that it includes has no file to send, as an uninitialised submodule has none.
    #[error("there is no file to send in {}, which is included", path.display())]
    EmptyInclude {
        /// The folder that is included.
        path: PathBuf,
    },
    /// Somebody writes to a file in it.
    #[error("{} is being written{}", path.display(), by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    Open {
        /// The file.
        path: PathBuf,
        /// Who does, as in `rsync (process 812)`, if that is known.
        by: Option<String>,
    },
    /// It does not come to rest, or did not yet.
    #[error("{} goes on changing", path.display())]
    Unsteady {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to a git checkout that is not to be taken as it is.
    #[error("in the git checkout {}, {why}", path.display())]
    Checkout {
        /// The checkout.
        path: PathBuf,
        /// What git is doing, or what it waits for.
        why: String,
        /// Git waits for somebody, and is not just at work.
        waits: bool,
    },
    /// Its files are of no use to the device.
    #[error("cannot send what is in {}", path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        source: Refused,
    },
    /// Two folders are for one device.
    #[error("more than one folder is for {device}")]
    Twice {
        /// The device.
        device: DeviceName,
    },
}

impl FolderError {
    /// Whether the folder is only held back, and what counted before still counts.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Unsteady { .. } | Self::Checkout { .. })
    }

    /// Why what is in a checkout does not count.
    pub(super) fn of(checkout: &Checkout, why: &Unfinished) -> Self {
        let waits = *why != Unfinished::Locked;
        Self::Checkout { path: checkout.top().to_owned(), why: why.to_string(), waits }
    }

    /// Whether it is held until somebody ends what was begun.
    pub(in crate::keeper) fn is_for_somebody_to_end(&self) -> bool {
        matches!(self, Self::Checkout { waits: true, .. })
    }
}
