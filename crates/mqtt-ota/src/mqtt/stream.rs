use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::verify::Trace;
use super::{ConnectError, tls};
use crate::Broker;

/// A connection to the broker, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>, Arc<Trace>),
    /// Connection to a broker in this process.
    Inside(DuplexStream),
}

impl Stream {
    /// Connects to the broker. The caller limits the time.
    pub(super) async fn connect(broker: &Broker) -> Result<Self, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { broker: broker.to_string(), source };
        if let Some(connector) = broker.connector() {
            return connector.connect().await.map(Self::Inside).map_err(unreachable);
        }
        let tcp = TcpStream::connect((broker.host(), broker.port())).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if !broker.is_tls() {
            return Ok(Self::Plain(tcp));
        }
        let refused = |source| ConnectError::Tls { broker: broker.to_string(), source };
        let name = ServerName::try_from(broker.host().to_owned()).map_err(|error| refused(error.into()))?;
        let (trusting, trace) = (broker.clone(), Arc::<Trace>::default());
        let traced = Arc::clone(&trace);
        let config = tokio::task::spawn_blocking(move || tls::client_config(&trusting, &traced))
            .await
            .map_err(|error| refused(error.into()))??;
        match TlsConnector::from(config).connect(name, tcp).await {
            Ok(encrypted) => Ok(Self::Encrypted(Box::new(encrypted), trace)),
            Err(error) => {
                Err(tls::explain(broker, &trace, error).unwrap_or_else(|error| refused(error.into())))
            }
        }
    }

    /// Returns the record of the TLS handshake. `None` for a connection without encryption.
    pub(super) fn trace(&self) -> Option<&Arc<Trace>> {
        match self {
            Self::Encrypted(_, trace) => Some(trace),
            Self::Plain(_) | Self::Inside(_) => None,
        }
    }

    /// Returns the broker's address. `None` for a broker in this process.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        Some(self.tcp()?.peer_addr().ok()?.ip())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Encrypted(tls, _) => Some(tls.get_ref().0),
            Self::Inside(_) => None,
        }
    }

    /// Confirms received data to the broker's system at once instead of up to 40 ms later.
    ///
    /// A broker that leaves Nagle's algorithm on (as Mosquitto does by default) holds back its next small packet, a
    /// device's answer, until the one before it, the acknowledgement of our offer, is confirmed. Linux forgets the
    /// setting, so every read sets it again. Other systems do not have it.
    fn confirm(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = self.tcp().map(|tcp| tcp.set_quickack(true));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Encrypted(tls, _) => Pin::new(tls).poll_read(cx, buf),
            Self::Inside(pipe) => Pin::new(pipe).poll_read(cx, buf),
        };
        if read.is_ready() {
            self.confirm();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Encrypted(tls, _) => Pin::new(tls).poll_write(cx, buf),
            Self::Inside(pipe) => Pin::new(pipe).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Encrypted(tls, _) => Pin::new(tls).poll_flush(cx),
            Self::Inside(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Encrypted(tls, _) => Pin::new(tls).poll_shutdown(cx),
            Self::Inside(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
