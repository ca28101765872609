use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rumqttc::mqttbytes::{QoS, v4};
use rumqttc::v5::mqttbytes::{self, v5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::link::Link;
use crate::packet::Packet;
use crate::{Credentials, limits};

/// Proves that clients of the address reach this broker.
///
/// A message of random bytes is sent over TCP, and has to arrive at a link inside this process. A connection alone
/// proves nothing, because another broker may have answered.
pub(crate) async fn reaches(
    address: SocketAddr,
    credentials: Option<&Credentials>,
    mut inside: Link,
) -> io::Result<()> {
    timeout(limits::READY_TIMEOUT, send_and_wait(address, credentials, &mut inside)).await?
}

async fn send_and_wait(
    address: SocketAddr,
    credentials: Option<&Credentials>,
    inside: &mut Link,
) -> io::Result<()> {
    let nonce = format!("mqtt-ota-broker-{:032x}", fastrand::u128(..));
    inside.subscribe(&v5::Filter::new(nonce.clone(), mqttbytes::QoS::AtMostOnce));

    let mut connect = v4::Connect::new(nonce.clone());
    connect.keep_alive = 0;
    connect.login = credentials.map(|credentials| v4::Login::new(credentials.user(), credentials.password()));
    let publish = v4::Publish::new(nonce.clone(), QoS::AtMostOnce, nonce.clone());
    let mut packets = bytes::BytesMut::new();
    for packet in [v4::Packet::Connect(connect), v4::Packet::Publish(publish)] {
        packet.write(&mut packets, usize::MAX).map_err(io::Error::other)?;
    }
    let mut socket = TcpStream::connect(reachable(address)).await?;
    socket.write_all(&packets).await?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).await?;
    if answer != [0x20, 2, 0, 0] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the connection is not accepted"));
    }
    loop {
        inside.woken().await.map_err(io::Error::other)?;
        while let Some(packet) = inside.next() {
            if matches!(packet, Packet::Publish(publish) if publish.payload == nonce) {
                return Ok(());
            }
        }
    }
}

/// Replaces the address for all interfaces by loopback, because a client cannot connect to the former.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}
