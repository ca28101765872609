//! Hints that name settings.

use mqtt_ota::{CertificateProblem, ConnectError};

use super::Settings;
use super::origin::Source;
use crate::problem::Problem;

impl Problem {
    /// Replaces the hint of a connection error by one that names the settings, where one of them may help.
    pub(crate) fn with_settings(self, settings: &Settings) -> Self {
        let hint = match self.error.downcast_ref::<ConnectError>() {
            Some(ConnectError::Unreachable { .. }) if settings.broker.source == Source::Default => {
                "no broker was named, so this machine was tried: --broker URL names one, `mqtt-ota broker` starts one"
            }
            Some(ConnectError::NotAuthorised { user: None, .. }) => {
                "give --user, and --password-file or MQTT_OTA_PASSWORD"
            }
            Some(ConnectError::Certificate { problem, .. }) => {
                let hint = of_certificate(problem);
                return self.hint(hint);
            }
            Some(ConnectError::ClientCertificate { shown: false, .. }) => {
                "give --client-cert and --client-key: a certificate by the authority that the broker trusts, and its key"
            }
            Some(ConnectError::ClientCertificate { shown: true, .. }) => {
                "--client-cert has to be by the authority that the broker trusts, valid now, and made for a client"
            }
            Some(ConnectError::Version { .. }) => {
                "--protocol asks for one version of MQTT: without it, both are tried"
            }
            Some(ConnectError::Silent { .. }) if settings.protocol.value.is_some() => {
                "--protocol asks for one version of MQTT: without it, both are tried"
            }
            Some(ConnectError::CaFile { .. }) => {
                "--ca-file names a PEM file with the authority's certificate"
            }
            Some(ConnectError::Refused { reason, .. }) if reason.hint().is_none() => {
                "the broker's log may say more"
            }
            Some(ConnectError::NoSystemRoots) => "install the system's ca-certificates, or give --ca-file",
            _ => return self,
        };
        self.hint(hint)
    }
}

/// Returns what to do about a broker's certificate that is not trusted.
fn of_certificate(problem: &CertificateProblem) -> String {
    const PIN: &str = "if this is the fingerprint of your broker, --tls-fingerprint pins it";
    match problem {
        CertificateProblem::UnknownIssuer => {
            format!("give the authority that signed it (--ca-file); or, {PIN}")
        }
        CertificateProblem::Signature => {
            format!("--ca-file has an older or newer authority of that name: give the right one; or, {PIN}")
        }
        CertificateProblem::Name { .. } => {
            "name the broker as its certificate does (--broker); or make one for this name (docs/broker.md, TLS)"
                .to_owned()
        }
        CertificateProblem::NotPinned { .. } => problem.hint().to_owned() + " (--tls-fingerprint)",
        CertificateProblem::Expired { .. }
        | CertificateProblem::NotYetValid { .. }
        | CertificateProblem::Revoked => problem.hint().to_owned(),
        _ => format!("docs/broker.md (TLS) has the commands that make a right one; or, {PIN}"),
    }
}
