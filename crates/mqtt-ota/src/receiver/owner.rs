//! Ownership of files: a receiver that runs as root gives away the files that it writes.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Gives a file, or a link itself, the owner of another file. Without permission, the file keeps its owner.
#[cfg(unix)]
pub(super) fn give(path: &Path, like: &Metadata) -> io::Result<()> {
    give_if_other(&path.symlink_metadata()?, like, |user, group| std::os::unix::fs::lchown(path, user, group))
}

/// Gives an open file the owner of another file. Without permission, the file keeps its owner.
#[cfg(unix)]
pub(super) fn give_open(file: &File, like: &Metadata) -> io::Result<()> {
    give_if_other(&file.metadata()?, like, |user, group| std::os::unix::fs::fchown(file, user, group))
}

#[cfg(unix)]
fn give_if_other(
    is: &Metadata,
    like: &Metadata,
    give: impl FnOnce(Option<u32>, Option<u32>) -> io::Result<()>,
) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let (user, group) = (like.uid(), like.gid());
    if (is.uid(), is.gid()) == (user, group) {
        return Ok(());
    }
    match give(Some(user), Some(group)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

#[cfg(not(unix))]
pub(super) fn give(_: &Path, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn give_open(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}
