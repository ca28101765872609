//! Verification of the broker's certificate, with a record of the handshake. rustls reports no more than that it
//! failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Fingerprint;

/// Record of a handshake.
#[derive(Debug, Default)]
pub(super) struct Trace {
    certificate: Mutex<Option<Seen>>,
    is_asked: AtomicBool,
}

/// Broker's certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) fingerprint: Fingerprint,
    pub(super) is_self_signed: bool,
}

impl Trace {
    /// Returns the broker's certificate, if the handshake got that far.
    pub(super) fn certificate(&self) -> Option<Seen> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the broker has asked for a client certificate.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

/// Criterion by which a broker's certificate is trusted.
#[derive(Debug)]
pub(super) enum Trust {
    /// A certificate that is valid now and signed by an authority for the broker's name.
    Authorities(Arc<WebPkiServerVerifier>),
    /// Exactly this certificate. Its signature, names and dates do not count.
    Pinned(Fingerprint),
}

/// Verifier of the broker's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
    provider: Arc<CryptoProvider>,
    trace: Arc<Trace>,
}

impl Verifier {
    pub(super) fn new(trust: Trust, provider: Arc<CryptoProvider>, trace: Arc<Trace>) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms, provider, trace }
    }

    /// Returns true if the certificate would have a trusted issuer if it were a trusted authority itself.
    fn is_self_signed(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(certificate.clone().into_owned()).is_err() {
            return false;
        }
        let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider));
        let Ok(verifier) = builder.build() else { return false };
        let verified = verifier.verify_server_cert(certificate, &[], name, &[], now);
        !matches!(verified, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = Fingerprint::of(certificate);
        let verified = match &self.trust {
            Trust::Authorities(verifier) => {
                verifier.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            }
            Trust::Pinned(pinned) if *pinned == fingerprint => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        };
        let is_self_signed =
            matches!(verified, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
                && self.is_self_signed(certificate, name, now);
        let seen = Seen { fingerprint, is_self_signed };
        *self.trace.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if let Trust::Authorities(verifier) = &self.trust {
            return verifier.verify_tls12_signature(message, certificate, signed);
        }
        let key = public_key(certificate)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = scheme.ok_or(CertificateError::BadSignature)?;
        let is_valid = algorithms
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.trust {
            Trust::Authorities(verifier) => verifier.verify_tls13_signature(message, certificate, signed),
            Trust::Pinned(_) => {
                let key = public_key(certificate)?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns the public key in a certificate.
///
/// Unlike rustls, reads X.509 version 1 as well. A pinned certificate need not be one that an authority would sign
/// today.
fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    const SEQUENCE: u8 = 0x30;
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = anchor.subject_public_key_info.as_ref();
    let length = u16::try_from(key.len()).map_err(|_| CertificateError::BadEncoding)?;
    // DER writes each length in the shortest form.
    let mut sequence = match length.to_be_bytes() {
        [0, short @ 0..0x80] => vec![SEQUENCE, short],
        [0, byte] => vec![SEQUENCE, 0x81, byte],
        [high, low] => vec![SEQUENCE, 0x82, high, low],
    };
    sequence.extend(key);
    Ok(sequence.into())
}

/// Client certificate, if there is one. Records that the broker asks for it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) certificate: Option<Arc<CertifiedKey>>,
    pub(super) trace: Arc<Trace>,
}

impl ResolvesClientCert for Client {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.trace.is_asked.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}
