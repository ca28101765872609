//! Paths on the device, as users of other tools may write them.

use std::path::{Path, PathBuf};

use mqtt_ota::wire::{DevicePath, PathError};

use crate::problem::Problem;

/// Parses a path on the device. `origin` names the source of the text in errors.
///
/// # Errors
/// Fails on a path that devices refuse.
pub(crate) fn parse(text: &str, origin: &str) -> Result<DevicePath, Problem> {
    text.parse().map_err(|error: PathError| {
        refused(origin)
            .caused_by(error)
            .hint("names are like main.py or lib/lamp.py, seen from the device's root; --as gives a file another one")
    })
}

/// Refuses a path on the device that is misspelt, and suggests the right one.
///
/// # Errors
/// Fails on a path as mpremote, Windows or a shell would write it, on a path that names nothing, and on a path that
/// turns the file's name into a folder.
pub(crate) fn check(wanted: &str, files: &[PathBuf]) -> Result<(), Problem> {
    let origin = format!("--as {wanted}");
    let meant = meant(wanted);
    let path = meant.trim_end_matches('/');
    if path.is_empty() {
        return Err(Problem::usage(format!("--as {wanted:?} names nothing on the device"))
            .hint("without --as a file keeps its name, at the device's root"));
    }
    if meant != wanted {
        parse(path, &origin)?;
        return Err(refused(&origin).caused_by(Spelling::of(wanted)).hint(format!("write --as {meant}")));
    }
    if meant.ends_with('/') && is_named_like_a_file(path, files) {
        return Err(Problem::usage(format!("{origin} would be a folder that is called like a file"))
            .hint(format!("write --as {path} for the file, or --as FOLDER/ to keep its name in a folder")));
    }
    Ok(())
}

fn refused(origin: &str) -> Problem {
    Problem::usage(format!("{origin} cannot be a file's name on the device"))
}

/// Returns the path that was meant: without a colon, a drive or a slash in front, and with neither empty parts nor `.`.
/// A path that is well written is returned as it is.
fn meant(text: &str) -> String {
    let slashed = text.replace('\\', "/");
    let rest = slashed.strip_prefix(':').unwrap_or(&slashed);
    let rest = match rest.as_bytes() {
        [letter, b':', b'/', ..] if letter.is_ascii_alphabetic() => rest.get(2..).unwrap_or_default(),
        _ => rest,
    };
    let is_folder = rest.ends_with('/') || rest.ends_with("/.");
    let parts: Vec<_> = rest.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/") + if is_folder { "/" } else { "" }
}

/// Returns true if the last part of `path` has the extension of one of the files. `main.py` is no folder's name if a
/// `.py` is sent.
fn is_named_like_a_file(path: &str, files: &[PathBuf]) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some() && files.iter().any(|file| file.extension() == extension)
}

/// Reason why a path is misspelt.
#[derive(Debug, thiserror::Error)]
enum Spelling {
    #[error("a colon in front is mpremote's sign for the device; --as is a path on the device anyway")]
    Colon,
    #[error("the parts of a path on the device are separated by /, and there are no drives")]
    Windows,
    #[error("it is seen from the device's root: nothing stands in front")]
    Absolute,
    #[error("it has parts that are empty or `.`")]
    Parts,
}

impl Spelling {
    fn of(text: &str) -> Self {
        match text.as_bytes() {
            [b':', ..] => Self::Colon,
            [letter, b':', b'/', ..] if letter.is_ascii_alphabetic() => Self::Windows,
            _ if text.contains('\\') => Self::Windows,
            [b'/', ..] => Self::Absolute,
            _ => Self::Parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(wanted: &str) -> String {
        check(wanted, &["main.py".into()]).unwrap_err().hint.unwrap()
    }

    #[test]
    fn a_path_as_another_tool_writes_it_is_answered_with_what_to_write() {
        for (wanted, right) in [
            (":main.py", "main.py"),
            (":/main.py", "main.py"),
            (":lib/", "lib/"),
            ("/main.py", "main.py"),
            ("/lib/", "lib/"),
            ("./main.py", "main.py"),
            ("././lib/./a.py", "lib/a.py"),
            ("lib//a.py", "lib/a.py"),
            ("lib\\a.py", "lib/a.py"),
            (".\\lib\\", "lib/"),
            ("C:\\lib\\a.py", "lib/a.py"),
            ("c:/a.py", "a.py"),
            ("main.py/", "main.py"),
            ("lib/main.py/", "lib/main.py"),
        ] {
            assert!(hint(wanted).contains(&format!("--as {right}")), "{wanted}: {}", hint(wanted));
        }
        for nothing in ["", ".", "./", "/", ":", ":/", "\\", "C:\\"] {
            assert!(hint(nothing).contains("without --as"), "{nothing}");
        }
    }

    #[test]
    fn a_path_on_the_device_is_left_alone() {
        for good in ["main.py", "lib/", "lib/a.py", "lib.d/", "lib-1.0/", "a:b", "Küche/lampe.py", ".hidden"]
        {
            assert!(check(good, &["main.py".into()]).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_no_spelling_mends_is_told_by_the_rule_that_it_breaks() {
        for bad in [":../x", "/../x", "..\\x", ":a|b", "/.mqtt-ota/x"] {
            let problem = check(bad, &[]).unwrap_err();
            assert!(
                problem.error.source().is_some_and(|cause| cause.is::<PathError>()),
                "{bad}: {problem:?}"
            );
        }
    }
}
