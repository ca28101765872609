use std::io;
use std::path::{Component, Path, PathBuf};

use super::failure::Failure;
use crate::wire::{DevicePath, Reason, STATE_FOLDER};

/// Returns the place of a device's file below `root`, with all links followed. Creates nothing.
///
/// A link at the file's own name is followed too, so that it stays a link. `root` must be canonical.
///
/// # Errors
/// Returns a failure if the system does not take the name, if a folder of the path is a file, or if a link leads
/// nowhere, out of the root or into the client's own folder.
pub(super) fn locate(root: &Path, path: &DevicePath) -> Result<PathBuf, Failure> {
    locate_beside(root, path, |_| false)
}

/// Locates a file as [`locate`] does, where some files make room for folders of their names.
///
/// `goes` returns true for such a file.
pub(super) fn locate_beside(
    root: &Path,
    path: &DevicePath,
    goes: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Failure> {
    let refused = |text: &str| Err(Failure::new(Reason::BadName, format!("{path}: {text}")));
    let mut target = root.to_owned();
    for part in path.parts() {
        // A plain name depends on the system: Windows has drives, and reserves names of its own.
        let mut components = Path::new(part).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) if name == part => target.push(name),
            _ => return refused("this system does not take the name"),
        }
    }
    let is_link = target.symlink_metadata().is_ok_and(|there| there.is_symlink());
    // The existing part of the path is checked before anything is created.
    let folder = if is_link { &*target } else { target.parent().unwrap_or(root) };
    let existing = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(root);
    let real = match existing.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return refused("a link leads nowhere"),
        Err(error) => return Err(error.into()),
    };
    if !real.starts_with(root) {
        return refused("it leaves the root");
    }
    if root.join(STATE_FOLDER).canonicalize().is_ok_and(|state| real.starts_with(state)) {
        return refused("a link leads into the folder of the client");
    }
    if is_link {
        return Ok(real);
    }
    if !real.is_dir() && !goes(&real) {
        return refused("what would be its folder is a file");
    }
    Ok(match target.strip_prefix(existing) {
        Ok(rest) => real.join(rest),
        Err(_) => target,
    })
}
