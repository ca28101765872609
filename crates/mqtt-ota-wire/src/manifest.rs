use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use crate::fields::canonical;
use crate::{Algorithm, DevicePath, Digest, DigestError, PathError};

/// The files of a set, one per line: `HASH SIZE PATH`.
///
/// Lines are in the order of the paths' bytes. No path occurs twice, no path is the folder of another, and all hashes
/// use one hash function. The hash of the manifest's text names the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    lines: Vec<ManifestLine>,
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManifestLine {
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// Length of the file, in bytes.
    pub size: u64,
    /// File name on the device.
    pub path: DevicePath,
}

impl Manifest {
    /// Largest number of files.
    pub const MAX_LINES: usize = 1_000;
    /// Longest text, in bytes.
    pub const MAX_LEN: usize = 128 * 1024;

    /// Sorts the files and checks that they form a set.
    ///
    /// # Errors
    /// Returns the first rule that the files break.
    pub fn new(files: impl IntoIterator<Item = ManifestLine>) -> Result<Self, ManifestError> {
        let mut lines: Vec<_> = files.into_iter().collect();
        // `str` compares by bytes.
        lines.sort_by(|one, other| one.path.cmp(&other.path));
        Self::of(lines)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Returns the first rule that the text breaks, with the line or path concerned.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if text.len() > Self::MAX_LEN {
            return Err(ManifestError::TooLong { bytes: text.len() });
        }
        let text = core::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(ManifestError::NoEnd);
        }
        let mut lines = Vec::new();
        for (index, line) in text.split_terminator('\n').enumerate() {
            let number = index + 1;
            if number > Self::MAX_LINES {
                return Err(ManifestError::TooMany { lines: text.split_terminator('\n').count() });
            }
            let mut fields = line.splitn(3, ' ');
            let (Some(digest), Some(size), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                return Err(ManifestError::Fields { line: number });
            };
            lines.push(ManifestLine {
                digest: digest.parse().map_err(|source| ManifestError::Digest { line: number, source })?,
                size: canonical(size).ok_or(ManifestError::Size { line: number })?,
                path: path.parse().map_err(|source| ManifestError::Path { line: number, source })?,
            });
        }
        Self::of(lines)
    }

    /// Checks the rules that concern more than one line, and the limits.
    fn of(lines: Vec<ManifestLine>) -> Result<Self, ManifestError> {
        if lines.len() > Self::MAX_LINES {
            return Err(ManifestError::TooMany { lines: lines.len() });
        }
        let mut before: Option<&ManifestLine> = None;
        for line in &lines {
            if let Some(before) = before {
                if before.path == line.path {
                    return Err(ManifestError::Twice { path: line.path.clone() });
                }
                if before.path > line.path {
                    return Err(ManifestError::Order { path: line.path.clone() });
                }
                if before.digest.algorithm() != line.digest.algorithm() {
                    return Err(ManifestError::Mixed { path: line.path.clone() });
                }
            }
            before = Some(line);
        }
        let files: BTreeSet<&str> = lines.iter().map(|line| line.path.as_str()).collect();
        for line in &lines {
            let path = line.path.as_str();
            for folder in path.match_indices('/').filter_map(|(end, _)| path.get(..end)) {
                if files.contains(folder) {
                    return Err(ManifestError::Folder { path: line.path.clone(), folder: folder.to_owned() });
                }
            }
        }
        let manifest = Self { lines };
        match manifest.to_string().len() {
            bytes if bytes > Self::MAX_LEN => Err(ManifestError::TooLong { bytes }),
            _ => Ok(manifest),
        }
    }

    /// Returns the files, in the order of their paths' bytes. The first is item 1 of the stream.
    pub fn lines(&self) -> &[ManifestLine] {
        &self.lines
    }

    /// Returns the total length of all files, in bytes.
    pub fn total(&self) -> u64 {
        self.lines.iter().fold(0, |total, line| total.saturating_add(line.size))
    }

    /// Returns the digest of the manifest's text, which names the set.
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        Digest::of(algorithm, self.to_string().as_bytes())
    }
}

impl fmt::Display for ManifestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, size, path } = self;
        write!(f, "{digest} {size} {path}")
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Error returned for a text, or for files, that do not form a [`Manifest`]. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Text longer than [`Manifest::MAX_LEN`].
    #[error("a manifest has at most {} bytes, this one has {bytes}", Manifest::MAX_LEN)]
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// More files than [`Manifest::MAX_LINES`].
    #[error("a set has at most {} files, this one has {lines}", Manifest::MAX_LINES)]
    TooMany {
        /// Number of files found.
        lines: usize,
    },
    /// Text that is not UTF-8.
    #[error("a manifest is UTF-8 text")]
    NotText,
    /// Last line without a line feed.
    #[error("each line of a manifest has an end, and the last one has none")]
    NoEnd,
    /// Line with fewer than three fields.
    #[error("line {line} is not HASH SIZE PATH")]
    Fields {
        /// Line number.
        line: usize,
    },
    /// Invalid hash, the first field.
    #[error("the hash in line {line} is not valid")]
    Digest {
        /// Line number.
        line: usize,
        /// Rule that the hash breaks.
        source: DigestError,
    },
    /// Invalid size, the second field.
    #[error("the size in line {line} is not a decimal number")]
    Size {
        /// Line number.
        line: usize,
    },
    /// Invalid path, the third field.
    #[error("the path in line {line} is not valid")]
    Path {
        /// Line number.
        line: usize,
        /// Rule that the path breaks.
        source: PathError,
    },
    /// Path that occurs twice.
    #[error("{path} is in the set twice")]
    Twice {
        /// Repeated path.
        path: DevicePath,
    },
    /// Lines that are not in the order of the paths' bytes.
    #[error("{path} comes behind a path that is greater")]
    Order {
        /// Path that should come earlier.
        path: DevicePath,
    },
    /// Hashes of more than one hash function.
    #[error("the hash of {path} is of another function than those before it")]
    Mixed {
        /// First path with a different hash function.
        path: DevicePath,
    },
    /// File in a folder whose name is that of another file in the set.
    #[error("{path} is in a folder {folder:?}, which is a file of the set")]
    Folder {
        /// Path of the file.
        path: DevicePath,
        /// Folder of the file.
        folder: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "819d7bf839af03c912af6e81f65ab404e5915ab5";

    fn line(path: &str, size: u64) -> ManifestLine {
        let digest = Digest::of(Algorithm::Sha1, path.as_bytes());
        ManifestLine { digest, size, path: path.parse().unwrap() }
    }

    #[test]
    fn files_are_put_in_the_order_of_their_paths_bytes() {
        let manifest =
            Manifest::new(["main.py", "lib/b.py", "é", "lib.py", "Z"].map(|p| line(p, 1))).unwrap();
        let paths: Vec<_> = manifest.lines().iter().map(|line| line.path.as_str()).collect();
        assert_eq!(paths, ["Z", "lib.py", "lib/b.py", "main.py", "é"]);
        assert_eq!(manifest.total(), 5);
        assert_eq!(manifest.digest(Algorithm::Sha256).algorithm(), Algorithm::Sha256);
    }

    #[test]
    fn a_path_goes_to_the_end_of_its_line() {
        let text = format!("{HASH} 0 a b  c\n");
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.lines()[0].path.as_str(), "a b  c");
        assert_eq!(manifest.to_string(), text);
        assert_eq!(Manifest::parse(b"").unwrap().lines(), []);
    }

    #[test]
    fn a_file_that_is_another_one_s_folder_is_found_though_others_lie_between() {
        let error = Manifest::new(["a", "a-b", "a/b/c"].map(|path| line(path, 1))).unwrap_err();
        assert!(matches!(error, ManifestError::Folder { ref folder, .. } if folder == "a"), "{error}");
        let error = Manifest::new(["a/b", "a/b/c/d"].map(|path| line(path, 1))).unwrap_err();
        assert!(matches!(error, ManifestError::Folder { .. }));
        assert!(Manifest::new(["a-b", "a/b", "ab/c"].map(|path| line(path, 1))).is_ok());
    }

    #[test]
    fn an_error_names_the_line_and_the_rule() {
        let sha256 = "0".repeat(64);
        for (text, words) in [
            ("x".to_owned(), "has none"),
            ("\n".to_owned(), "line 1 is not"),
            (format!("{HASH} 1\n"), "line 1 is not"),
            (format!("{HASH} 1 a\nnone 1 b\n"), "hash in line 2"),
            (format!("{HASH}  1 a\n"), "size in line 1"),
            (format!("{HASH} 01 a\n"), "size in line 1"),
            (format!("{HASH} +1 a\n"), "size in line 1"),
            (format!("{HASH} 1 ../a\n"), "path in line 1"),
            (format!("{HASH} 1 a\r\n"), "path in line 1"),
            (format!("{HASH} 1 .mqtt-ota/set\n"), "path in line 1"),
            (format!("{HASH} 1 a\n{HASH} 1 a\n"), "twice"),
            (format!("{HASH} 1 b\n{HASH} 1 a\n"), "greater"),
            (format!("{HASH} 1 a\n{sha256} 1 b\n"), "another function"),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(Manifest::parse(b"\xff\n"), Err(ManifestError::NotText));
    }

    #[test]
    fn a_set_has_a_limit_of_files_and_of_bytes() {
        let files = |count: usize, len: usize| (0..count).map(move |i| line(&format!("{i:0len$}"), 1));
        assert_eq!(Manifest::new(files(1_000, 4)).unwrap().lines().len(), 1_000);
        assert_eq!(Manifest::new(files(1_001, 4)), Err(ManifestError::TooMany { lines: 1_001 }));
        let long = Manifest::new(files(1_000, 128)).unwrap_err();
        assert_eq!(long, ManifestError::TooLong { bytes: 1_000 * (40 + 1 + 1 + 1 + 128 + 1) });
        let text = format!("{HASH} 1 a\n").repeat(3_000);
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::TooLong { .. })));
        let text = format!("{HASH} 1 a\n").repeat(2_000);
        assert_eq!(Manifest::parse(text.as_bytes()), Err(ManifestError::TooMany { lines: 2_000 }));
    }

    fn any_files() -> impl Strategy<Value = Vec<ManifestLine>> {
        let file = ("[a-c é]{1,3}(/[a-c.]{1,3}){0,2}", any::<u64>());
        proptest::collection::vec(file, 0..6).prop_map(|files| {
            files
                .into_iter()
                .filter_map(|(path, size)| Some((path.parse::<DevicePath>().ok()?, size)))
                .map(|(path, size)| line(path.as_str(), size))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn property_a_manifest_round_trips_whatever_order_its_files_came_in(files in any_files()) {
            let mut turned = files.clone();
            turned.reverse();
            if let Ok(manifest) = Manifest::new(files) {
                prop_assert_eq!(Manifest::new(turned), Ok(manifest.clone()));
                prop_assert_eq!(Manifest::parse(manifest.to_string().as_bytes()), Ok(manifest));
            } else {
                prop_assert!(Manifest::new(turned).is_err());
            }
        }

        #[test]
        fn property_a_damaged_manifest_is_an_error_or_is_written_as_it_was_read(
            files in any_files(), at in any::<proptest::sample::Index>(), byte in any::<u8>()
        ) {
            if let Ok(manifest) = Manifest::new(files) {
                let mut bytes = manifest.to_string().into_bytes();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                if let Ok(read) = Manifest::parse(&bytes) {
                    prop_assert_eq!(read.to_string().into_bytes(), bytes);
                }
            }
        }
    }
}
