use rumqttc::{Incoming, LastWill, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker};

#[tokio::test]
async fn a_client_that_speaks_mqtt_3_1_is_told_in_its_own_words() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    socket.write_all(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a").await.unwrap();
    let mut answer = Vec::new();
    timeout(GUARD, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
}

#[tokio::test]
async fn a_client_without_keep_alive_gets_in() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a").await.unwrap();
    let mut answer = [0; 4];
    timeout(GUARD, socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn a_client_that_is_silent_for_longer_than_it_promised_is_gone() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01a").await.unwrap();
    let mut all = Vec::new();
    timeout(GUARD, socket.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(all, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn what_was_retained_says_so_and_what_comes_live_does_not() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    device.publish("desk/OTA/device", true, "old").await;
    let mut sender = Peer::connect(&broker, "sender").await;
    sender.subscribe("desk/OTA/device").await;
    let message = sender.message().await;
    assert_eq!((&message.payload[..], message.retain), (&b"old"[..], true));
    device.publish("desk/OTA/device", true, "new").await;
    let message = sender.message().await;
    assert_eq!((&message.payload[..], message.retain), (&b"new"[..], false));
}

#[tokio::test]
async fn a_retained_message_comes_before_the_next_subscription_is_acknowledged() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    device.publish("desk/OTA/device", true, "here").await;
    let mut sender = Peer::connect(&broker, "sender").await;
    for round in 0..500 {
        sender.subscribe("desk/OTA/device").await;
        sender.client.try_subscribe(format!("fence/{round}"), QoS::AtLeastOnce).unwrap();
        let mut before = 0;
        loop {
            match sender.next().await {
                Incoming::Publish(message) => {
                    assert!(message.retain);
                    before += 1;
                }
                Incoming::SubAck(_) => break,
                _ => {}
            }
        }
        assert_eq!(before, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_subscriber_with_qos_0_gets_every_one_of_500_retained_messages() {
    let broker = broker().await;
    let mut device = Peer::connect(&broker, "device").await;
    for n in 0..500 {
        device.publish(&format!("d{n}/OTA/device"), true, "here").await;
    }
    let mut sender = Peer::connect(&broker, "sender").await;
    sender.client.try_subscribe("+/OTA/device", QoS::AtMostOnce).unwrap();
    let mut topics = std::collections::HashSet::new();
    while topics.len() < 500 {
        topics.insert(sender.message().await.topic);
    }
}

#[tokio::test]
async fn a_newcomer_of_the_same_name_takes_the_place_of_the_one_before() {
    let broker = broker().await;
    let mut first = Peer::connect(&broker, "desk").await;
    let mut second = Peer::connect(&broker, "desk").await;
    assert!(timeout(GUARD, first.events.poll()).await.unwrap().is_err());
    second.publish("desk/x", false, "x").await;
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_last_will_is_published_where_the_client_leaves_without_a_word_and_only_then() {
    let broker = broker().await;
    let mut watcher = Peer::connect(&broker, "watcher").await;
    watcher.subscribe("+/will").await;
    for (id, says_goodbye) in [("polite", true), ("lost", false)] {
        let mut options = Peer::options(&broker, id);
        options.set_last_will(LastWill::new(format!("{id}/will"), "gone", QoS::AtLeastOnce, false));
        let peer = Peer::with(options).await.unwrap();
        if says_goodbye {
            peer.leave().await;
        }
    }
    assert_eq!(watcher.message().await.topic, "lost/will");
}

#[tokio::test]
async fn what_was_published_while_a_lasting_session_was_away_is_there_when_it_is_back() {
    let broker = broker().await;
    let mut options = Peer::options(&broker, "desk");
    options.set_clean_session(false);
    let mut device = Peer::with(options.clone()).await.unwrap();
    device.subscribe("desk/OTA").await;
    device.leave().await;
    let mut sender = Peer::connect(&broker, "sender").await;
    for n in 0..300 {
        sender.publish("desk/OTA", false, &n.to_string()).await;
    }
    let mut device = Peer::with(options).await.unwrap();
    device.client.try_subscribe("desk/OTA", QoS::AtLeastOnce).unwrap();
    for n in 0..300 {
        assert_eq!(device.message().await.payload, n.to_string());
    }
}

#[tokio::test]
async fn a_message_with_qos_2_arrives_once() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    peer.subscribe("x").await;
    for n in 0..250 {
        peer.client.try_publish("x", QoS::ExactlyOnce, false, n.to_string()).unwrap();
    }
    for n in 0..250 {
        assert_eq!(peer.message().await.payload, n.to_string());
    }
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_gets_everything() {
    let broker = broker().await;
    let mut slow = Peer::connect(&broker, "slow").await;
    slow.client.try_subscribe("x", QoS::AtMostOnce).unwrap();
    slow.until(|packet| matches!(packet, Incoming::SubAck(_))).await;
    let mut fast = Peer::connect(&broker, "fast").await;
    for n in 0..900 {
        fast.client.try_publish("x", QoS::AtMostOnce, false, n.to_string()).unwrap();
    }
    fast.publish("x", false, "end").await;
    for n in 0..900 {
        assert_eq!(slow.message().await.payload, n.to_string());
    }
}
