//! What one file has in it.

use std::fs;
use std::path::Path;

use super::Flaw;
use super::python::{self, Fault, Parsed};

/// Longest file that is looked through, in bytes: no board compiles a longer one.
pub(super) const LONGEST: u64 = 256 * 1024;

/// Longest Git LFS pointer, by its specification, and more than any of git-annex has, in bytes.
const POINTER: usize = 1024;

/// Whether this is a file that a board compiles.
pub(super) fn is_python(path: &str) -> bool {
    path.ends_with(".py")
}

/// Returns what is wrong with a file that has these bytes.
pub(super) fn flaws(bytes: &[u8], is_python: bool) -> Vec<Flaw> {
    if bytes.len() <= POINTER {
        if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
            return vec![Flaw::LfsPointer];
        }
        if bytes.starts_with(b"/annex/objects/") {
            return vec![Flaw::AnnexPointer];
        }
    }
    let marker = conflict(bytes);
    if !is_python {
        return marker.map(|line| Flaw::ConflictInText { line }).into_iter().collect();
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return vec![Flaw::ByteOrderMark];
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return vec![Flaw::Utf16];
    }
    if bytes.contains(&0) {
        return vec![Flaw::Nul];
    }
    match (python::parse(bytes), marker) {
        (Parsed::Sound, Some(line)) => vec![Flaw::ConflictInText { line }],
        (Parsed::Sound, None) => Vec::new(),
        (Parsed::Faulty(_), Some(line)) => vec![Flaw::Conflict { line }],
        (Parsed::Faulty(Fault { line, until, what }), None) => vec![Flaw::Syntax { line, until, what }],
        (Parsed::Unknown, _) => vec![Flaw::Unchecked],
    }
}

/// The line of the first conflict marker of git, where a whole conflict follows.
fn conflict(bytes: &[u8]) -> Option<usize> {
    let mut expected = [b"<<<<<<< ".as_slice(), b"=======", b">>>>>>> "].into_iter();
    let (mut next, mut first) = (expected.next()?, None);
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.starts_with(next) {
            first = first.or(Some(number));
            match expected.next() {
                Some(then) => next = then,
                None => return first,
            }
        }
    }
    None
}

/// Whether a link leads to what git-annex has not fetched.
pub(super) fn is_annex_link(path: &Path) -> bool {
    let target = fs::read_link(path).unwrap_or_default();
    target.components().any(|part| part.as_os_str() == "annex")
        && target.components().any(|part| part.as_os_str() == "objects")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_file_itself_is_found_whatever_it_is_called() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        let annex = b"/annex/objects/SHA256E-s3891--4d7a.py\n";
        for is_python in [true, false] {
            assert_eq!(flaws(lfs, is_python), [Flaw::LfsPointer]);
            assert_eq!(flaws(annex, is_python), [Flaw::AnnexPointer]);
        }
    }

    #[test]
    fn an_encoding_that_micropython_cannot_read_is_found_in_python_alone() {
        let utf16: Vec<u8> = "\u{feff}x = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, flaw) in [
            (b"\xef\xbb\xbfx = 1\n".as_slice(), Flaw::ByteOrderMark),
            (&utf16, Flaw::Utf16),
            (b"x = 1\n\0\0\0", Flaw::Nul),
        ] {
            assert_eq!(flaws(bytes, true), [flaw]);
            assert_eq!(flaws(bytes, false), []);
        }
        assert_eq!(flaws("x = 'é'  # €\n".as_bytes(), true), []);
    }

    #[test]
    fn a_committed_conflict_is_found_in_its_line_and_is_no_fault_of_a_docstring() {
        let conflict = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> topic\n";
        assert_eq!(flaws(conflict.as_bytes(), true), [Flaw::Conflict { line: 2 }]);
        assert_eq!(flaws(conflict.as_bytes(), false), [Flaw::ConflictInText { line: 2 }]);
        let quoted = format!("'''{conflict}'''\n");
        assert_eq!(flaws(quoted.as_bytes(), true), [Flaw::ConflictInText { line: 2 }]);
        assert_eq!(flaws(b"Title\n=======\n>>>>>>> quoted\n", false), []);
    }
}
