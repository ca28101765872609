//! Selection of the files in a folder: walks the folder and leaves files out.

#[cfg(feature = "keeper")]
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

use crate::set::{IGNORE_FILE, SetError};

/// Files that no device needs, in the syntax of `.gitignore`. An [`IGNORE_FILE`] overrides this list.
pub const IGNORED: &str = "\
# How a keeper keeps the device
/device.toml
# Python on a computer
__pycache__/
*.py[co]
*.egg-info/
*.dist-info/
venv/
# Type stubs, which an editor reads
*.pyi
typings/
# JavaScript
node_modules/
# Editors and merges
*~
\\#*#
*.sw[opx]
4913
*___jb_tmp___
*___jb_old___
*.orig
*.rej
# File managers
[Tt]humbs.db
ehthumbs.db
[Dd]esktop.ini
$RECYCLE.BIN/
";

/// Largest depth of folders below the one that is walked.
const DEEPEST: usize = 64;

/// A file or folder that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Path below the walked folder. The path of a folder ends in `/`, and stands for everything in it.
    pub path: String,
    /// Rule that leaves it out: a line of [`IGNORED`] or of an [`IGNORE_FILE`]. `None` for a hidden file.
    pub rule: Option<String>,
    /// File that has the rule. `None` for [`IGNORED`] and for hidden files.
    pub file: Option<PathBuf>,
}

/// Files of a folder, with the files that are left out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// Walks a folder in the order of its names, until there are more than `most` files. Blocking.
pub(crate) fn walk(folder: &Path, most: usize) -> Result<Walked, SetError> {
    let mut walk = Walk { root: folder, most, walked: Walked::default() };
    walk.folder(folder, &mut Vec::new())?;
    Ok(walk.walked)
}

/// Returns true if a folder of this name cannot be a device's, because it is hidden or [`IGNORED`] names it.
#[cfg(feature = "keeper")]
pub(crate) fn is_no_devices(name: &OsStr) -> bool {
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    // Rules for files do not apply to folders here.
    let is_folders_rule = |glob: &Glob| glob.original().ends_with('/');
    is_hidden
        || matches!(defaults().matched(Path::new(name), true), Match::Ignore(glob) if is_folders_rule(glob))
}

struct Walk<'a> {
    root: &'a Path,
    most: usize,
    walked: Walked,
}

impl Walk<'_> {
    /// Walks one folder. `above` has the rules of the folders above it, the outermost first.
    fn folder(&mut self, folder: &Path, above: &mut Vec<Gitignore>) -> Result<(), SetError> {
        let unreadable = |path: &Path, source| SetError::Folder { path: path.to_owned(), source };
        if above.len() > DEEPEST {
            return Err(unreadable(folder, io::Error::other("its folders are nested too deeply")));
        }
        above.push(rules(folder)?);
        let entries = fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = paths.map_err(|source| unreadable(folder, source))?;
        paths.sort();
        for path in paths {
            let kind = path.symlink_metadata().map_err(|source| unreadable(&path, source))?.file_type();
            // The rules treat a link to a folder as a folder.
            let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
            if let Some((rule, file)) = left_out(self.root, &path, is_folder, above) {
                let shown = path.strip_prefix(self.root).unwrap_or(&path).display();
                let path = format!("{shown}{}", if is_folder { "/" } else { "" });
                self.walked.left_out.push(LeftOut { path, rule, file });
            } else if kind.is_dir() {
                self.folder(&path, above)?;
            } else if is_folder {
                return Err(SetError::LinkToFolder { path });
            } else if kind.is_symlink()
                && let Err(source) = fs::metadata(&path)
            {
                return Err(match super::content::is_annex_link(&path) {
                    true => SetError::Annex { path },
                    false => unreadable(&path, source),
                });
            } else {
                self.walked.files.push(path);
            }
            if self.walked.files.len() > self.most {
                break;
            }
        }
        above.pop();
        Ok(())
    }
}

/// Reads the rules of one folder.
fn rules(folder: &Path) -> Result<Gitignore, SetError> {
    let path = folder.join(IGNORE_FILE);
    let mut builder = GitignoreBuilder::new(folder);
    if path.symlink_metadata().is_ok()
        && let Some(error) = builder.add(path)
    {
        return Err(SetError::Walk(error.into()));
    }
    builder.build().map_err(|error| SetError::Walk(error.into()))
}

/// Returns the rule that leaves a path out, and the file that has it.
///
/// The innermost [`IGNORE_FILE`] that mentions the path decides. If none does, [`IGNORED`] and a dot at the beginning
/// of the name decide.
fn left_out(
    root: &Path,
    path: &Path,
    is_folder: bool,
    rules: &[Gitignore],
) -> Option<(Option<String>, Option<PathBuf>)> {
    for rules in rules.iter().rev() {
        match rules.matched(path, is_folder) {
            Match::Ignore(glob) => return Some(origin(glob)),
            Match::Whitelist(_) => return None,
            Match::None => {}
        }
    }
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
        return Some((None, None));
    }
    match defaults().matched(path.strip_prefix(root).unwrap_or(path), is_folder) {
        Match::Ignore(glob) => Some(origin(glob)),
        _ => None,
    }
}

fn origin(glob: &Glob) -> (Option<String>, Option<PathBuf>) {
    (Some(glob.original().to_owned()), glob.from().map(Path::to_owned))
}

fn defaults() -> &'static Gitignore {
    static DEFAULTS: OnceLock<Gitignore> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let mut builder = GitignoreBuilder::new("");
        for line in IGNORED.lines() {
            // Every line is valid, and a test builds them all.
            let _ = builder.add_line(None, line);
        }
        builder.build().unwrap_or_else(|_| Gitignore::empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_rule() {
        let lines = IGNORED.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(defaults().len(), lines.count());
    }

    #[test]
    fn what_tools_leave_beside_the_files_is_left_out_and_says_by_which_rule() {
        let folder = tempfile::tempdir().unwrap();
        let out = [
            "#main.py#",
            "4913",
            ".env",
            "Thumbs.db",
            "device.toml",
            "lib/.#x.py",
            "lib/desktop.ini",
            "lib/x.py~",
            "lib/x.swp",
            "x.pyc",
            "x.pyi",
        ];
        let folders = [
            "__pycache__",
            "lib/__pycache__",
            "node_modules",
            "typings",
            "venv",
            ".git",
            ".venv",
            "a.egg-info",
        ];
        let sent = ["lib/device.toml", "lib/x.py", "main.py", "main~.py", "venv.py"];
        for file in
            out.iter().chain(&sent).map(ToString::to_string).chain(folders.map(|f| format!("{f}/x.py")))
        {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let walked = walk(folder.path(), 1000).unwrap();
        let names =
            walked.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().to_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), sent);
        let mut left: Vec<_> = walked.left_out.iter().map(|left| left.path.clone()).collect();
        let mut expected: Vec<_> = out.iter().map(ToString::to_string).collect();
        expected.extend(folders.map(|folder| format!("{folder}/")));
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
        let venv = walked.left_out.iter().find(|left| left.path == "venv/").unwrap();
        assert_eq!((venv.rule.as_deref(), venv.file.as_deref()), (Some("venv/"), None));
        fs::write(folder.path().join(IGNORE_FILE), "!venv/\n!lib/*.swp\n/lib/x.py\n").unwrap();
        let walked = walk(folder.path(), 1000).unwrap();
        let names =
            walked.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().to_str().unwrap());
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["lib/device.toml", "lib/x.swp", "main.py", "main~.py", "venv/x.py", "venv.py"]
        );
    }
}
