use std::io;
use std::path::PathBuf;

use crate::check::Refused;
use crate::keeper::checkout::{Checkout, Unfinished};
use crate::keeper::settings::SettingsError;
use crate::set::SetError;
use crate::wire::{DeviceName, NameError};

/// Reason why nothing can be sent from a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Folder or file that does not exist or may not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Path.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Folder with a name that no device can have.
    #[error("{} is named as no device can be", path.display())]
    Name {
        /// Folder.
        path: PathBuf,
        /// Rule that the name breaks.
        source: NameError,
    },
    /// Settings with an error.
    #[error("{} is wrong", path.display())]
    Settings {
        /// Settings file.
        path: PathBuf,
        /// Error in it.
        source: Box<SettingsError>,
    },
    /// Included folder that cannot be found.
    #[error("cannot include {}", path.display())]
    Include {
        /// Included folder.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Folder without settings that may be included by another folder, whose settings cannot be understood.
    #[error("cannot tell whether others include {}: {} is wrong", path.display(), settings.display())]
    Unclear {
        /// Folder.
        path: PathBuf,
        /// Settings of the other folder.
        settings: PathBuf,
    },
    /// Files that cannot be sent.
    #[error("cannot send what is in {}", path.display())]
    Set {
        /// Folder.
        path: PathBuf,
        /// Problem with the files.
        source: SetError,
    },
    /// Included folder without a file to send, such as an uninitialised submodule.
    #[error("there is no file to send in {}, which is included", path.display())]
    EmptyInclude {
        /// Included folder.
        path: PathBuf,
    },
    /// File that is being written.
    #[error("{} is being written{}", path.display(), by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    Open {
        /// File.
        path: PathBuf,
        /// Process that writes it, as in `rsync (process 812)`, if that is known.
        by: Option<String>,
    },
    /// Folder that does not come to rest, or has not yet.
    #[error("{} goes on changing", path.display())]
    Unsteady {
        /// Folder.
        path: PathBuf,
    },
    /// Git checkout that is not to be taken as it is.
    #[error("in the git checkout {}, {why}", path.display())]
    Checkout {
        /// Checkout.
        path: PathBuf,
        /// Activity of git, or the step that it waits for.
        why: String,
        /// True if git waits for somebody, and is not just at work.
        waits: bool,
    },
    /// Files that are of no use to the device.
    #[error("cannot send what is in {}", path.display())]
    Refused {
        /// Folder.
        path: PathBuf,
        /// Problem with the files.
        source: Refused,
    },
    /// Device for which there are two folders.
    #[error("more than one folder is for {device}")]
    Twice {
        /// Device.
        device: DeviceName,
    },
}

impl FolderError {
    /// Returns true if the folder is only held back, so that what counted before still counts.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Unsteady { .. } | Self::Checkout { .. })
    }

    /// Returns why the contents of a checkout do not count.
    pub(super) fn of(checkout: &Checkout, why: &Unfinished) -> Self {
        let waits = *why != Unfinished::Locked;
        Self::Checkout { path: checkout.top().to_owned(), why: why.to_string(), waits }
    }

    /// Returns true if the folder is held back until somebody ends what was begun in git.
    pub(in crate::keeper) fn is_for_somebody_to_end(&self) -> bool {
        matches!(self, Self::Checkout { waits: true, .. })
    }
}
