use std::fmt;

use crate::wire::{DevicePath, Digest, STATE_FOLDER, Trial};

/// Name of the installed set's manifest in a journal.
const MANIFEST: &str = "set";
/// Name of the list of files that earlier sets have left, in a journal.
const LEFT: &str = "left";

/// Changes of a set, as they are stored in the client's folder from the commit on.
///
/// The first line has the hash of the set and the number of boots that its trial lasts. Each other line is `+N PATH`
/// for a new file, `=N PATH` for a file that is replaced, or `-N PATH` for a file that is removed. `N` is the name of
/// the staged file, and `kN` the name of the copy of the file before it. Line 0 is the manifest itself. The
/// MicroPython client reads and writes the same format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) digest: Digest,
    pub(super) trial: Trial,
    pub(super) lines: Vec<JournalLine>,
}

/// Change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalLine {
    pub(super) kind: Kind,
    pub(super) number: usize,
    pub(super) subject: Subject,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The file does not exist yet.
    New,
    /// The file is replaced by another.
    Replaced,
    /// The file is removed.
    Gone,
}

/// File that a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The manifest of the installed set, in the client's folder.
    Manifest,
    /// The list of files that earlier sets have left, in the client's folder.
    Left,
    /// File of the device.
    File(DevicePath),
}

impl Kind {
    const ALL: [Self; 3] = [Self::New, Self::Replaced, Self::Gone];

    fn sign(self) -> char {
        match self {
            Self::New => '+',
            Self::Replaced => '=',
            Self::Gone => '-',
        }
    }
}

impl Journal {
    /// Parses a journal. Returns `None` if the text is not a journal.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (digest, trial) = lines.next()?.split_once(' ')?;
        Some(Self {
            digest: digest.parse().ok()?,
            trial: trial.parse().ok().and_then(Trial::new)?,
            lines: lines.map(JournalLine::parse).collect::<Option<_>>()?,
        })
    }
}

impl JournalLine {
    fn parse(line: &str) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| line.starts_with(kind.sign()))?;
        let (number, path) = line.get(1..)?.split_once(' ')?;
        let subject = match path.strip_prefix(STATE_FOLDER).and_then(|rest| rest.strip_prefix('/')) {
            Some(MANIFEST) => Subject::Manifest,
            Some(LEFT) => Subject::Left,
            _ => Subject::File(path.parse().ok()?),
        };
        Some(Self { kind, number: number.parse().ok()?, subject })
    }

    /// Returns the name of the staged file in the client's folder.
    pub(super) fn staged(&self) -> String {
        self.number.to_string()
    }

    /// Returns the name of the copy of the file before it, in the client's folder.
    pub(super) fn copy(&self) -> String {
        format!("k{}", self.number)
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.digest, self.trial)?;
        for JournalLine { kind, number, subject } in &self.lines {
            write!(f, "{}{number} ", kind.sign())?;
            match subject {
                Subject::Manifest => writeln!(f, "{STATE_FOLDER}/{MANIFEST}"),
                Subject::Left => writeln!(f, "{STATE_FOLDER}/{LEFT}"),
                Subject::File(path) => writeln!(f, "{path}"),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "819d7bf839af03c912af6e81f65ab404e5915ab5";

    #[test]
    fn the_journal_of_the_micropython_client_is_read_and_written_alike() {
        let text = format!("{HASH} 3\n=0 .mqtt-ota/set\n+1 lib/a b.py\n=12 main.py\n-13 gone\n");
        let journal = Journal::parse(&text).unwrap();
        assert_eq!((journal.trial.boots(), journal.lines.len()), (3, 4));
        assert_eq!(journal.lines[0].subject, Subject::Manifest);
        assert_eq!((journal.lines[2].staged(), journal.lines[2].copy()), ("12".into(), "k12".into()));
        assert_eq!(journal.to_string(), text);
    }

    #[test]
    fn what_is_no_journal_is_none() {
        for bad in [
            "",
            "\n",
            HASH,
            &format!("{HASH} 3"),
            &format!("{HASH} 0\n"),
            &format!("{HASH} 3\n\n"),
            &format!("{HASH} 3\n+1 a"),
            &format!("{HASH} 3\n*1 a\n"),
            &format!("{HASH} 3\n+x a\n"),
            &format!("{HASH} 3\n+1 ../a\n"),
            &format!("{HASH} 3\n+1 .mqtt-ota/commit\n"),
        ] {
            assert_eq!(Journal::parse(bad), None, "{bad:?}");
        }
    }
}
