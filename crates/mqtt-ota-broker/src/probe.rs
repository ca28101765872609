use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use rumqttd::protocol::{
    Connect, Filter, Login, Packet, Publish, QoS, RetainForwardRule, Subscribe, Unsubscribe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::codec::encode;
use crate::link::{Link, Outgoing};
use crate::{Credentials, limits};

/// Proves that who connects to the address reaches this broker: a message of random bytes goes in over TCP and
/// has to come out of a link inside. A connection alone proves nothing, for another broker may have answered.
pub(crate) async fn reaches(
    address: SocketAddr,
    credentials: Option<&Credentials>,
    inside: &mut Link,
) -> io::Result<()> {
    timeout(limits::READY_TIMEOUT, send_and_wait(address, credentials, inside)).await?
}

async fn send_and_wait(
    address: SocketAddr,
    credentials: Option<&Credentials>,
    inside: &mut Link,
) -> io::Result<()> {
    let nonce = format!("mqtt-ota-broker-{:032x}", fastrand::u128(..));
    let filter = Filter {
        path: nonce.clone(),
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    };
    inside.subscribe(Subscribe { pkid: 1, filters: vec![filter] }).await;

    let mut packets = bytes::BytesMut::new();
    let connect = Connect { keep_alive: 0, client_id: nonce.clone(), clean_session: true };
    let login = credentials.map(|credentials| Login {
        username: credentials.user().to_owned(),
        password: credentials.password().to_owned(),
    });
    let topic = Bytes::from(nonce.clone());
    for packet in [
        Packet::Connect(connect, None, None, None, login),
        Packet::Publish(Publish::new(topic.clone(), topic.clone(), false), None),
    ] {
        encode(packet, &mut packets).map_err(io::Error::other)?;
    }
    let mut socket = TcpStream::connect(reachable(address)).await?;
    socket.write_all(&packets).await?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).await?;
    if answer != [0x20, 2, 0, 0] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the connection is not accepted"));
    }
    loop {
        match inside.next().await.map_err(io::Error::other)? {
            Outgoing::Packet(Packet::Publish(publish, _)) if publish.payload == topic => break,
            _ => {}
        }
    }
    inside.unsubscribe(Unsubscribe { pkid: 2, filters: vec![nonce] }).await;
    Ok(())
}

/// One cannot connect to "every address".
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}
