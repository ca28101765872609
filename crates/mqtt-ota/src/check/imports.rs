//! Modules that hide others.
//!
//! MicroPython prefers a folder to `.py`, `.py` to `.mpy`, and the root of the file system to `/lib`.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Flaw};
use crate::wire::DevicePath;

/// Folder in which MicroPython looks for modules after the root.
const LIB: &str = "lib/";

/// Finds modules that are never imported because others have the same name.
pub(super) fn hidden<'a>(paths: impl Iterator<Item = &'a DevicePath> + Clone) -> Vec<Finding> {
    let mut folders: BTreeMap<&str, &DevicePath> = BTreeMap::new();
    for path in paths.clone() {
        let text = path.as_str();
        for (end, _) in text.match_indices('/') {
            folders.entry(text.get(..end).unwrap_or_default()).or_insert(path);
        }
    }
    let files: BTreeSet<&str> = paths.clone().map(DevicePath::as_str).collect();
    let taken_by = |module: &str, own: &str| {
        let folder = folders.contains_key(module).then(|| format!("{module}/"));
        let file = [".py", ".mpy"].map(|suffix| format!("{module}{suffix}"));
        let file = file.into_iter().find(|file| files.contains(file.as_str()));
        folder.or(file).filter(|by| by != own)
    };
    let mut found = Vec::new();
    for path in paths {
        let text = path.as_str();
        let Some(module) = text.strip_suffix(".py").or_else(|| text.strip_suffix(".mpy")) else { continue };
        // A board runs these files by name.
        if matches!(text, "main.py" | "boot.py") {
            continue;
        }
        let package = module.strip_suffix("/__init__").unwrap_or(module);
        let in_root = package.strip_prefix(LIB).filter(|name| !name.contains('/'));
        let by = taken_by(module, text).or_else(|| taken_by(in_root?, text));
        if let Some(by) = by {
            found.push(Finding { path: path.clone(), file: None, flaw: Flaw::Hidden { by } });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> Vec<(String, String)> {
        let paths: Vec<DevicePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let found = hidden(paths.iter()).into_iter().map(|finding| match finding.flaw {
            Flaw::Hidden { by } => (finding.path.to_string(), by),
            other => panic!("{other:?}"),
        });
        found.collect()
    }

    fn pair(path: &str, by: &str) -> (String, String) {
        (path.to_owned(), by.to_owned())
    }

    #[test]
    fn a_module_is_hidden_by_what_micropython_finds_before_it() {
        assert_eq!(found(&["app.mpy", "app.py", "main.py"]), [pair("app.mpy", "app.py")]);
        assert_eq!(found(&["x.py", "x/__init__.py"]), [pair("x.py", "x/")]);
        assert_eq!(found(&["www.py", "www/index.html"]), [pair("www.py", "www/")]);
        assert_eq!(found(&["helper.py", "lib/helper.py"]), [pair("lib/helper.py", "helper.py")]);
        assert_eq!(
            found(&["helper.mpy", "lib/helper/__init__.py"]),
            [pair("lib/helper/__init__.py", "helper.mpy")]
        );
        assert_eq!(found(&["a/b.mpy", "a/b.py"]), [pair("a/b.mpy", "a/b.py")]);
        assert_eq!(found(&["a/__init__.mpy", "a/__init__.py"]), [pair("a/__init__.mpy", "a/__init__.py")]);
    }

    #[test]
    fn modules_of_other_folders_hide_nothing() {
        assert_eq!(found(&["main.py", "boot.py", "lib/a.py", "b.py", "lib/c/b.py", "lib/c/__init__.py"]), []);
        assert_eq!(found(&["app.mpy", "lib/main.py", "x/app.py", "app.txt"]), []);
    }
}
