use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A certificate authority that nobody trusts yet, and a certificate by it for `localhost` and
/// `127.0.0.1`.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes new keys and certificates.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "mqtt-ota test authority");
        let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");

        let key = KeyPair::generate().expect("a key");
        let mut server =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = server.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("a certificate");

        let authority = Self { folder };
        fs::write(authority.ca_file(), ca_certificate.pem()).expect("a file is written");
        fs::write(authority.certificate_file(), certificate.pem()).expect("a file is written");
        fs::write(authority.key_file(), key.serialize_pem()).expect("a file is written");
        authority
    }

    /// The authority's own certificate: what a client has to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder().join("server.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder().join("server.key")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
