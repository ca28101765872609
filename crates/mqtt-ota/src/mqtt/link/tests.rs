//! Against a broker that does what no real one can be made to do on demand.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::codec::Framed;

use super::*;
use crate::wire::MAX_MESSAGE;

const TOPIC: &str = "LAMP/OTA/status";
/// Far above every packet here.
const MAX_PACKET: usize = 1 << 20;

/// One client as an MQTT 3.1.1 broker has it.
struct Client(Framed<TcpStream, v4::Codec>);

impl Client {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let codec = v4::Codec { max_incoming_size: MAX_PACKET, max_outgoing_size: MAX_PACKET };
        let mut client = Self(Framed::new(stream, codec));
        assert!(matches!(client.hear().await, v4::Packet::Connect(_)));
        let code = v4::ConnectReturnCode::Success;
        client.say(v4::Packet::ConnAck(v4::ConnAck { code, session_present: false })).await;
        client
    }

    async fn hear(&mut self) -> v4::Packet {
        self.0.next().await.unwrap().unwrap()
    }

    async fn published(&mut self) -> v4::Publish {
        match self.hear().await {
            v4::Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, packet: v4::Packet) {
        self.0.send(packet).await.unwrap();
    }

    async fn acknowledge(&mut self, publish: &v4::Publish) {
        self.say(v4::Packet::PubAck(v4::PubAck::new(publish.pkid))).await;
    }
}

/// A link to the broker that `act` plays.
async fn linked<F>(act: impl FnOnce(Client) -> F + Send + 'static) -> (Link, JoinHandle<F::Output>)
where
    F: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::parse(&format!("mqtt://{}", listener.local_addr().unwrap())).unwrap();
    let played = tokio::spawn(async move { act(Client::accept(&listener).await).await });
    let config = LinkConfig { client_id: "test".to_owned(), protocol: Some(Protocol::V311) };
    (Link::connect(&broker, config).await.unwrap(), played)
}

#[tokio::test]
async fn a_flood_of_large_messages_that_nobody_reads_does_not_fill_the_memory() {
    let (link, played) = linked(async |mut client| {
        let v4::Packet::Subscribe(subscribe) = client.hear().await else { panic!("no subscription") };
        let granted = vec![v4::SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        client.say(v4::Packet::SubAck(v4::SubAck::new(subscribe.pkid, granted))).await;
        for _ in 0..2 * BACKLOG {
            let large = v4::Publish::new(TOPIC, QoS::AtMostOnce, vec![b'.'; 50 * MAX_MESSAGE]);
            client.say(v4::Packet::Publish(large)).await;
        }
        let after = client.published().await;
        client.acknowledge(&after).await;
        client
    })
    .await;
    let mut subscription = link.subscribe(&[(TOPIC, Qos::AtLeastOnce)], BACKLOG).await.unwrap();
    // Its acknowledgement comes behind the flood: then all of that has been taken in.
    assert_eq!(link.publish("after", "", false).await, Ok(Ack::Accepted));
    let mut kept = 0;
    while let Some(Incoming::Message(message)) = subscription.try_next() {
        // A slice of the packet would not be the only one to hold it, or would hold all of it.
        let own = message.payload.try_into_mut().unwrap();
        assert!(own.capacity() <= MAX_MESSAGE + 1, "{} bytes", own.capacity());
        kept += 1;
    }
    assert_eq!(kept, BACKLOG);
    drop(played.await.unwrap());
}

#[tokio::test]
async fn more_requests_than_the_link_can_hold_are_all_done_in_the_end() {
    const MESSAGES: usize = 500;
    static NO_ROOM: Notify = Notify::const_new();
    let (link, played) = linked(async |mut client| {
        let mut held = Vec::new();
        let mut published = HashSet::new();
        // It acknowledges nothing until requests have been turned away.
        loop {
            tokio::select! {
                publish = client.published() => held.push(publish),
                () = NO_ROOM.notified() => break,
            }
        }
        let at_once = held.len();
        for publish in held {
            client.acknowledge(&publish).await;
            published.insert(publish.payload);
        }
        while published.len() < MESSAGES {
            let publish = client.published().await;
            client.acknowledge(&publish).await;
            published.insert(publish.payload);
        }
        (client, at_once)
    })
    .await;
    let asked = AtomicUsize::new(0);
    let requests = (0..MESSAGES).map(|number| {
        let (link, asked) = (&link, &asked);
        patiently(move || {
            // One that asks again was turned away.
            if asked.fetch_add(1, Ordering::Relaxed) == MESSAGES {
                NO_ROOM.notify_one();
            }
            link.publish("LAMP/OTA", number.to_string(), false)
        })
    });
    let answers = join_all(requests).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Ack::Accepted)), "{answers:?}");
    let (_client, at_once) = played.await.unwrap();
    assert!(at_once < MESSAGES / 2, "{at_once} messages in flight");
}
