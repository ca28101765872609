use std::fmt;
use std::str::FromStr;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A hash function that devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-1: every MicroPython build has it. It guards against accidents, not against an attacker.
    #[default]
    Sha1,
    /// SHA-256: used wherever the device has announced it.
    Sha256,
}

impl Algorithm {
    /// The name in an announcement: `sha1` or `sha256`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    pub(crate) fn from_code(code: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256].into_iter().find(|algorithm| algorithm.code() == code)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Bytes {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// The digest of a file's bytes. As text, lower-case hexadecimal: 40 digits are SHA-1, 64 are SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Bytes);

impl Digest {
    /// The digest of bytes that are in memory.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function it was made with.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Bytes::Sha1(_) => Algorithm::Sha1,
            Bytes::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// The raw bytes: 20 or 32.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Sha1(bytes) => bytes,
            Bytes::Sha256(bytes) => bytes,
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
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
        let mut hex = String::with_capacity(2 * self.as_bytes().len());
        for byte in self.as_bytes() {
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 15));
        }
        f.write_str(&hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm().code())
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// Begins a digest.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes given so far.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha1(state) => Bytes::Sha1(state.finalize().into()),
            State::Sha256(state) => Bytes::Sha256(state.finalize().into()),
        })
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Sha1(_) => "Hasher(sha1)",
            State::Sha256(_) => "Hasher(sha256)",
        })
    }
}

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Neither SHA-1 nor SHA-256.
    #[error("a digest has 40 (SHA-1) or 64 (SHA-256) digits, this one has {bytes}")]
    Length {
        /// The length found.
        bytes: usize,
    },
    /// Something else than `0-9a-f`.
    #[error("a digest is lower-case hexadecimal")]
    Digits,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-4, the example message "abc", and the empty message.
        for (algorithm, message, hex) in [
            (Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(Digest::of(algorithm, message.as_bytes()).to_string(), hex);
        }
    }

    #[test]
    fn upper_case_and_odd_lengths_are_refused() {
        assert_eq!("A".repeat(40).parse::<Digest>(), Err(DigestError::Digits));
        assert_eq!("é".repeat(20).parse::<Digest>(), Err(DigestError::Digits));
        assert_eq!("0".repeat(39).parse::<Digest>(), Err(DigestError::Length { bytes: 39 }));
    }

    proptest! {
        #[test]
        fn property_a_digest_round_trips_and_does_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300, sha1 in any::<bool>()
        ) {
            let algorithm = if sha1 { Algorithm::Sha1 } else { Algorithm::Sha256 };
            let whole = Digest::of(algorithm, &bytes);
            prop_assert_eq!(whole.to_string().parse::<Digest>(), Ok(whole));
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut hasher = Hasher::new(algorithm);
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), whole);
        }

        #[test]
        fn property_any_text_is_a_digest_or_an_error(text in "[0-9a-f]{38,42}|.{0,70}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
