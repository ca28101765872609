//! MQTT 5, on the port that speaks MQTT 3.1.1 as well.

use mqtt_ota_broker::{Broker, BrokerConfig, Credentials};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    PublishProperties, RetainForwardRule, SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::{ConnectionError, StateError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker, config};
use crate::peer5::Peer5;

fn filter(path: &str) -> Filter {
    Filter::new(path, QoS::AtLeastOnce)
}

fn plain() -> PublishProperties {
    PublishProperties::default()
}

#[tokio::test]
async fn clients_of_both_versions_talk_to_each_other_on_one_port() {
    let broker = broker().await;
    let (mut old, mut new) = (Peer::connect(&broker, "old").await, Peer5::connect(&broker, "new").await);
    old.subscribe("to/old").await;
    new.subscribe(filter("to/new")).await;
    old.client.try_publish("to/new", rumqttc::QoS::AtLeastOnce, false, "from old").unwrap();
    old.until(|packet| matches!(packet, rumqttc::Incoming::PubAck(_))).await;
    assert_eq!(new.message().await.payload, "from old");
    let ack = new.publish("to/old", false, "from new", plain()).await;
    assert_eq!(ack.reason, PubAckReason::Success);
    assert_eq!(old.message().await.payload, "from new");
}

#[tokio::test]
async fn a_message_that_nobody_is_subscribed_to_is_acknowledged_as_such() {
    let broker = broker().await;
    let mut sender = Peer5::connect(&broker, "sender").await;
    let mut device = Peer::connect(&broker, "device").await;
    let reason =
        async |sender: &mut Peer5, topic: &str| sender.publish(topic, false, "x", plain()).await.reason;
    assert_eq!(reason(&mut sender, "LAMP/OTA").await, PubAckReason::NoMatchingSubscribers);
    device.subscribe("LAMP/OTA").await;
    assert_eq!(reason(&mut sender, "LAMP/OTA").await, PubAckReason::Success);
    assert_eq!(reason(&mut sender, "HALL/OTA").await, PubAckReason::NoMatchingSubscribers);
    device.client.try_unsubscribe("LAMP/OTA").unwrap();
    device.until(|packet| matches!(packet, rumqttc::Incoming::UnsubAck(_))).await;
    assert_eq!(reason(&mut sender, "LAMP/OTA").await, PubAckReason::NoMatchingSubscribers);
}

#[tokio::test]
async fn one_that_sleeps_is_subscribed_and_one_whose_session_has_ended_is_not() {
    let broker = broker().await;
    let mut sender = Peer5::connect(&broker, "sender").await;
    for (seconds, expected) in [(60, PubAckReason::Success), (0, PubAckReason::NoMatchingSubscribers)] {
        let mut options = Peer5::options(&broker, "sleeper");
        options.set_session_expiry_interval(Some(seconds));
        let mut sleeper = Peer5::with(options).await.unwrap();
        sleeper.subscribe(filter("LAMP/OTA")).await;
        sleeper.leave().await;
        assert_eq!(sender.publish("LAMP/OTA", false, "x", plain()).await.reason, expected, "{seconds} s");
    }
}

#[tokio::test]
async fn a_second_client_of_the_same_name_takes_over_and_the_first_is_told() {
    let broker = broker().await;
    let mut first = Peer5::connect(&broker, "desk").await;
    let _second = Peer::connect(&broker, "desk").await;
    let told = loop {
        if let Err(error) = timeout(GUARD, first.events.poll()).await.unwrap() {
            break error;
        }
    };
    let reason = DisconnectReasonCode::SessionTakenOver;
    assert!(
        matches!(&told, ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) if *reason_code == reason),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_client_is_told_what_is_not_available_and_the_id_that_it_was_given() {
    let broker = broker().await;
    let mut options = Peer5::options(&broker, "");
    options.set_session_expiry_interval(Some(u32::MAX));
    let peer = Peer5::with(options).await.unwrap();
    let properties = peer.welcome.properties.clone().unwrap();
    assert_eq!(properties.shared_subscription_available, Some(0));
    assert_eq!(properties.subscription_identifiers_available, Some(0));
    assert_eq!(properties.topic_alias_max, Some(0));
    assert_eq!(properties.receive_max, Some(100));
    assert_eq!(properties.max_packet_size, Some(65_536));
    assert_eq!((properties.max_qos, properties.retain_available), (None, None));
    assert_eq!(properties.session_expiry_interval, Some(60 * 24 * 60 * 60));
    let id = properties.assigned_client_identifier.unwrap();
    peer.leave().await;
    let mut options = Peer5::options(&broker, &id);
    options.set_clean_start(false);
    assert!(Peer5::with(options).await.unwrap().welcome.session_present);
}

#[tokio::test]
async fn a_session_is_there_again_unless_the_client_starts_clean() {
    let broker = broker().await;
    for (clean, expected) in [(true, false), (false, true), (false, true), (true, false)] {
        let mut options = Peer5::options(&broker, "desk");
        options.set_clean_start(clean).set_session_expiry_interval(Some(60));
        let peer = Peer5::with(options).await.unwrap();
        assert_eq!(peer.welcome.session_present, expected, "clean start: {clean}");
        peer.leave().await;
    }
}

#[tokio::test]
async fn what_a_message_says_of_itself_arrives_with_it() {
    let broker = broker().await;
    let mut peer = Peer5::connect(&broker, "desk").await;
    peer.subscribe(filter("x")).await;
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("reply".to_owned()),
        correlation_data: Some("7".into()),
        user_properties: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        content_type: Some("text/plain".to_owned()),
        ..plain()
    };
    peer.client.try_publish_with_properties("x", QoS::AtLeastOnce, false, "x", properties.clone()).unwrap();
    let mut arrived = peer.message().await.properties.unwrap();
    assert!(arrived.message_expiry_interval.is_some_and(|seconds| (58..=60).contains(&seconds)));
    arrived.message_expiry_interval = Some(60);
    assert_eq!(arrived, properties);
}

/// The clock itself is tested in the router, where it stands still.
#[tokio::test]
async fn an_offer_that_has_expired_is_not_delivered_to_a_device_of_either_version() {
    let broker = broker().await;
    let mut options = Peer::options(&broker, "old");
    options.set_clean_session(false);
    let mut old = Peer::with(options.clone()).await.unwrap();
    old.subscribe("LAMP/OTA").await;
    old.leave().await;
    let mut sender = Peer5::connect(&broker, "sender").await;
    let short = PublishProperties { message_expiry_interval: Some(0), ..plain() };
    assert_eq!(sender.publish("LAMP/OTA", false, "expired", short).await.reason, PubAckReason::Success);
    sender.publish("LAMP/OTA", false, "lasting", plain()).await;
    let mut old = Peer::with(options).await.unwrap();
    assert_eq!(old.message().await.payload, "lasting");
}

#[tokio::test]
async fn a_subscription_is_refused_with_the_reason() {
    let broker = broker().await;
    let mut peer = Peer5::connect(&broker, "desk").await;
    for (path, expected) in [
        ("$share/group/x", SubscribeReasonCode::SharedSubscriptionsNotSupported),
        ("$SYS/#", SubscribeReasonCode::NotAuthorized),
        (&"x/".repeat(100), SubscribeReasonCode::TopicFilterInvalid),
        ("a/#", SubscribeReasonCode::Success(QoS::AtLeastOnce)),
    ] {
        assert_eq!(peer.subscribe(filter(path)).await.return_codes, [expected], "{path}");
    }
    for expected in [UnsubAckReason::Success, UnsubAckReason::NoSubscriptionExisted] {
        peer.client.try_unsubscribe("a/#").unwrap();
        loop {
            if let Packet::UnsubAck(ack) = peer.next().await {
                break assert_eq!(ack.reasons, [expected]);
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_has_the_options_that_it_asked_for() {
    let broker = broker().await;
    let mut peer = Peer5::connect(&broker, "desk").await;
    peer.publish("kept", true, "old", plain()).await;
    let with = |rule| Filter { retain_forward_rule: rule, preserve_retain: true, ..filter("kept") };
    // Each acknowledgement comes behind what is retained for the subscription before it.
    let mut heard = Vec::new();
    for rule in [
        RetainForwardRule::Never,
        RetainForwardRule::OnNewSubscribe,
        RetainForwardRule::OnEverySubscribe,
        RetainForwardRule::Never,
    ] {
        peer.client.try_subscribe_many([with(rule.clone())]).unwrap();
        let mut before = 0;
        loop {
            match peer.next().await {
                Packet::Publish(_) => before += 1,
                Packet::SubAck(_) => break,
                _ => {}
            }
        }
        heard.push(before);
    }
    assert_eq!(heard, [0, 0, 0, 1]);
    peer.client.try_publish("kept", QoS::AtLeastOnce, true, "new").unwrap();
    assert!(peer.message().await.retain, "it was published to be retained");
    peer.subscribe(Filter { nolocal: true, ..filter("own") }).await;
    assert_eq!(peer.publish("own", false, "x", plain()).await.reason, PubAckReason::NoMatchingSubscribers);
}

#[tokio::test]
async fn a_message_with_qos_2_arrives_once_with_qos_2() {
    let broker = broker().await;
    let mut peer = Peer5::connect(&broker, "desk").await;
    peer.subscribe(Filter::new("x", QoS::ExactlyOnce)).await;
    for n in 0..250 {
        peer.client.try_publish("x", QoS::ExactlyOnce, false, n.to_string()).unwrap();
    }
    for n in 0..250 {
        let message = peer.message().await;
        assert_eq!((message.payload, message.qos), (n.to_string().into(), QoS::ExactlyOnce));
    }
}

#[tokio::test]
async fn no_more_messages_wait_for_an_acknowledgement_than_the_client_takes() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    // Receive Maximum 2, then SUBSCRIBE to `x` with QoS 1.
    socket.write_all(b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x02\x00\x01a").await.unwrap();
    socket.write_all(b"\x82\x07\x00\x01\x00\x00\x01x\x01").await.unwrap();
    let mut sender = Peer::connect(&broker, "sender").await;
    let mut answers = vec![0; 2];
    socket.read_exact(&mut answers).await.unwrap();
    let mut rest = vec![0; usize::from(answers[1]) + 6];
    socket.read_exact(&mut rest).await.unwrap();
    for n in 0..5_u8 {
        sender.publish("x", false, &n.to_string()).await;
    }
    for n in 0..5_u8 {
        let mut publish = [0; 9];
        timeout(GUARD, socket.read_exact(&mut publish)).await.unwrap().unwrap();
        assert_eq!(publish[8], b'0' + n);
        if n >= 1 {
            // Two wait: behind the answers to two pings there is no third.
            for _ in 0..2 {
                let mut answer = [0; 2];
                socket.write_all(b"\xc0\x00").await.unwrap();
                timeout(GUARD, socket.read_exact(&mut answer)).await.unwrap().unwrap();
                assert_eq!(answer, [0xd0, 0]);
            }
            socket.write_all(&[0x40, 2, publish[5], publish[6]]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_last_will_waits_for_as_long_as_it_was_told() {
    let broker = broker().await;
    let mut watcher = Peer5::connect(&broker, "watcher").await;
    watcher.subscribe(filter("+/will")).await;
    for (id, delay) in [("patient", Some(3_600)), ("quick", None)] {
        let mut options = Peer5::options(&broker, id);
        let properties = LastWillProperties {
            delay_interval: delay,
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: Some("a will".to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        options.set_session_expiry_interval(Some(7_200));
        options.set_last_will(LastWill::new(
            format!("{id}/will"),
            "gone",
            QoS::AtLeastOnce,
            false,
            Some(properties),
        ));
        drop(Peer5::with(options).await.unwrap());
    }
    let will = watcher.message().await;
    assert_eq!(will.topic, "quick/will");
    assert_eq!(will.properties.unwrap().content_type.as_deref(), Some("a will"));
}

#[tokio::test]
async fn a_client_that_is_refused_is_told_why() {
    let credentials = Some(Credentials::new("me", "secret").unwrap());
    let broker = Broker::start(BrokerConfig { credentials, ..config() }).await.unwrap();
    let refused = Peer5::with(Peer5::options(&broker, "desk")).await.err();
    assert!(
        matches!(refused, Some(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized))),
        "{refused:?}"
    );
    let mut options = Peer5::options(&broker, "desk");
    options.set_credentials("me", "secret").set_authentication_method(Some("SCRAM-SHA-1".to_owned()));
    let refused = Peer5::with(options).await.err();
    assert!(
        matches!(
            refused,
            Some(ConnectionError::ConnectionRefused(ConnectReturnCode::BadAuthenticationMethod))
        ),
        "{refused:?}"
    );
    let mut options = Peer5::options(&broker, "desk");
    options.set_credentials("me", "secret");
    Peer5::with(options).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_what_is_not_allowed_is_told_with_the_goodbye() {
    let broker = broker().await;
    let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";
    for (what, bytes, reason) in [
        ("a topic's alias", &b"\x30\x08\x00\x01x\x03\x23\x00\x01!"[..], 0x94),
        ("a wildcard in a topic", b"\x30\x05\x00\x01#\x00!", 0x90),
        ("a second CONNECT", connect, 0x82),
        ("wrong flags", b"\x80\x07\x00\x01\x00\x00\x01x\x01", 0x81),
        ("a packet that is too long", b"\x30\xff\xff\x7f", 0x95),
        ("another version", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x01a", 0x81),
    ] {
        let mut socket = TcpStream::connect(broker.address()).await.unwrap();
        socket.write_all(connect).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(GUARD, socket.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.ends_with(&[0xe0, 2, reason, 0]), "{what}: {answer:02x?}");
    }
    assert_alive(&broker).await;
}

#[tokio::test]
async fn a_version_that_nobody_knows_is_refused_in_the_words_of_mqtt_5() {
    let broker = broker().await;
    let mut socket = TcpStream::connect(broker.address()).await.unwrap();
    socket.write_all(b"\x10\x0e\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x01a").await.unwrap();
    let mut answer = Vec::new();
    timeout(GUARD, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [0x20, 3, 0, 0x84, 0]);
}

#[tokio::test]
async fn what_is_above_a_limit_is_refused_with_the_reason_and_comes_back_with_the_client() {
    let broker = broker().await;
    let refused = Peer5::with(Peer5::options(&broker, &"x".repeat(257))).await.err();
    let reason = ConnectReturnCode::ClientIdentifierNotValid;
    assert!(
        matches!(refused, Some(ConnectionError::ConnectionRefused(code)) if code == reason),
        "{refused:?}"
    );
    for _ in 0..2 {
        let mut peer = Peer5::connect(&broker, "greedy").await;
        for part in 0..32 {
            let filters: Vec<_> = (0..128).map(|n| filter(&format!("{part}/{n}"))).collect();
            peer.client.try_subscribe_many(filters).unwrap();
            let granted = loop {
                if let Packet::SubAck(ack) = peer.next().await {
                    break ack.return_codes;
                }
            };
            assert_eq!(granted, [SubscribeReasonCode::Success(QoS::AtLeastOnce); 128]);
        }
        let one_more = peer.subscribe(filter("one/more")).await;
        assert_eq!(one_more.return_codes, [SubscribeReasonCode::QuotaExceeded]);
        peer.leave().await;
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_retained_is_answered_as_such_and_delivered() {
    let broker = broker().await;
    let mut peer = Peer5::connect(&broker, "desk").await;
    let long = "x".repeat(60_000);
    let mut kept = 0;
    while peer.publish(&format!("kept/{kept}"), true, &long, plain()).await.reason
        == PubAckReason::NoMatchingSubscribers
    {
        kept += 1;
        assert!(kept < 1_000, "no bound");
    }
    assert_eq!(kept, 32 * 1024 * 1024 / 60_200);
    let mut listener = Peer::connect(&broker, "listener").await;
    listener.subscribe("more").await;
    assert_eq!(peer.publish("more", true, &long, plain()).await.reason, PubAckReason::QuotaExceeded);
    assert_eq!(listener.message().await.payload.len(), long.len());
    // What is ended makes room again.
    peer.publish("kept/0", true, "", plain()).await;
    assert_eq!(peer.publish("more", true, &long, plain()).await.reason, PubAckReason::Success);
}
