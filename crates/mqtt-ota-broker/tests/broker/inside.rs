use std::io;

use mqtt_ota_broker::{Broker, BrokerConfig, Connector, Credentials};
use rumqttc::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker, config};

/// CONNECT of a client `a`, and the answer to it.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// Connects the client `a` from inside.
async fn enter(connector: &Connector) -> DuplexStream {
    let mut stream = connector.connect().unwrap();
    stream.write_all(CONNECT).await.unwrap();
    assert_eq!(read::<4>(&mut stream).await, ACCEPTED);
    stream
}

async fn read<const N: usize>(stream: &mut DuplexStream) -> [u8; N] {
    let mut bytes = [0; N];
    timeout(GUARD, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Passes a message from `a` to itself.
async fn assert_heard(stream: &mut DuplexStream) {
    stream.write_all(b"\x82\x06\x00\x01\x00\x01x\x00").await.unwrap();
    assert_eq!(read(stream).await, *b"\x90\x03\x00\x01\x00");
    stream.write_all(b"\x30\x04\x00\x01x!").await.unwrap();
    assert_eq!(read(stream).await, *b"\x30\x04\x00\x01x!");
}

#[tokio::test]
async fn a_client_inside_hears_and_is_heard_by_those_from_the_network() {
    let broker = broker().await;
    let mut inside = enter(&broker.connector()).await;
    inside.write_all(b"\x82\x06\x00\x01\x00\x01x\x00").await.unwrap();
    assert_eq!(read(&mut inside).await, *b"\x90\x03\x00\x01\x00");
    let mut outside = Peer::connect(&broker, "desk").await;
    outside.subscribe("y").await;
    outside.publish("x", false, "in").await;
    assert_eq!(read(&mut inside).await, *b"\x30\x05\x00\x01xin");
    inside.write_all(b"\x30\x06\x00\x01yout").await.unwrap();
    assert_eq!(outside.message().await.payload, "out");
}

#[tokio::test]
async fn a_client_inside_needs_no_password_and_others_still_do() {
    let credentials = Some(Credentials::new("me", "secret").unwrap());
    let broker = Broker::start(BrokerConfig { credentials, ..config() }).await.unwrap();
    assert_heard(&mut enter(&broker.connector()).await).await;
    assert!(Peer::with(Peer::options(&broker, "desk")).await.is_err());
}

#[tokio::test]
async fn a_client_inside_gets_in_though_silent_connections_have_every_place() {
    let broker = Broker::start(BrokerConfig { max_connections: 3, ..config() }).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(broker.address()).await.unwrap());
    }
    assert_heard(&mut enter(&broker.connector()).await).await;
}

#[tokio::test]
async fn a_client_from_the_network_does_not_send_away_the_one_inside_that_has_its_id() {
    let broker = broker().await;
    let mut inside = enter(&broker.connector()).await;
    for id in ["a", "%inside-a", "%25inside-a"] {
        Peer::connect(&broker, id).await.publish("y", false, "x").await;
    }
    assert_heard(&mut inside).await;
    let again = enter(&broker.connector()).await;
    assert_eq!(timeout(GUARD, inside.read(&mut [0])).await.unwrap().unwrap(), 0);
    drop(again);
}

#[tokio::test]
async fn more_connections_inside_than_the_limit_are_an_error_until_others_go() {
    let broker = broker().await;
    let connector = broker.connector();
    let mut streams: Vec<_> = (0..64).map(|_| connector.connect().unwrap()).collect();
    assert_eq!(connector.connect().unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    streams.pop();
    let again = async {
        while connector.connect().is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(GUARD, again).await.unwrap();
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_stop_ends_the_connections_inside_and_lets_no_more_in() {
    let broker = broker().await;
    let connector = broker.connector();
    let mut inside = enter(&connector).await;
    broker.stop().await;
    assert_eq!(timeout(GUARD, inside.read(&mut [0])).await.unwrap().unwrap(), 0);
    assert_eq!(connector.connect().unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_client_inside_that_reads_nothing_holds_up_nobody() {
    let broker = broker().await;
    let mut inside = enter(&broker.connector()).await;
    inside.write_all(b"\x82\x06\x00\x01\x00\x01x\x00").await.unwrap();
    let mut sender = Peer::connect(&broker, "sender").await;
    let long = "x".repeat(10_000);
    for _ in 0..900 {
        sender.client.try_publish("x", QoS::AtMostOnce, false, long.as_str()).unwrap();
    }
    sender.publish("x", false, "end").await;
    assert_alive(&broker).await;
}
