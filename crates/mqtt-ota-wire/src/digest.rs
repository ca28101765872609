use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Hash function that a device may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-1. Every MicroPython build has it. Protects against accidents, not against an attacker.
    #[default]
    Sha1,
    /// SHA-256. Used for sets if the device has announced it, and for files if the device has nothing faster.
    Sha256,
    /// BLAKE3. As strong as SHA-256, and several times as fast on a machine with vector instructions. Used for files if
    /// the device has announced it, never for sets.
    Blake3,
}

impl Algorithm {
    /// All hash functions, the most preferred last.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Blake3];

    /// Returns the name in an announcement: `sha1`, `sha256` or `blake3`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }

    /// Returns true if sets may be hashed with this function.
    pub(crate) fn is_of_sets(self) -> bool {
        self != Self::Blake3
    }

    /// Returns the hash function with this name in an announcement.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.code() == code)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Bytes {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
    Blake3([u8; 32]),
}

/// Prefix of a BLAKE3 digest as text, as in the OCI's content descriptors. Its length alone would not distinguish it
/// from SHA-256.
const BLAKE3: &str = "blake3:";

/// Digest of a file's bytes.
///
/// As text, lower-case hexadecimal: 40 digits are SHA-1, 64 digits are SHA-256, and `blake3:` with 64 digits is BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Bytes);

impl Digest {
    /// Longest text, in bytes: that of a BLAKE3 digest.
    pub const MAX_LEN: usize = BLAKE3.len() + 64;

    /// Computes the digest of bytes in memory.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the hash function of this digest.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Bytes::Sha1(_) => Algorithm::Sha1,
            Bytes::Sha256(_) => Algorithm::Sha256,
            Bytes::Blake3(_) => Algorithm::Blake3,
        }
    }

    /// Returns the raw bytes, 20 or 32 of them.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Sha1(bytes) => bytes,
            Bytes::Sha256(bytes) | Bytes::Blake3(bytes) => bytes,
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        fn decode<const N: usize>(text: &str) -> Result<[u8; N], DigestError> {
            let mut bytes = [0; N];
            for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                for digit in pair {
                    let value = match digit {
                        b'0'..=b'9' => digit - b'0',
                        b'a'..=b'f' => digit - b'a' + 10,
                        _ => return Err(DigestError::Digits),
                    };
                    *byte = *byte << 4 | value;
                }
            }
            Ok(bytes)
        }
        if let Some(text) = text.strip_prefix(BLAKE3) {
            return match text.len() {
                64 => Ok(Self(Bytes::Blake3(decode(text)?))),
                bytes => Err(DigestError::Length { bytes }),
            };
        }
        match text.len() {
            40 => decode(text).map(Bytes::Sha1),
            64 => decode(text).map(Bytes::Sha256),
            bytes => Err(DigestError::Length { bytes }),
        }
        .map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        if self.algorithm() == Algorithm::Blake3 {
            f.write_str(BLAKE3)?;
        }
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.as_bytes()) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let hex = hex.get(..2 * self.as_bytes().len()).unwrap_or_default();
        f.write_str(str::from_utf8(hex).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm() {
            Algorithm::Blake3 => write!(f, "{self}"),
            algorithm => write!(f, "{}:{self}", algorithm.code()),
        }
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(Sha1),
    Sha256(Sha256),
    /// Boxed, because this state is twenty times as large as the others.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Creates a hasher that has seen no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    /// Returns the digest of all bytes added so far.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha1(state) => Bytes::Sha1(state.finalize().into()),
            State::Sha256(state) => Bytes::Sha256(state.finalize().into()),
            State::Blake3(state) => Bytes::Blake3(state.finalize().into()),
        })
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Sha1(_) => "Hasher(sha1)",
            State::Sha256(_) => "Hasher(sha256)",
            State::Blake3(_) => "Hasher(blake3)",
        })
    }
}

/// Error returned for a text that is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Length that fits none of the hash functions.
    #[error("a digest has 40 (SHA-1) or 64 (SHA-256, BLAKE3) digits, this one has {bytes}")]
    Length {
        /// Length found, in bytes, without the prefix `blake3:`.
        bytes: usize,
    },
    /// Character other than `0-9a-f`.
    #[error("a digest is lower-case hexadecimal")]
    Digits,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-4: the example message "abc", and the empty message. BLAKE3: the test vector of no bytes.
        for (algorithm, message, hex) in [
            (Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Blake3,
                "",
                "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            ),
        ] {
            assert_eq!(Digest::of(algorithm, message.as_bytes()).to_string(), hex);
        }
    }

    #[test]
    fn upper_case_and_odd_lengths_are_refused() {
        assert_eq!("A".repeat(40).parse::<Digest>(), Err(DigestError::Digits));
        assert_eq!("é".repeat(20).parse::<Digest>(), Err(DigestError::Digits));
        assert_eq!("0".repeat(39).parse::<Digest>(), Err(DigestError::Length { bytes: 39 }));
        assert_eq!(
            format!("blake3:{}", "0".repeat(40)).parse::<Digest>(),
            Err(DigestError::Length { bytes: 40 })
        );
        assert_eq!(format!("blake3:{}", "A".repeat(64)).parse::<Digest>(), Err(DigestError::Digits));
        assert_eq!(
            format!("sha256:{}", "0".repeat(64)).parse::<Digest>(),
            Err(DigestError::Length { bytes: 71 })
        );
    }

    proptest! {
        #[test]
        fn property_a_digest_round_trips_and_does_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300,
            algorithm in proptest::sample::select(&Algorithm::ALL[..]),
        ) {
            let whole = Digest::of(algorithm, &bytes);
            prop_assert_eq!(whole.to_string().parse::<Digest>(), Ok(whole));
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut hasher = Hasher::new(algorithm);
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), whole);
        }

        #[test]
        fn property_any_text_is_a_digest_or_an_error(text in "[0-9a-f]{38,42}|blake3:[0-9a-f]{63,65}|.{0,70}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
