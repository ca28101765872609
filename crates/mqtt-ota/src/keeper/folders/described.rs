use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FolderError;
use crate::keeper::settings::{DeviceSettings, SETTINGS_FILE, SETTINGS_MAX, SettingsError};
use crate::payload::Payload;

/// Folder, with the contents of its [`SETTINGS_FILE`].
#[derive(Debug)]
pub(super) struct Described {
    pub(super) path: PathBuf,
    /// Settings. `None` where there is no such file.
    pub(super) settings: Result<Option<Arc<DeviceSettings>>, Arc<FolderError>>,
    /// Real paths of the folders that it includes.
    pub(super) includes: Vec<Result<PathBuf, Arc<FolderError>>>,
    /// Real path of the folder, if it has no settings.
    pub(super) place: Option<PathBuf>,
    /// Settings file, as it looked before it was read.
    pub(super) file: Option<Payload>,
    /// Text of settings that cannot be understood, in lower case. `None` where it is too long or is no text.
    text: Option<String>,
}

impl Described {
    /// Reads the settings. Blocking.
    pub(super) fn read(path: PathBuf) -> Self {
        let name = path.join(SETTINGS_FILE);
        let file = Payload::look(name.clone()).ok();
        let (text, settings) = match text_of(&name) {
            Ok(text) => {
                let settings = text.as_deref().map(DeviceSettings::parse).transpose();
                let wrong = |source| FolderError::Settings { path: name, source: Box::new(source) };
                (text, settings.map_err(wrong))
            }
            // A file that the system refuses to show may contain anything or nothing, and concerns its own folder
            // alone.
            Err(error @ FolderError::Unreadable { .. }) if !is_no_text(&error) => {
                (Some(String::new()), Err(error))
            }
            Err(error) => (None, Err(error)),
        };
        let text = text.filter(|_| settings.is_err()).map(|text| text.to_lowercase());
        let includes = settings.iter().flatten().flat_map(|settings| &settings.include);
        let includes = includes.map(|include| included(&path.join(include))).collect();
        let place = matches!(settings, Ok(None)).then(|| path.canonicalize().ok()).flatten();
        let settings = settings.map(|settings| settings.map(Arc::new)).map_err(Arc::new);
        Self { path, settings, includes, place, file, text }
    }

    /// Describes a folder whose settings are being written and were not known before.
    pub(super) fn unfinished(path: PathBuf) -> Self {
        let open = FolderError::Open { path: path.join(SETTINGS_FILE), by: None };
        let (settings, text) = (Err(Arc::new(open)), Some(String::new()));
        Self { path, settings, includes: Vec::new(), place: None, file: None, text }
    }

    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    pub(super) fn settings_path(&self) -> PathBuf {
        self.path.join(SETTINGS_FILE)
    }

    pub(super) fn is_without_settings(&self) -> bool {
        matches!(self.settings, Ok(None))
    }

    /// Returns the settings, where there are any and they can be understood.
    pub(super) fn understood(&self) -> Option<&DeviceSettings> {
        self.settings.as_ref().ok()?.as_deref()
    }

    /// Returns true if the settings cannot be understood and may be meant to include a folder with this name: their
    /// text has the name in it, or is too long or no text.
    pub(super) fn may_include(&self, name: &OsStr) -> bool {
        let is_in = |text: &String| text.contains(&name.to_string_lossy().to_lowercase());
        self.settings.is_err() && self.text.as_ref().is_none_or(is_in)
    }
}

/// Returns the real path of a folder that others include.
fn included(path: &Path) -> Result<PathBuf, Arc<FolderError>> {
    path.canonicalize().map_err(|source| Arc::new(FolderError::Include { path: path.to_owned(), source }))
}

/// Returns true if a file was read and is no text.
fn is_no_text(error: &FolderError) -> bool {
    matches!(error, FolderError::Unreadable { source, .. } if source.kind() == io::ErrorKind::InvalidData)
}

/// Returns the text of a file, or `None` where there is no such file.
fn text_of(path: &Path) -> Result<Option<String>, FolderError> {
    let unreadable = |source| FolderError::Unreadable { path: path.to_owned(), source };
    let file = match path.metadata() {
        // Opening a FIFO would wait for its writer.
        Ok(metadata) if !metadata.is_file() => {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a file")));
        }
        Ok(_) => File::open(path).map_err(unreadable)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    let length = file.take(SETTINGS_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if length as u64 > SETTINGS_MAX {
        let (path, source) = (path.to_owned(), Box::new(SettingsError::TooLong));
        return Err(FolderError::Settings { path, source });
    }
    Ok(Some(text))
}
