use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::failure::Failure;
use super::place::locate_beside;
use super::space::blocks;
use super::store::{Store, is_missing, name};
use crate::check::folded;
use crate::wire::{Delete, DevicePath, Manifest, Reason, STATE_FOLDER};

/// Changes that a set makes on this disk.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Files that are missing or have other bytes, in the order of the manifest.
    pub(super) differing: Vec<Differing>,
    /// Files that are removed, in the order of their paths.
    pub(super) gone: Vec<DevicePath>,
    /// Files of earlier sets that are neither in this set nor removed, in the order of their paths.
    pub(super) left: Vec<DevicePath>,
    /// Disk space that staging takes, in bytes.
    pub(super) staging: u64,
    /// Disk space that the copies and the journal take, in bytes.
    pub(super) keeping: u64,
}

/// File that a set changes.
#[derive(Debug)]
pub(super) struct Differing {
    /// Number of the item: its line in the manifest, counted from 1.
    pub(super) item: u32,
    /// Bytes of the file that are already staged.
    pub(super) staged: u64,
    /// True if the whole file is staged and has been checked.
    pub(super) is_complete: bool,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.differing.is_empty() && self.gone.is_empty()
    }
}

impl<D: Disk> Store<D> {
    /// Compares a set with the disk. Changes nothing. Staged files count only if they are staged for this set.
    pub(super) fn plan(
        &self,
        manifest: &Manifest,
        delete: Delete,
        max_size: u64,
        is_staged_for: bool,
    ) -> Result<Plan, Failure> {
        let mut plan = Plan { keeping: 4 * blocks(manifest.to_string().len() as u64), ..Plan::default() };
        let wanted: HashSet<_> = manifest.lines().iter().map(|line| &line.path).collect();
        let going = self.going(delete, &wanted)?;
        let goes = |place: &Path| going.contains_key(place);
        let mut places = HashSet::new();
        for (line, item) in manifest.lines().iter().zip(1..) {
            let place = locate_beside(&self.root, &line.path, goes)?;
            let refused = |reason, text: &str| Err(Failure::new(reason, format!("{}: {text}", line.path)));
            if line.size > max_size {
                return Err(Failure::over(max_size));
            }
            if !self.holds(&place, line.digest) {
                match place.symlink_metadata() {
                    Ok(old) if old.is_file() => plan.keeping = plan.keeping.saturating_add(blocks(old.len())),
                    Ok(old) if old.is_dir() && goes_whole(&place, &goes)? => {}
                    // The copy of anything else would be a plain file.
                    Ok(_) => return refused(Reason::BadName, "what has this name is no file"),
                    Err(error) if is_missing(&error) => {}
                    Err(error) => return Err(error.into()),
                }
                let staged = self.length(&item.to_string()).filter(|_| is_staged_for).unwrap_or_default();
                let is_complete = is_staged_for
                    && staged == line.size
                    && self.holds(&self.state(&item.to_string()), line.digest);
                let left = if is_complete { 0 } else { line.size.saturating_sub(staged) };
                plan.staging = plan.staging.saturating_add(blocks(left));
                plan.differing.push(Differing { item, staged, is_complete });
            }
            if !places.insert(place) {
                return refused(Reason::BadName, "by a link it is another file of the set");
            }
        }
        let folds_case = self.folds_case();
        let names: HashMap<_, _> =
            places.iter().map(|place| (folded(&place.to_string_lossy()), place)).collect();
        for (place, (path, length)) in going {
            // Under another name the file may be one of the set's, as a file system folds case or Unicode forms.
            let other = names.get(&folded(&place.to_string_lossy()));
            let is_other = |other: &&PathBuf| !folds_case && !is_same_file(&place, other);
            if !places.contains(&place) && other.is_none_or(is_other) {
                plan.keeping = plan.keeping.saturating_add(blocks(length));
                plan.gone.push(path);
            }
        }
        plan.gone.sort();
        if delete == Delete::Nothing {
            plan.left = self.former()?.into_iter().filter(|path| !wanted.contains(path)).collect();
            plan.left.retain(|path| self.target(path).is_file());
            plan.left.truncate(Manifest::MAX_LINES);
        }
        Ok(plan)
    }

    /// Returns the files that may be removed, by their places, with their paths and lengths.
    fn going(
        &self,
        delete: Delete,
        wanted: &HashSet<&DevicePath>,
    ) -> io::Result<BTreeMap<PathBuf, (DevicePath, u64)>> {
        let mut going = BTreeMap::new();
        for path in self.unwanted(delete)? {
            // A path that cannot be located is no file of this device.
            let Ok(place) = self.locate(&path) else { continue };
            // A link does not belong to the set, wherever it leads.
            let is_link = self.target(&path).symlink_metadata().is_ok_and(|there| there.is_symlink());
            if !is_link
                && !wanted.contains(&path)
                && let Ok(old) = place.symlink_metadata()
                && old.is_file()
            {
                going.insert(place, (path, old.len()));
            }
        }
        Ok(going)
    }

    /// Returns the files of the installed set, and those left by earlier sets, in the order of their paths.
    fn former(&self) -> io::Result<BTreeSet<DevicePath>> {
        let former = if self.there(name::SET) { name::SET } else { name::WAS };
        let former = self.read(former)?.and_then(|bytes| Manifest::parse(&bytes).ok());
        let lines = former.iter().flat_map(|manifest| manifest.lines());
        let left = self.read(name::LEFT)?.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let left = left.lines().filter_map(|path| path.parse().ok());
        Ok(lines.map(|line| line.path.clone()).chain(left).collect())
    }

    /// Returns the files to be removed, some of which the new set may have.
    fn unwanted(&self, delete: Delete) -> io::Result<Vec<DevicePath>> {
        match delete {
            Delete::Nothing => Ok(Vec::new()),
            Delete::FormerSet => Ok(self.former()?.into_iter().collect()),
            Delete::Everything => {
                let mut all = Vec::new();
                walk(&self.root, "", &mut all)?;
                all.retain(|path| !is_spared(path));
                all.sort();
                Ok(all)
            }
        }
    }
}

/// Returns true if every file below a folder is removed, and so the folder.
fn goes_whole(folder: &Path, goes: &impl Fn(&Path) -> bool) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let stays = match entry.file_type()?.is_dir() {
            true => !goes_whole(&entry.path(), goes)?,
            false => !goes(&entry.path()),
        };
        if stays {
            return Ok(false);
        }
        is_empty = false;
    }
    Ok(!is_empty)
}

/// Returns true if two paths lead to one file. In some file systems only some folders fold case.
#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| path.symlink_metadata().ok().map(|there| (there.dev(), there.ino()));
    identity(one).is_some() && identity(one) == identity(other)
}

#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Returns true for a file that a MicroPython board needs in order to be updated again. Such files stay on every
/// device.
fn is_spared(path: &DevicePath) -> bool {
    path.as_str() == "boot.py" || path.parts().next_back().is_some_and(|name| name.starts_with("mqtt_ota"))
}

/// Collects all plain files except the client's own. Links are not followed. Names that no offer can have are
/// skipped.
fn walk(folder: &Path, prefix: &str, all: &mut Vec<DevicePath>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(called) = entry.file_name().into_string() else { continue };
        if prefix.is_empty() && called.eq_ignore_ascii_case(STATE_FOLDER) {
            continue;
        }
        let (path, kind): (PathBuf, _) = (entry.path(), entry.file_type()?);
        let name = format!("{prefix}{called}");
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), all)?;
        } else if kind.is_file()
            && let Ok(path) = name.parse()
        {
            all.push(path);
        }
    }
    Ok(())
}
