//! Names that are the same on a file system that folds case.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization as _;

use super::finding::{Finding, Flaw};
use crate::wire::DevicePath;

/// Finds paths that a file system that folds case takes for a different path in the list, or for a path in a folder
/// whose name is a file's.
///
/// Names in different Unicode forms count as the same name.
pub(super) fn clashes<'a>(paths: impl Iterator<Item = &'a DevicePath> + Clone) -> Vec<Finding> {
    let mut files: BTreeMap<String, &DevicePath> = BTreeMap::new();
    let mut found = Vec::new();
    let mut clash = |path: &DevicePath, with: &DevicePath| {
        found.push(Finding { path: path.clone(), file: None, flaw: Flaw::Clash { with: with.to_string() } });
    };
    for path in paths.clone() {
        let name = folded(path.as_str());
        match files.get(&name) {
            Some(other) => clash(path, other),
            None => drop(files.insert(name, path)),
        }
    }
    for path in paths {
        let name = folded(path.as_str());
        let folder = name.match_indices('/').find_map(|(end, _)| files.get(name.get(..end)?));
        if let Some(folder) = folder {
            clash(path, folder);
        }
    }
    found
}

/// Returns the form of a path on a file system that folds case and Unicode forms.
pub(crate) fn folded(path: &str) -> String {
    path.nfc().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str]) -> Vec<(String, String)> {
        let paths: Vec<DevicePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let found = clashes(paths.iter()).into_iter().map(|finding| match finding.flaw {
            Flaw::Clash { with } => (finding.path.to_string(), with),
            other => panic!("{other:?}"),
        });
        found.collect()
    }

    #[test]
    fn names_that_differ_in_case_or_unicode_form_alone_clash() {
        let pair = |one: &str, other: &str| vec![(one.to_owned(), other.to_owned())];
        assert_eq!(found(&["Index.htm", "index.htm"]), pair("index.htm", "Index.htm"));
        assert_eq!(found(&["caf\u{e9}.txt", "cafe\u{301}.txt"]), pair("cafe\u{301}.txt", "caf\u{e9}.txt"));
        assert_eq!(found(&["\u{c9}.txt", "\u{e9}.txt"]), pair("\u{e9}.txt", "\u{c9}.txt"));
        assert_eq!(found(&["WWW", "www/index.html"]), pair("www/index.html", "WWW"));
        assert_eq!(found(&["Lib/a.py", "lib/A.py"]), pair("lib/A.py", "Lib/a.py"));
    }

    #[test]
    fn folders_of_one_name_are_one_folder() {
        assert_eq!(found(&["Lib/a.py", "lib/b.py", "lib2/a.py", "main.py"]), []);
    }
}
