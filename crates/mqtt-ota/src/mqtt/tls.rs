use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::ConnectError;
use crate::Broker;

/// Whom to trust: the given CA file, else the system's certificate authorities.
///
/// Blocking: reads files.
pub(super) fn client_config(broker: &Broker) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    match broker.ca_file() {
        Some(path) => {
            let failed = |source| ConnectError::CaFile { path: path.to_owned(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.into()))? {
                let certificate = certificate.map_err(|e| failed(e.into()))?;
                roots.add(certificate).map_err(|e| failed(e.into()))?;
            }
            if roots.is_empty() {
                return Err(failed("there is no certificate in it".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(ConnectError::NoSystemRoots);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| ConnectError::Tls { broker: broker.to_string(), source: source.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
