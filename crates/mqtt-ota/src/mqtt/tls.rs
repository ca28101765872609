use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::ConnectError;
use super::certificate::CertificateProblem;
use super::verify::{Client, Trace, Trust, Verifier};
use crate::Broker;

/// Creates the TLS configuration for this broker: trusted certificates, and the client's own.
///
/// Blocking: reads files.
pub(super) fn client_config(broker: &Broker, trace: &Arc<Trace>) -> Result<Arc<ClientConfig>, ConnectError> {
    let failed =
        |source: rustls::Error| ConnectError::Tls { broker: broker.to_string(), source: source.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = match broker.fingerprint() {
        Some(pinned) => Trust::Pinned(pinned),
        None => {
            let roots = Arc::new(roots(broker.ca_file())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            Trust::Authorities(verifier.map_err(|error| failed(rustls::Error::General(error.to_string())))?)
        }
    };
    let certificate = match broker.client_certificate() {
        Some((certificate, key)) => Some(Arc::new(client_certificate(certificate, key, &provider)?)),
        None => None,
    };
    let verifier = Verifier::new(trust, Arc::clone(&provider), Arc::clone(trace));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Client { certificate, trace: Arc::clone(trace) }));
    Ok(Arc::new(config))
}

/// Returns the trusted authorities: those of the file, or the system's if there is none.
fn roots(file: Option<&Path>) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(ConnectError::NoSystemRoots) } else { Ok(roots) };
    };
    let failed = |source| ConnectError::CaFile { path: path.to_owned(), source };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(of_pem(error)))? {
        let certificate = certificate.map_err(|error| failed(of_pem(error)))?;
        roots.add(certificate).map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

fn client_certificate(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ConnectError> {
    let failed =
        |path: &Path, is_key, source| ConnectError::ClientFile { path: path.to_owned(), is_key, source };
    let of_certificate = |source| failed(certificate, false, source);
    let of_key = |source| failed(key, true, source);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| of_certificate(of_pem(error)))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| of_certificate(of_pem(error)))?;
    if chain.is_empty() {
        return Err(of_certificate("there is no certificate in it".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let is_encrypted = fs::read_to_string(key).is_ok_and(|text| text.contains("ENCRYPTED"));
        of_key(if is_encrypted {
            "it is encrypted with a passphrase (`openssl pkey -in FILE -out FILE` takes that off)".into()
        } else {
            of_pem(error)
        })
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            of_key(format!("it is not the key of the certificate in {}", certificate.display()).into())
        }
        error => of_key(error.into()),
    })
}

/// Describes a problem with a PEM file in plain words.
fn of_pem(error: rustls::pki_types::pem::Error) -> Box<dyn std::error::Error + Send + Sync> {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.into(),
        Error::NoItemsFound => {
            "nothing of the kind is in it; it has to be PEM, with lines of -----BEGIN".into()
        }
        other => other.into(),
    }
}

/// Warns of a key that other users of this machine can read.
pub(super) fn warn_of_open_key(broker: &Broker) {
    #[cfg(unix)]
    if let Some((_, key)) = broker.client_certificate()
        && broker.is_tls()
    {
        use std::os::unix::fs::PermissionsExt as _;
        const OTHERS: u32 = 0o077;
        if fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0) {
            tracing::warn!(
                "other users of this machine can read the key {0}; `chmod 600 {0}` keeps it to its owner",
                key.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = broker;
}

/// Explains why an encrypted connection failed, given the record of its handshake.
///
/// # Errors
/// Gives back an error that TLS did not cause.
pub(super) fn explain(broker: &Broker, trace: &Trace, error: io::Error) -> Result<ConnectError, io::Error> {
    use rustls::Error;
    let url = broker.to_string();
    let shown = broker.client_certificate().is_some();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(what)) => {
            let Some(seen) = trace.certificate() else {
                return Ok(ConnectError::Tls { broker: url, source: error.into() });
            };
            let problem = match (broker.fingerprint(), what) {
                (Some(pinned), CertificateError::ApplicationVerificationFailure) => {
                    CertificateProblem::NotPinned { pinned }
                }
                (_, what) => CertificateProblem::of(what.clone(), seen.is_self_signed),
            };
            Ok(ConnectError::Certificate { broker: url, seen: seen.fingerprint, problem })
        }
        Some(Error::AlertReceived(alert)) => {
            let said = io::Error::new(error.kind(), format!("TLS alert: {}", words(&format!("{alert:?}"))));
            Ok(match trace.is_asked() {
                true => ConnectError::ClientCertificate { broker: url, shown, source: said },
                false => ConnectError::Tls { broker: url, source: said.into() },
            })
        }
        Some(_) => Ok(ConnectError::Tls { broker: url, source: error.into() }),
        // The alert may be lost with the connection, because closing a socket with unread data resets it.
        None if trace.is_asked() && is_closed(&error) => {
            Ok(ConnectError::ClientCertificate { broker: url, shown, source: error })
        }
        None => Err(error),
    }
}

/// Writes `CertificateRequired` as words. An abbreviation stays unchanged.
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut letters = name.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let is_start =
            letter.is_ascii_uppercase() && before.is_some_and(|before: char| before.is_ascii_lowercase());
        let is_abbreviated =
            letter.is_ascii_uppercase() && letters.peek().is_none_or(|next| next.is_ascii_uppercase());
        if is_start {
            words.push(' ');
        }
        words.push(if is_abbreviated { letter } else { letter.to_ascii_lowercase() });
        before = Some(letter);
    }
    words
}

/// Returns true if the other side has ended the connection.
pub(super) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_in_words() {
        for (name, said) in [
            ("CertificateRequired", "certificate required"),
            ("HandshakeFailure", "handshake failure"),
            ("UnknownCA", "unknown CA"),
            ("Unknown(200)", "unknown(200)"),
        ] {
            assert_eq!(words(name), said);
        }
    }
}
