use std::io;
use std::path::PathBuf;

use super::super::settings::SettingsError;
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
    /// Two folders are for one device.
    #[error("more than one folder is for {device}")]
    Twice {
        /// The device.
        device: DeviceName,
    },
}
