use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::process::{Process, captured};

/// Certificate authority that nobody trusts yet, with a server certificate for `localhost` and `127.0.0.1`.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    ca: CertificateParams,
    ca_key: KeyPair,
}

/// Flaw of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// X.509 version 1, as `openssl x509 -req` makes it without an extensions file.
    Version1,
    /// Self-signed certificate of an authority, as `openssl req -x509` makes it.
    SelfSigned,
    /// Certificate that has expired.
    Expired,
    /// Certificate that is not valid yet.
    Early,
    /// Certificate for `iot.lan`.
    OtherName,
}

impl Authority {
    /// Creates new keys and certificates.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "mqtt-ota test authority");
        let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
        let authority = Self { folder, ca, ca_key };
        fs::write(authority.ca_file(), ca_certificate.pem()).expect("a file is written");
        authority.issue(&server(&["localhost", "127.0.0.1"]), "server");
        authority
    }

    /// Creates new keys and certificates, with a flaw in the server's certificate.
    pub fn with(flaw: Flaw) -> Self {
        let authority = Self::new();
        let mut params = server(&["localhost", "127.0.0.1"]);
        match flaw {
            Flaw::Version1 => {
                authority.issue_version_1();
                return authority;
            }
            Flaw::SelfSigned => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                let key = KeyPair::generate().expect("a key");
                let certificate = params.self_signed(&key).expect("a certificate");
                authority.write("server", &certificate, &key);
                return authority;
            }
            Flaw::Expired => params.not_after = date_time_ymd(2024, 1, 1),
            Flaw::Early => params.not_before = date_time_ymd(4000, 1, 1),
            Flaw::OtherName => params = server(&["iot.lan"]),
        }
        authority.issue(&params, "server");
        authority
    }

    /// Returns the path of the authority's own certificate, which a client has to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    /// Issues a certificate for a client of this name. Returns its path, and that of its key, which only its owner may
    /// read.
    pub fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.issue(&params, name);
        (self.folder().join(format!("{name}.pem")), self.folder().join(format!("{name}.key")))
    }

    /// Returns the path of the server's certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder().join("server.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder().join("server.key")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn issue(&self, params: &CertificateParams, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.ca, &self.ca_key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        self.write(name, &certificate, &key);
    }

    fn write(&self, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) {
        let key_file = self.folder().join(format!("{name}.key"));
        fs::write(self.folder().join(format!("{name}.pem")), certificate.pem()).expect("a file is written");
        fs::write(&key_file, key.serialize_pem()).expect("a file is written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).expect("a mode is set");
        }
    }

    /// Issues the server's certificate with the commands of Mosquitto's manual page `mosquitto-tls`.
    fn issue_version_1(&self) {
        fs::write(self.folder().join("ca.key"), self.ca_key.serialize_pem()).expect("a file is written");
        let request = ["req", "-new", "-key", "server.key", "-subj", "/CN=localhost", "-out", "server.csr"];
        let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let sign = [&sign[..], &["-CAcreateserial", "-out", "server.pem", "-days", "30"]].concat();
        for args in [&request[..], &sign] {
            let mut command = Command::new("openssl");
            command.args(args).current_dir(self.folder());
            captured(&mut command);
            Process::start("openssl", command).wait().assert_status(0);
        }
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
