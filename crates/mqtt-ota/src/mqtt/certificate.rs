//! The broker's certificate: its problems, and the fingerprint that names it.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate, which names it whoever has signed it.
///
/// Read and shown in the format of `openssl x509 -fingerprint -sha256`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads 64 hexadecimal digits, with or without colons, and with or without `sha256 Fingerprint=` before them.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = text.rsplit_once('=').map_or(text, |(_, digits)| digits).trim();
        let digits = digits.bytes().filter(|byte| *byte != b':');
        let mut bytes = [0; 32];
        let mut count = 0;
        for digit in digits {
            let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (Some(value), Some(byte)) = (value, bytes.get_mut(count / 2)) else {
                return Err(FingerprintError);
            };
            *byte = *byte << 4 | value;
            count += 1;
        }
        if count == 64 { Ok(Self(bytes)) } else { Err(FingerprintError) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Error returned for a text that is not the SHA-256 fingerprint of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints them")]
pub struct FingerprintError;

/// Reason for which a broker's certificate is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Version 1 or 2 of X.509, as `openssl x509 -req` makes it without an extensions file.
    #[error(
        "it is of X.509 version 1, which cannot name hosts and is no longer accepted; version 3 is needed"
    )]
    Version,
    /// Certificate of an authority, mostly a self-signed one that is also given as the authority.
    #[error("it is an authority's certificate (CA:TRUE), and the broker shows it as its own")]
    CaAsServer,
    /// Certificate that has expired.
    #[error("it expired {} ago", Rough(*ago))]
    Expired {
        /// Time since it expired, by this machine's clock.
        ago: Duration,
    },
    /// Certificate that is not valid yet.
    #[error("it is not valid before {} from now; is this machine's clock right?", Rough(*wait))]
    NotYetValid {
        /// Time until it becomes valid, by this machine's clock.
        wait: Duration,
    },
    /// Certificate for names other than the host in the broker's URL.
    #[error("it is not for {host}: {}", Names(names))]
    Name {
        /// Host in the broker's URL.
        host: String,
        /// Names in the certificate. Not safe for a terminal.
        names: Vec<String>,
    },
    /// Certificate signed by an authority that is not trusted.
    #[error("it is signed by an authority that is not trusted here")]
    UnknownIssuer,
    /// Certificate signed by itself.
    #[error("it is signed by itself, and not by an authority that is trusted here")]
    SelfSigned,
    /// Certificate signed by an authority of the same name with a different key.
    #[error(
        "its signature is not by the key of the authority that is trusted here, which only has the same name"
    )]
    Signature,
    /// Certificate signed with an algorithm that is no longer accepted.
    #[error("it is signed in a way that is no longer accepted, such as with SHA-1 or a short RSA key")]
    Algorithm,
    /// Certificate that is not made for a server.
    #[error("it is not made for a server: its extended key usage has no serverAuth")]
    Purpose,
    /// Certificate that its authority has revoked.
    #[error("its authority has revoked it")]
    Revoked,
    /// Certificate that is not the pinned one.
    #[error("it is not the pinned one, {pinned}")]
    NotPinned {
        /// Pinned fingerprint.
        pinned: Fingerprint,
    },
    /// Any other problem.
    #[error("it is not valid")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

impl CertificateProblem {
    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } | Self::Revoked => "make a new one for the broker (docs/broker.md, TLS)",
            Self::NotYetValid { .. } => "set the clock; else make a new certificate (docs/broker.md, TLS)",
            Self::Name { .. } => {
                "name the broker as its certificate does; else make one for this name (docs/broker.md, TLS)"
            }
            Self::UnknownIssuer => {
                "give the file of the authority that signed it; or pin this certificate by its fingerprint"
            }
            Self::Signature => "give the file of the authority that signed it, perhaps a newer one",
            Self::NotPinned { .. } => {
                "if the broker has a new certificate, pin that; else somebody stands between you and it"
            }
            _ => {
                "docs/broker.md (TLS) has the commands that make a right one; or pin this one by its fingerprint"
            }
        }
    }

    /// Converts rustls's error about a certificate.
    pub(super) fn of(error: CertificateError, is_self_signed: bool) -> Self {
        use CertificateError as E;
        match error {
            E::ExpiredContext { time, not_after } => Self::Expired { ago: between(not_after, time) },
            E::NotValidYetContext { time, not_before } => {
                Self::NotYetValid { wait: between(time, not_before) }
            }
            E::NotValidForNameContext { expected, presented } => {
                Self::Name { host: expected.to_str().into_owned(), names: presented }
            }
            E::UnknownIssuer if is_self_signed => Self::SelfSigned,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::BadSignature => Self::Signature,
            E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            E::Revoked => Self::Revoked,
            E::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::UnsupportedCertVersion) => Self::Version,
                Some(webpki::Error::CaUsedAsEndEntity) => Self::CaAsServer,
                _ => Self::Other(Box::new(other)),
            },
            other => Self::Other(Box::new(rustls::Error::InvalidCertificate(other))),
        }
    }
}

fn between(earlier: rustls::pki_types::UnixTime, later: rustls::pki_types::UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

/// Shows a long time in the largest unit that fits it: minutes, hours or days.
struct Rough(Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0..HOUR => (seconds.div_ceil(MINUTE), "minute"),
            HOUR..DAY => (seconds / HOUR, "hour"),
            _ => (seconds / DAY, "day"),
        };
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// Shows the names that a certificate is for.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longest list that is worth a line.
        const SHOWN: usize = 8;
        if self.0.is_empty() {
            return f
                .write_str("it names no host in a subjectAltName, and a common name alone does not count");
        }
        f.write_str("it is for ")?;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            // rustls writes names as `DnsName("iot.lan")` or `IpAddress(192.168.1.10)`.
            let name = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, name.trim_matches('"'))?;
        }
        if self.0.len() > SHOWN { f.write_str(", …") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssl_prints_it_and_as_others_do() {
        let bytes: Vec<String> = (0..32_u8).map(|byte| format!("{:02X}", byte * 7)).collect();
        let shown = bytes.join(":");
        let plain = bytes.concat();
        for text in [
            shown.clone(),
            format!("SHA256 Fingerprint={shown}"),
            format!("sha256 Fingerprint={shown}\n"),
            shown.to_lowercase(),
            plain.clone(),
            plain.to_lowercase(),
        ] {
            assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), shown, "{text}");
        }
        let short = &plain[..62];
        for bad in ["", "sha256", short, &format!("{plain}00"), &format!("{short}xy"), &format!("{short}é")]
        {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_names_are_said_as_people_say_them() {
        for (seconds, said) in
            [(1, "1 minute"), (3599, "60 minutes"), (7200, "2 hours"), (86_400 * 12, "12 days")]
        {
            assert_eq!(Rough(Duration::from_secs(seconds)).to_string(), said);
        }
        let names = ["DnsName(\"iot.lan\")", "IpAddress(192.168.1.10)"].map(str::to_owned);
        assert_eq!(Names(&names).to_string(), "it is for iot.lan, 192.168.1.10");
        assert!(Names(&[]).to_string().contains("subjectAltName"));
    }
}
