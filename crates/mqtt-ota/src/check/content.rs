//! Checks of the content of one file.

use std::fs;
use std::path::Path;

use super::finding::Flaw;
use super::python::{self, Fault, Parsed};

/// Longest file that is checked, in bytes. No board compiles a longer one.
pub(super) const LONGEST: u64 = 256 * 1024;

/// Longest Git LFS pointer by its specification, in bytes. Pointers of git-annex are shorter.
const POINTER: usize = 1024;

/// Role of a file on a board, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other,
    /// File that the board compiles.
    Python,
    /// File that the board runs before any other, including the client that puts sets in place.
    Boot,
}

impl Kind {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "boot.py" => Self::Boot,
            _ if path.ends_with(".py") => Self::Python,
            _ => Self::Other,
        }
    }
}

/// Returns the flaws of a file with these bytes.
pub(super) fn flaws(bytes: &[u8], kind: Kind) -> Vec<Flaw> {
    let mut flaws = flaws_of_any(bytes, kind);
    let is_sound = flaws.iter().all(|flaw| matches!(flaw, Flaw::ConflictInText { .. }));
    if kind == Kind::Boot && is_sound && python::starts_client(bytes) == Some(false) {
        flaws.push(Flaw::NoClient);
    }
    flaws
}

fn flaws_of_any(bytes: &[u8], kind: Kind) -> Vec<Flaw> {
    if bytes.len() <= POINTER {
        if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
            return vec![Flaw::LfsPointer];
        }
        if bytes.starts_with(b"/annex/objects/") {
            return vec![Flaw::AnnexPointer];
        }
    }
    let marker = conflict(bytes);
    if kind == Kind::Other {
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

/// Returns the line, from 1, of git's first conflict marker, if a whole conflict follows.
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

/// Returns true if a link points to a file that git-annex has not fetched.
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
        for kind in [Kind::Boot, Kind::Python, Kind::Other] {
            assert_eq!(flaws(lfs, kind), [Flaw::LfsPointer]);
            assert_eq!(flaws(annex, kind), [Flaw::AnnexPointer]);
        }
    }

    #[test]
    fn only_of_a_boot_py_the_client_is_expected() {
        let (without, with) = (b"x = 1\n", b"import mqtt_ota_boot\nmqtt_ota_boot.boot()\n");
        assert_eq!(flaws(without, Kind::of("boot.py")), [Flaw::NoClient]);
        assert_eq!(flaws(b"", Kind::Boot), [Flaw::NoClient]);
        assert_eq!(flaws(with, Kind::Boot), []);
        for path in ["main.py", "lib/boot.py", "boot.py.txt", "boot.mpy"] {
            assert_eq!(flaws(without, Kind::of(path)), [], "{path}");
        }
        // Other flaws are reported first.
        assert!(matches!(flaws(b"print 'x'\n", Kind::Boot)[..], [Flaw::Syntax { .. }]));
    }

    #[test]
    fn an_encoding_that_micropython_cannot_read_is_found_in_python_alone() {
        let utf16: Vec<u8> = "\u{feff}x = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, flaw) in [
            (b"\xef\xbb\xbfx = 1\n".as_slice(), Flaw::ByteOrderMark),
            (&utf16, Flaw::Utf16),
            (b"x = 1\n\0\0\0", Flaw::Nul),
        ] {
            assert_eq!(flaws(bytes, Kind::Python), [flaw]);
            assert_eq!(flaws(bytes, Kind::Other), []);
        }
        assert_eq!(flaws("x = 'é'  # €\n".as_bytes(), Kind::Python), []);
    }

    #[test]
    fn a_committed_conflict_is_found_in_its_line_and_is_no_fault_of_a_docstring() {
        let conflict = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> topic\n";
        assert_eq!(flaws(conflict.as_bytes(), Kind::Python), [Flaw::Conflict { line: 2 }]);
        assert_eq!(flaws(conflict.as_bytes(), Kind::Other), [Flaw::ConflictInText { line: 2 }]);
        let quoted = format!("'''{conflict}'''\n");
        assert_eq!(flaws(quoted.as_bytes(), Kind::Python), [Flaw::ConflictInText { line: 2 }]);
        assert_eq!(flaws(b"Title\n=======\n>>>>>>> quoted\n", Kind::Other), []);
    }
}
