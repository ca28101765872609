//! Many at once: what ends rumqttd's own server, or keeps others out of it, by number.

use mqtt_ota_broker::{Broker, BrokerConfig};
use rumqttc::{Incoming, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker, config};

async fn broker_for_three() -> Broker {
    Broker::start(BrokerConfig { max_connections: 3, ..config() }).await.unwrap()
}

/// CONNECT of a client whose id is one byte, with a clean session.
fn connect(id: u8) -> [u8; 15] {
    [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, id]
}

#[tokio::test]
async fn silent_connections_hold_up_nobody() {
    let broker = broker().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(broker.address()).await.unwrap());
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn silent_connections_at_the_limit_give_way_to_clients_that_speak() {
    let broker = broker_for_three().await;
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"\x10", b"\x10\x0d\x00\x04MQTT"].into_iter().cycle().take(30) {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        // Some have gone already.
        let _ = socket.write_all(bytes).await;
        silent.push(socket);
    }
    let mut peers = Vec::new();
    for n in 0..3 {
        let mut peer = Peer::connect(&broker, &format!("peer-{n}")).await;
        peer.publish("x", false, "x").await;
        peers.push(peer);
    }
    for mut socket in silent {
        let ended = timeout(GUARD, socket.read(&mut [0])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn clients_that_drop_without_a_goodbye_leave_their_places() {
    let broker = broker_for_three().await;
    let connector = broker.connector();
    // More than the router has places for, both ways in.
    for id in (b'a'..=b'z').cycle().take(200) {
        // The one before may not be gone yet.
        let entered = async { while !knock(&broker, id).await {} };
        timeout(GUARD, entered).await.unwrap();
        let entered = async {
            loop {
                match connector.connect() {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let mut inside = timeout(GUARD, entered).await.unwrap();
        inside.write_all(&connect(id)).await.unwrap();
        let mut answer = [0; 4];
        timeout(GUARD, inside.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
    }
    let alive = async { while Peer::with(Peer::options(&broker, "alive")).await.is_err() {} };
    timeout(GUARD, alive).await.unwrap();
}

/// Connects and leaves without a word; false where the broker closed first.
async fn knock(broker: &Broker, id: u8) -> bool {
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    // What is closed already shows below.
    let _ = socket.write_all(&connect(id)).await;
    socket.read_exact(&mut [0; 4]).await.is_ok()
}

#[tokio::test]
async fn subscribers_that_read_nothing_hold_up_nobody() {
    let broker = broker().await;
    let mut deaf = Vec::new();
    for (id, qos) in [(b'a', 0), (b'b', 1), (b'c', 0), (b'd', 1)] {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(&connect(id)).await.unwrap();
        socket.write_all(&[0x82, 6, 0, 1, 0, 1, b'x', qos]).await.unwrap();
        let mut answer = [0; 9];
        timeout(GUARD, socket.read_exact(&mut answer)).await.unwrap().unwrap();
        deaf.push(socket);
    }
    let mut sender = Peer::connect(&broker, "sender").await;
    let long = "x".repeat(30_000);
    for _ in 0..900 {
        sender.client.try_publish("x", QoS::AtMostOnce, false, long.as_str()).unwrap();
    }
    sender.publish("x", false, "end").await;
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_subscriber_with_qos_1_gets_all_of_250_retained_messages_and_goes_on_hearing() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    for n in 0..250 {
        device.publish(&format!("d{n}/kept"), true, "x").await;
    }
    let mut reader = Peer::connect(&broker, "reader").await;
    reader.subscribe("+/kept").await;
    device.publish("new/kept", false, "live").await;
    let mut topics = std::collections::HashSet::new();
    let mut live = 0;
    while topics.len() < 250 || live == 0 {
        let message = reader.message().await;
        if message.retain {
            assert!(topics.insert(message.topic), "twice");
        } else {
            live += 1;
        }
    }
    assert_eq!((topics.len(), live), (250, 1));
    assert_alive(&broker).await;
}

#[tokio::test]
async fn more_retained_messages_than_are_kept_are_delivered_and_harm_nobody() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    let mut listener = Peer::connect(&broker, "listener").await;
    listener.subscribe("d10050").await;
    for n in 0..=10_050 {
        device.client.publish(format!("d{n}"), QoS::AtMostOnce, true, "x").await.unwrap();
        if n % 500 == 0 {
            device.publish("fence", false, "x").await;
        }
    }
    device.publish("fence", false, "x").await;
    listener.message().await;
    let mut late = Peer::connect(&broker, "late").await;
    late.subscribe("d10050").await;
    late.client.try_subscribe("d9999", QoS::AtMostOnce).unwrap();
    loop {
        if let Incoming::Publish(message) = late.next().await {
            break assert_eq!((message.topic.as_str(), message.retain), ("d9999", true));
        }
    }
    assert_alive(&broker).await;
}
