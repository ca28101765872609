//! A broker played by a test, for behaviour that no real broker shows on demand.

use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

use crate::Broker;

/// Longest packet, in bytes, far above every packet here.
const MAX_PACKET: usize = 1 << 20;

/// Starts a broker for one client, whose connection `act` plays.
pub(crate) async fn played<F>(
    act: impl FnOnce(Client) -> F + Send + 'static,
) -> (Broker, JoinHandle<F::Output>)
where
    F: Future<Output: Send + 'static> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::parse(&format!("mqtt://{}", listener.local_addr().unwrap())).unwrap();
    (broker, tokio::spawn(async move { act(Client::accept(&listener).await).await }))
}

/// Starts a broker for one client that connects `connections` times. `act` plays each of its connections.
pub(crate) async fn played_for<F>(
    connections: usize,
    act: impl Fn(Client) -> F + Send + Sync + 'static,
) -> (Broker, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::parse(&format!("mqtt://{}", listener.local_addr().unwrap())).unwrap();
    let playing = async move {
        for _ in 0..connections {
            act(Client::accept(&listener).await).await;
        }
    };
    (broker, tokio::spawn(playing))
}

/// A client, as seen by an MQTT 3.1.1 broker.
pub(crate) struct Client(Framed<TcpStream, v4::Codec>);

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

    async fn say(&mut self, packet: v4::Packet) {
        self.0.send(packet).await.unwrap();
    }

    /// Answers the client's pings, and nothing else, until the client leaves.
    pub(crate) async fn answer_pings(&mut self) {
        while let Some(Ok(packet)) = self.0.next().await {
            if matches!(packet, v4::Packet::PingReq) {
                self.say(v4::Packet::PingResp).await;
            }
        }
    }

    /// Waits until the client subscribes, and grants the subscription.
    pub(crate) async fn subscribed(&mut self) {
        let id = self.subscribes().await;
        self.grant(id).await;
    }

    /// Grants the subscription in packet `id`.
    pub(crate) async fn grant(&mut self, id: u16) {
        let granted = vec![v4::SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        self.say(v4::Packet::SubAck(v4::SubAck::new(id, granted))).await;
    }

    /// Refuses the subscription in packet `id`, and waits until the client unsubscribes.
    pub(crate) async fn refuse(&mut self, id: u16) {
        let refused = vec![v4::SubscribeReasonCode::Failure];
        self.say(v4::Packet::SubAck(v4::SubAck::new(id, refused))).await;
        match self.hear().await {
            v4::Packet::Unsubscribe(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the client subscribes, and returns the packet's id.
    pub(crate) async fn subscribes(&mut self) -> u16 {
        match self.hear().await {
            v4::Packet::Subscribe(subscribe) => subscribe.pkid,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message to the client.
    pub(crate) async fn tell(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.say(v4::Packet::Publish(v4::Publish::new(topic, QoS::AtMostOnce, payload))).await;
    }

    /// Sends a retained message to the client.
    pub(crate) async fn tell_kept(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let mut publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = true;
        self.say(v4::Packet::Publish(publish)).await;
    }

    /// Sends a retained message to the client, and returns false if the client has left.
    pub(crate) async fn tries_to_tell_kept(&mut self, topic: &str, payload: &str) -> bool {
        let mut publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = true;
        self.0.send(v4::Packet::Publish(publish)).await.is_ok()
    }

    /// Sends a message to the client again and again, until the client leaves.
    pub(crate) async fn tell_for_ever(&mut self, topic: &str, payload: &str) {
        let publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        while self.0.send(v4::Packet::Publish(publish.clone())).await.is_ok() {}
    }

    /// Waits for a message that the client publishes. Cancel safe.
    pub(crate) async fn published(&mut self) -> v4::Publish {
        match self.hear().await {
            v4::Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledges a message.
    pub(crate) async fn acknowledge(&mut self, publish: &v4::Publish) {
        self.say(v4::Packet::PubAck(v4::PubAck::new(publish.pkid))).await;
    }
}
