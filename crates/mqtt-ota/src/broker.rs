use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio::io::DuplexStream;
use url::Url;

use crate::in_process::InProcess;
use crate::mqtt::{Fingerprint, Protocol};

/// Address of a broker, and the login: `mqtt://[user[:password]@]host[:port]`, or `mqtts://` for TLS.
///
/// The broker may also run in this process ([`Broker::in_process`]). The default port is 1883, or 8883 with TLS. No
/// text about a broker (`Display`, `Debug`, and every error) ever contains the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    place: Place,
    ca_file: Option<PathBuf>,
    fingerprint: Option<Fingerprint>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    login: Option<(String, String)>,
    protocol: Option<Protocol>,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Network { host: String, port: u16, tls: bool },
    InProcess(InProcess),
}

impl Broker {
    /// Reads a broker's URL.
    ///
    /// # Errors
    /// Returns the part of the URL that is missing or has no meaning here.
    pub fn parse(url: &str) -> Result<Self, BrokerUrlError> {
        let url = Url::parse(url).map_err(BrokerUrlError::Syntax)?;
        let (tls, default_port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            other => return Err(BrokerUrlError::Scheme { scheme: other.to_owned() }),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BrokerUrlError::NoHost)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(BrokerUrlError::Extra);
        }
        let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(BrokerUrlError::Encoding),
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decode(user)?, decode(password.unwrap_or_default())?)),
        };
        let host = decode(host.trim_matches(['[', ']']))?;
        let place = Place::Network { host, port: url.port().unwrap_or(default_port), tls };
        Ok(Self { login, ..Self::at(place) })
    }

    /// Creates a broker that runs in this process, such as that of the crate `mqtt-ota-broker`.
    ///
    /// `connect` is called for a connection at the start, and again whenever one is lost. It may take 5 s. The other
    /// end of the stream speaks MQTT.
    ///
    /// There is no route to such a broker that could tell which network the devices are in. An offer therefore names
    /// the local address that faces the device or, if the device announces none, that of the default route.
    /// `Config::advertise` overrides it.
    #[must_use]
    pub fn in_process<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<DuplexStream>> + Send + 'static,
    {
        Self::at(Place::InProcess(InProcess::new(connect)))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            ca_file: None,
            fingerprint: None,
            client_certificate: None,
            login: None,
            protocol: None,
        }
    }

    /// Logs in with this user and password instead of those in the URL.
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }

    /// Trusts the certificate authorities in this PEM file instead of the system's. Used with `mqtts://` only.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Trusts only the certificate with this fingerprint, whatever its issuer, names and dates.
    ///
    /// Used with `mqtts://` only. The CA file has no effect then.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Shows the broker this client certificate, and proves it with the private key.
    ///
    /// `certificate` is a PEM file with the certificate's chain. `key` is another PEM file, or the same one. Used with
    /// `mqtts://` only. Both files are read at each connection.
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Speaks only this version of MQTT. By default MQTT 5 is tried first, and then 3.1.1 if the broker does not speak
    /// MQTT 5.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Returns the host: a name, or an address without brackets. Empty for a broker in this process.
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Network { host, .. } => host,
            Place::InProcess(_) => "",
        }
    }

    /// Returns the TCP port. 0 for a broker in this process.
    pub fn port(&self) -> u16 {
        match self.place {
            Place::Network { port, .. } => port,
            Place::InProcess(_) => 0,
        }
    }

    /// Returns true if the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Network { tls: true, .. })
    }

    /// Returns the user who logs in, if there is one.
    pub fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|(user, _)| user.as_str())
    }

    pub(crate) fn login(&self) -> Option<&(String, String)> {
        self.login.as_ref()
    }

    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    pub(crate) fn client_certificate(&self) -> Option<(&Path, &Path)> {
        self.client_certificate.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()))
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    pub(crate) fn connector(&self) -> Option<&InProcess> {
        match &self.place {
            Place::Network { .. } => None,
            Place::InProcess(connector) => Some(connector),
        }
    }
}

impl std::str::FromStr for Broker {
    type Err = BrokerUrlError;

    fn from_str(url: &str) -> Result<Self, BrokerUrlError> {
        Self::parse(url)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Network { host, port, tls } => {
                let scheme = if *tls { "mqtts" } else { "mqtt" };
                // An IPv6 address.
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
            Place::InProcess(connector) => connector.fmt(f),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self})")
    }
}

/// Error returned for a text that is not the URL of a [`Broker`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerUrlError {
    /// Text that is not a URL.
    #[error("a broker is given as mqtt://host[:port] or mqtts://host[:port]")]
    Syntax(#[source] url::ParseError),
    /// Scheme other than `mqtt` and `mqtts`.
    #[error("a broker's URL begins with mqtt:// or mqtts://, not with {scheme}:")]
    Scheme {
        /// Scheme found.
        scheme: String,
    },
    /// URL without a host.
    #[error("the broker's URL has no host")]
    NoHost,
    /// URL with a path, a query or a fragment.
    #[error("a broker's URL ends after its host and port")]
    Extra,
    /// Login or host that is not UTF-8 once decoded.
    #[error("the user, the password or the host in the broker's URL is not UTF-8")]
    Encoding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_encryption_follow_the_scheme() {
        let plain = Broker::parse("mqtt://iot.lan").unwrap();
        assert_eq!((plain.host(), plain.port(), plain.is_tls()), ("iot.lan", 1883, false));
        let tls = Broker::parse("mqtts://iot.lan/").unwrap();
        assert_eq!((tls.port(), tls.is_tls()), (8883, true));
        assert_eq!(Broker::parse("mqtt://küche.local").unwrap().host(), "küche.local");
        let v6 = Broker::parse("mqtt://[::1]:1884").unwrap();
        assert_eq!((v6.host(), v6.to_string().as_str()), ("::1", "mqtt://[::1]:1884"));
    }

    #[test]
    fn a_login_is_decoded_and_never_shown() {
        let broker = Broker::parse("mqtt://me:p%40ss%2fwörd%zz@h").unwrap();
        assert_eq!(broker.login(), Some(&("me".to_owned(), "p@ss/wörd%zz".to_owned())));
        assert_eq!(format!("{broker} {broker:?}"), "mqtt://h:1883 Broker(mqtt://h:1883)");
        assert_eq!(broker.with_login("you", "x").user(), Some("you"));
    }

    #[test]
    fn a_broker_in_this_process_has_no_address_and_equals_itself() {
        let broker = || Broker::in_process(|| std::future::ready(Err(io::ErrorKind::NotConnected.into())));
        let one = broker();
        assert_eq!((one.host(), one.port(), one.is_tls()), ("", 0, false));
        assert_eq!(format!("{one} {one:?}"), "in-process Broker(in-process)");
        assert_eq!(one, one.clone());
    }

    #[test]
    fn what_is_no_broker_is_an_error() {
        for bad in ["", "iot.lan", "http://iot.lan", "mqtt://", "mqtt://h/x", "mqtt://h?x", "mqtt://h:99999"]
        {
            assert!(Broker::parse(bad).is_err(), "{bad:?}");
        }
    }
}
