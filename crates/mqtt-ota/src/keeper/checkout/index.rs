use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Longest index that is read, in bytes: a million files.
const LONGEST: u64 = 256 * 1024 * 1024;
/// Longest path in an index, in bytes.
const LONGEST_PATH: usize = 4096;
/// Number of submodules that are told apart.
const SUBMODULES: usize = 1000;

/// Modes of an entry: the mask of its kind, and the kind of a submodule.
const KIND: u32 = 0o170_000;
const SUBMODULE: u32 = 0o160_000;
/// Flags of an entry: its stage in a merge, and whether there are more flags.
const STAGE: u16 = 0x3000;
const EXTENDED: u16 = 0x4000;

/// Contents of git's index (gitformat-index(5)), as far as they are needed here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// First path that waits for a merge to be ended.
    pub(super) unmerged: Option<String>,
    /// Paths of other checkouts, which are submodules.
    pub(super) submodules: Vec<String>,
}

impl Index {
    /// Reads an index, up to the first path that is unmerged. Blocking.
    ///
    /// # Errors
    /// The file cannot be read, or is no index.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let hash = match is_sha256(path) {
            true => 32,
            false => 20,
        };
        Self::parse(BufReader::with_capacity(64 * 1024, File::open(path)?.take(LONGEST)), hash)
    }

    /// Parses an index. `hash`: the length of an object's name, in bytes.
    fn parse(mut index: impl BufRead, hash: usize) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not an index that is known here");
        if &bytes::<4>(&mut index)? != b"DIRC" {
            return Err(wrong());
        }
        let version = u32::from_be_bytes(bytes(&mut index)?);
        if !(2..=4).contains(&version) {
            return Err(wrong());
        }
        let entries = u32::from_be_bytes(bytes(&mut index)?);
        let (mut found, mut path) = (Self::default(), Vec::new());
        for _ in 0..entries {
            // Times, device and number of the file.
            bytes::<24>(&mut index)?;
            let mode = u32::from_be_bytes(bytes(&mut index)?);
            // Owner, group and length.
            bytes::<12>(&mut index)?;
            io::copy(&mut (&mut index).take(hash as u64), &mut io::sink())?;
            let flags = u16::from_be_bytes(bytes(&mut index)?);
            let mut length = 24 + 4 + 12 + hash + 2;
            if flags & EXTENDED != 0 && version >= 3 {
                bytes::<2>(&mut index)?;
                length += 2;
            }
            match version {
                4 => {
                    let removed = usize::try_from(offset(&mut index)?).map_err(|_| wrong())?;
                    path.truncate(path.len().checked_sub(removed).ok_or_else(wrong)?);
                }
                _ => path.clear(),
            }
            let before = path.len();
            (&mut index).take(LONGEST_PATH as u64).read_until(0, &mut path)?;
            if path.pop() != Some(0) || path.len() > LONGEST_PATH {
                return Err(wrong());
            }
            if version < 4 {
                // A path ends with one to eight zeros, so that each entry is a multiple of eight bytes long.
                let zeros = 8 - (length + path.len() - before) % 8 - 1;
                io::copy(&mut (&mut index).take(zeros as u64), &mut io::sink())?;
            }
            if flags & STAGE != 0 {
                found.unmerged = Some(String::from_utf8_lossy(&path).into_owned());
                return Ok(found);
            }
            if mode & KIND == SUBMODULE && found.submodules.len() < SUBMODULES {
                found.submodules.push(String::from_utf8_lossy(&path).into_owned());
            }
        }
        Ok(found)
    }
}

fn bytes<const N: usize>(index: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    index.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a number in the format of an OFS_DELTA entry of a pack (gitformat-pack(5)).
fn offset(index: &mut impl Read) -> io::Result<u64> {
    let mut number = 0_u64;
    loop {
        let [byte] = bytes::<1>(index)?;
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        number = number.wrapping_add(1);
    }
}

/// Returns true if the checkout with this index names its objects by SHA-256, as its configuration says.
fn is_sha256(index: &Path) -> bool {
    let git = index.parent().unwrap_or(index);
    // A worktree shares its configuration with its main checkout.
    let common = std::fs::read_to_string(git.join("commondir")).unwrap_or_default();
    let settings = std::fs::read_to_string(git.join(common.trim()).join("config")).unwrap_or_default();
    settings.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim().eq_ignore_ascii_case("objectformat") && value.trim().eq_ignore_ascii_case("sha256")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_index_is_an_error() {
        for bad in [
            &b""[..],
            b"DIRC",
            b"XXXX\0\0\0\x02\0\0\0\0",
            b"DIRC\0\0\0\x05\0\0\0\0",
            b"DIRC\0\0\0\x02\0\0\0\x01",
        ] {
            assert!(Index::parse(bad, 20).is_err(), "{bad:?}");
        }
        assert_eq!(Index::parse(&b"DIRC\0\0\0\x02\0\0\0\0"[..], 20).unwrap(), Index::default());
    }

    proptest! {
        #[test]
        fn property_no_bytes_break_it(version in 2_u8..5, count in any::<u32>(), rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = b"DIRC\0\0\0".to_vec();
            bytes.push(version);
            bytes.extend(count.to_be_bytes());
            bytes.extend(rest);
            let _ = Index::parse(&bytes[..], 20);
        }
    }
}
