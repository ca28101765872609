//! What clients do by mistake, by bad luck or on purpose. Some of it ends rumqttd's own server: a client id
//! with a slash and a client that resets before its answer, each twice, and a topic that begins with `é`.

use mqtt_ota_broker::{Broker, BrokerConfig};
use rumqttc::{Incoming, QoS, SubscribeReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker, config};

#[tokio::test]
async fn a_client_id_with_any_character_can_connect_again_and_again() {
    let broker = broker().await;
    for id in ["a/b", "a+", "#", "$SYS", "%inside", "été", " "] {
        for _ in 0..3 {
            let mut peer = Peer::connect(&broker, id).await;
            peer.publish("x", false, id).await;
        }
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_topic_that_begins_with_a_letter_beyond_ascii_is_delivered() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    peer.subscribe("été/+").await;
    peer.client.try_publish("été/OTA", QoS::AtLeastOnce, true, "x").unwrap();
    assert_eq!(peer.message().await.topic, "été/OTA");
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_client_that_unsubscribes_is_answered_and_can_connect_again() {
    let broker = broker().await;
    for _ in 0..3 {
        let mut peer = Peer::connect(&broker, "desk").await;
        peer.subscribe("x").await;
        for filter in ["x", "never/subscribed"] {
            peer.client.try_unsubscribe(filter).unwrap();
            peer.until(|packet| matches!(packet, Incoming::UnsubAck(_))).await;
        }
        peer.client.try_publish("x", QoS::AtLeastOnce, false, "unheard").unwrap();
        peer.until(|packet| {
            assert!(!matches!(packet, Incoming::Publish(_)));
            matches!(packet, Incoming::PubAck(_))
        })
        .await;
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_subscription_that_ends_right_after_a_message_to_it_has_ended() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    for _ in 0..50 {
        peer.subscribe("x").await;
        peer.client.try_publish("x", QoS::AtLeastOnce, false, "may be heard").unwrap();
        peer.client.try_unsubscribe("x").unwrap();
        peer.until(|packet| matches!(packet, Incoming::UnsubAck(_))).await;
        peer.publish("y", false, "a pause").await;
        peer.client.try_publish("x", QoS::AtLeastOnce, false, "unheard").unwrap();
        peer.until(|packet| {
            assert!(!matches!(packet, Incoming::Publish(publish) if publish.payload == "unheard"));
            matches!(packet, Incoming::PubAck(_))
        })
        .await;
    }
}

#[tokio::test]
async fn a_shared_or_reserved_subscription_is_refused() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    for filter in ["$share/group/x", "$SYS/#"] {
        peer.client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
        peer.until(|packet| match packet {
            Incoming::SubAck(ack) => {
                assert_eq!(ack.return_codes, [SubscribeReasonCode::Failure]);
                true
            }
            _ => false,
        })
        .await;
    }
    peer.publish("$SYS/x", true, "unheard").await;
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_persistent_shared_subscriber_that_drops_with_an_unacknowledged_message_harms_nobody() {
    let broker = broker().await;
    let mut options = Peer::options(&broker, "desk");
    options.set_clean_session(false).set_manual_acks(true);
    let mut sender = Peer::connect(&broker, "sender").await;
    for _ in 0..3 {
        let mut peer = Peer::with(options.clone()).await.unwrap();
        // Refused, and so it subscribes without the group as well.
        peer.subscribe("$share/group/x").await;
        peer.subscribe("x").await;
        sender.publish("x", false, "never acknowledged").await;
        peer.message().await;
        drop(peer);
        assert_alive(&broker).await;
    }
}

#[tokio::test]
async fn more_connections_than_the_limit_are_closed_and_leave_room_when_others_go() {
    let broker = Broker::start(BrokerConfig { max_connections: 3, ..config() }).await.unwrap();
    let mut peers = Vec::new();
    let mut refused = 0;
    // The broker's own, from the start, may not be gone yet.
    while peers.len() < 3 {
        match Peer::with(Peer::options(&broker, &format!("peer-{}", peers.len()))).await {
            Ok(peer) => peers.push(peer),
            Err(_) => refused += 1,
        }
        assert!(refused < 1_000);
    }
    for _ in 0..20 {
        assert!(Peer::with(Peer::options(&broker, "one-too-many")).await.is_err());
    }
    for peer in peers {
        peer.leave().await;
    }
    let alive = async { while Peer::with(Peer::options(&broker, "one-too-many")).await.is_err() {} };
    timeout(GUARD, alive).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_not_mqtt_end_only_their_own_connection() {
    let broker = broker().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xff\xff\xff\xff\xff\xff",
        b"\xf0\x00",
        b"\x10\x00",
        b"\xa2\x01\x00",
        b"\x30\xff\xff\xff\x7f",
    ] {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(GUARD, socket.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(&[0x20, 2, 0, 0]), "{bytes:?}");
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn answers_that_nobody_waits_for_do_not_end_the_broker() {
    let broker = broker().await;
    for _ in 0..3 {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await.unwrap();
        // PUBACK, PUBREL and a ping.
        socket.write_all(b"\x40\x02\x00\x63\x62\x02\x00\x63\xc0\x00").await.unwrap();
        let mut answer = [0; 10];
        timeout(GUARD, socket.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, *b"\x20\x02\x00\x00\x70\x02\x00\x63\xd0\x00");
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_client_that_resets_before_its_answer_comes_can_connect_again() {
    let broker = broker().await;
    for _ in 0..50 {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await.unwrap();
        socket.set_zero_linger().unwrap();
    }
    Peer::connect(&broker, "a").await;
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_heavy_subscriber_that_leaves_in_the_middle_harms_nobody() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    for n in 0..400 {
        device.publish(&format!("d{n}"), true, "x").await;
    }
    for _ in 0..20 {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await.unwrap();
        // SUBSCRIBE to everything with QoS 0, and DISCONNECT.
        socket.write_all(b"\x82\x06\x00\x01\x00\x01#\x00\xe0\x00").await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(GUARD, socket.read_to_end(&mut answer)).await.unwrap();
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn acknowledgements_out_of_order_are_put_in_order() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await.unwrap();
    socket.write_all(b"\x82\x06\x00\x01\x00\x01x\x01").await.unwrap();
    let mut answer = [0; 9];
    timeout(GUARD, socket.read_exact(&mut answer)).await.unwrap().unwrap();
    let mut sender = Peer::connect(&broker, "sender").await;
    for round in 0..60_u8 {
        sender.publish("x", false, "1").await;
        sender.publish("x", false, "2").await;
        let mut messages = [0; 16];
        timeout(GUARD, socket.read_exact(&mut messages)).await.unwrap().unwrap();
        let (first, second) = ([messages[5], messages[6]], [messages[13], messages[14]]);
        for id in [second, first] {
            socket.write_all(&[0x40, 2, id[0], id[1]]).await.unwrap();
        }
        assert_ne!(first, second, "round {round}");
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn whatever_clients_send_and_however_they_leave_the_others_are_served() {
    let broker = broker().await;
    for seed in 0..8 {
        tokio::join!(
            misbehave(&broker, seed),
            misbehave(&broker, 100 + seed),
            misbehave(&broker, 200 + seed)
        );
        assert_alive(&broker).await;
    }
}

/// Connects under one of few names, sends packets that may or may not make sense, and leaves in some way.
async fn misbehave(broker: &Broker, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        let mut bytes = Vec::new();
        let id = random.u8(b'a'..=b'f');
        bytes.extend_from_slice(&[
            0x10,
            13,
            0,
            4,
            b'M',
            b'Q',
            b'T',
            b'T',
            4,
            random.u8(0..2) * 2,
            0,
            60,
            0,
            1,
            id,
        ]);
        for _ in 0..random.u8(0..40) {
            let topic = random.u8(b'x'..=b'z');
            let number = random.u8(1..8);
            match random.u8(0..12) {
                0 => bytes.extend_from_slice(&[0x30 | random.u8(0..2), 4, 0, 1, topic, b'!']),
                1 => bytes.extend_from_slice(&[0x32 | random.u8(0..2), 6, 0, 1, topic, 0, number, b'!']),
                2 => bytes.extend_from_slice(&[0x34, 6, 0, 1, topic, 0, number, b'!']),
                3 => bytes.extend_from_slice(&[0x31, 3, 0, 1, topic]),
                4 => bytes.extend_from_slice(&[0x82, 6, 0, number, 0, 1, topic, random.u8(0..3)]),
                5 => bytes.extend_from_slice(&[0x82, 6, 0, number, 0, 1, b'#', random.u8(0..3)]),
                6 => bytes.extend_from_slice(&[0xa2, 5, 0, number, 0, 1, topic]),
                7 => bytes.extend_from_slice(&[0x40, 2, 0, number]),
                8 => bytes.extend_from_slice(&[0x62, 2, 0, number]),
                9 => bytes.extend_from_slice(&[0xc0, 0]),
                10 => bytes.extend_from_slice(&[random.u8(..), 2, 0, number]),
                _ => bytes.extend_from_slice(&[0x30, 5, 0, 2, 0xc3, 0xa9, b'!']),
            }
        }
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        let _ = socket.write_all(&bytes).await;
        match random.u8(0..4) {
            0 => socket.set_zero_linger().unwrap(),
            1 => drop(socket.write_all(b"\xe0\x00").await),
            2 => drop(timeout(GUARD, socket.read(&mut [0; 64])).await.unwrap()),
            _ => {}
        }
    }
}
