//! Sets of files to send, mostly the files of a folder.

mod error;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

pub use self::error::{IGNORE_FILE, SetError};
use crate::check::{self, Findings, LeftOut};
use crate::items::Items;
use crate::payload::Payload;
use crate::wire::{Algorithm, DevicePath, Digest, Manifest, ManifestError, ManifestLine, SetTerms};

/// Files that a device installs together, all or none of them.
///
/// Each file is hashed once for each hash function that a device asks for, and exactly the hashed bytes are served.
/// Cloning is cheap, and clones share the hashes.
#[derive(Debug, Clone)]
pub struct FileSet {
    files: Vec<(DevicePath, Payload)>,
    left_out: Arc<[LeftOut]>,
}

impl FileSet {
    /// Creates a set from files and their names on the device.
    ///
    /// # Errors
    /// Returns an error if there are no files, or more than a set may have.
    pub fn new(files: impl IntoIterator<Item = (DevicePath, Payload)>) -> Result<Self, SetError> {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        match files.len() {
            0 => Err(SetError::Nothing),
            lines if lines > Manifest::MAX_LINES => Err(ManifestError::TooMany { lines }.into()),
            _ => Ok(Self { files, left_out: Arc::default() }),
        }
    }

    /// Creates a set from all files in a folder and its subfolders.
    ///
    /// Some files are left out:
    ///
    /// - files that a [`.mqttotaignore`](IGNORE_FILE) in one of these folders names, in the syntax of `.gitignore`,
    /// - files on the list [`IGNORED`](crate::check::IGNORED), unless such a file says `!name`,
    /// - files with a dot at the beginning of their name or of their folder's, unless such a file says `!name`.
    ///
    /// A link is sent as the file that it points to. A link to a folder is an error. It is not followed, so no file
    /// comes from elsewhere, and no path is endless.
    ///
    /// # Errors
    /// Returns an error if the folder or something in it cannot be read or sent: a name that is not a [`DevicePath`], a
    /// link to a folder or to nothing, a pipe, or a socket. Also if there is no file at all, or if there are too many.
    ///
    /// Cancellation: nothing is left behind.
    pub async fn of_folder(folder: impl AsRef<Path>) -> Result<Self, SetError> {
        let folder = folder.as_ref().to_owned();
        let walked = spawn_blocking({
            let folder = folder.clone();
            move || walk(&folder)
        })
        .await
        .map_err(|error| SetError::Folder { path: folder.clone(), source: io::Error::other(error) })??;
        if walked.files.is_empty() {
            return Err(SetError::Empty { path: folder });
        }
        let mut files = Vec::with_capacity(walked.files.len());
        for (name, path) in walked.files {
            files.push((name, Payload::named(path).await?));
        }
        Ok(Self { left_out: walked.left_out.into(), ..Self::new(files)? })
    }

    /// Returns the files and folders that [`FileSet::of_folder`] has left out.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Checks the files' content and names.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or has changed.
    ///
    /// Cancel safe: the results for files that were checked are remembered.
    pub async fn check(&self) -> Result<Findings, SetError> {
        Ok(Findings::of(self.payloads()).await?)
    }

    /// Returns the files' names on the device and their lengths in bytes, in the order of the names' bytes.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&DevicePath, u64)> {
        self.files.iter().map(|(path, payload)| (path, payload.len()))
    }

    /// Returns the total length of all files, in bytes.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|(_, payload)| payload.len()).sum()
    }

    /// Returns the set's manifest. The files are hashed at the first call for each hash function.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or has changed, or if the files do not form a set.
    ///
    /// Cancellation: finished hashes are remembered.
    pub async fn manifest(&self, algorithm: Algorithm) -> Result<Manifest, SetError> {
        let mut lines = Vec::with_capacity(self.files.len());
        for (path, payload) in &self.files {
            let digest = payload.digest(algorithm).await?;
            lines.push(ManifestLine { digest, size: payload.len(), path: path.clone() });
        }
        Ok(Manifest::new(lines)?)
    }

    /// Prepares the set for devices that have this hash function. See [`FileSet::manifest`].
    pub(crate) async fn prepare(&self, algorithm: Algorithm) -> Result<Prepared, SetError> {
        let manifest = self.manifest(algorithm).await?;
        let text = manifest.to_string();
        let digest = Digest::of(algorithm, text.as_bytes());
        let files = manifest.lines().iter().zip(self.payloads());
        let items = Items::set(
            (SetTerms::path(), Payload::from_bytes("set", text), digest),
            files.map(|(line, (path, payload))| (path.clone(), payload.clone(), line.digest)),
        );
        Ok(Prepared { manifest, digest, items })
    }

    /// Returns the files in the order of the manifest.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (&DevicePath, &Payload)> + Clone {
        self.files.iter().map(|(path, payload)| (path, payload))
    }
}

/// A set, hashed with one hash function.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) manifest: Manifest,
    /// Digest of the manifest.
    pub(crate) digest: Digest,
    pub(crate) items: Items,
}

/// Lists the files below a folder, with their names on the device. Blocking.
pub(crate) fn walk(folder: &Path) -> Result<Listing, SetError> {
    let unreadable = |source| SetError::Folder { path: folder.to_owned(), source };
    if !std::fs::metadata(folder).map_err(unreadable)?.is_dir() {
        return Err(SetError::NotAFolder { path: folder.to_owned() });
    }
    let walked = check::walk(folder, Manifest::MAX_LINES)?;
    if walked.files.len() > Manifest::MAX_LINES {
        return Err(SetError::TooMany { path: folder.to_owned() });
    }
    let named = walked.files.into_iter().map(|path| Ok((device_path(folder, &path)?, path)));
    Ok(Listing { files: named.collect::<Result<_, SetError>>()?, left_out: walked.left_out })
}

/// Files of a folder by their names on the device, with the files that are left out.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) files: Vec<(DevicePath, PathBuf)>,
    pub(crate) left_out: Vec<LeftOut>,
}

fn device_path(folder: &Path, path: &Path) -> Result<DevicePath, SetError> {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let parts: Option<Vec<_>> = relative.components().map(|part| part.as_os_str().to_str()).collect();
    let name = parts.ok_or_else(|| SetError::NotText { path: path.to_owned() })?.join("/");
    name.parse().map_err(|source| SetError::Name { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    async fn names(folder: &Path) -> Result<Vec<String>, SetError> {
        Ok(FileSet::of_folder(folder).await?.files().map(|(path, _)| path.to_string()).collect())
    }

    #[tokio::test]
    async fn all_files_of_a_folder_are_a_set_in_the_order_of_their_bytes() {
        let folder = folder(&[("main.py", "main"), ("lib/b.py", ""), ("lib.py", "x"), ("lib/é/a b", "yz")]);
        assert_eq!(names(folder.path()).await.unwrap(), ["lib.py", "lib/b.py", "lib/é/a b", "main.py"]);
        let set = FileSet::of_folder(folder.path()).await.unwrap();
        assert_eq!(set.total(), 7);
        let manifest = set.manifest(Algorithm::Sha256).await.unwrap();
        assert_eq!(Manifest::parse(manifest.to_string().as_bytes()).unwrap(), manifest);
        assert_eq!(manifest.lines()[1].digest, crate::wire::Digest::of(Algorithm::Sha256, b""));
    }

    #[tokio::test]
    async fn hidden_files_stay_unless_the_ignore_file_says_otherwise() {
        let folder = folder(&[
            ("main.py", ""),
            (".git/config", ""),
            (".env", "secret"),
            (".lamp", ""),
            ("lib/.DS_Store", ""),
            (".gitignore", "main.py"),
            (".mqttotaignore", "!.lamp\n"),
        ]);
        assert_eq!(names(folder.path()).await.unwrap(), [".lamp", "main.py"]);
    }

    #[tokio::test]
    async fn the_ignore_files_have_the_syntax_of_gitignore_and_hold_below_their_folder() {
        let folder = folder(&[
            ("main.py", ""),
            ("test_a.py", ""),
            ("lib/test_b.py", ""),
            ("lib/keep/test_c.py", ""),
            ("lib/keep/.mqttotaignore", "!test_c.py\n"),
            ("docs/x.md", ""),
            ("lib/docs/x.md", ""),
            (".mqttotaignore", "# not for the device\ntest_*.py\n/docs/\n"),
        ]);
        assert_eq!(names(folder.path()).await.unwrap(), ["lib/docs/x.md", "lib/keep/test_c.py", "main.py"]);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_an_error_that_names_it() {
        let missing = FileSet::of_folder("/nowhere/at/all").await.unwrap_err();
        assert!(matches!(missing, SetError::Folder { .. }));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(names(file.path()).await, Err(SetError::NotAFolder { .. })));
        assert!(matches!(names(folder(&[]).path()).await, Err(SetError::Empty { .. })));
        assert!(matches!(names(folder(&[(".x", "")]).path()).await, Err(SetError::Empty { .. })));
        let bad = folder(&[("main.py", ""), ("lib/a|b.py", "")]);
        let error = names(bad.path()).await.unwrap_err();
        assert!(matches!(error, SetError::Name { .. }) && error.to_string().contains("a|b.py"), "{error}");
        for name in ["lib/LONGNA~1.PY", "lib./a.py", "lib/main.py "] {
            let bad = folder(&[("main.py", ""), (name, "")]);
            let error = names(bad.path()).await.unwrap_err();
            assert!(matches!(error, SetError::Name { .. }) && error.to_string().contains(name), "{error}");
        }
        let bad = folder(&[("main.py", ""), (".mqttotaignore", "[z-a]\n")]);
        let error = names(bad.path()).await.unwrap_err();
        assert!(matches!(error, SetError::Walk(_)), "{error}");
    }

    #[tokio::test]
    async fn a_set_has_a_limit() {
        let names: Vec<_> = (0..=Manifest::MAX_LINES).map(|i| format!("{i}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let many = folder(&files);
        assert!(matches!(FileSet::of_folder(many.path()).await, Err(SetError::TooMany { .. })));
        fs::remove_file(many.path().join("0")).unwrap();
        assert!(FileSet::of_folder(many.path()).await.is_ok());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_is_the_file_that_it_points_to_and_never_a_folder() {
        use std::os::unix::fs::symlink;
        let elsewhere = folder(&[("shared.py", "shared")]);
        let ours = folder(&[("main.py", "")]);
        symlink(elsewhere.path().join("shared.py"), ours.path().join("lib.py")).unwrap();
        let set = FileSet::of_folder(ours.path()).await.unwrap();
        assert_eq!(set.files().map(|(path, size)| (path.as_str(), size)).next(), Some(("lib.py", 6)));
        symlink(elsewhere.path(), ours.path().join("lib")).unwrap();
        assert!(matches!(names(ours.path()).await, Err(SetError::LinkToFolder { .. })));
        fs::write(ours.path().join(".mqttotaignore"), "/lib\n").unwrap();
        assert!(names(ours.path()).await.is_ok());
        symlink("nothing", ours.path().join("dangling")).unwrap();
        assert!(matches!(names(ours.path()).await, Err(SetError::Folder { .. })));
    }
}
