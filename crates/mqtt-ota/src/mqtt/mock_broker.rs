//! A broker that a test plays: it does what no real one can be made to do on demand.

use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::{QoS, v4};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

use crate::Broker;

/// Far above every packet here, in bytes.
const MAX_PACKET: usize = 1 << 20;

/// A broker for one client, which `act` plays.
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

/// A broker for one client that connects again and again, so many times; `act` plays each of its connections.
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

/// The client, as an MQTT 3.1.1 broker has it.
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

    /// Answers its pings, and nothing else, until it goes.
    pub(crate) async fn answer_pings(&mut self) {
        while let Some(Ok(packet)) = self.0.next().await {
            if matches!(packet, v4::Packet::PingReq) {
                self.say(v4::Packet::PingResp).await;
            }
        }
    }

    /// Lets it subscribe.
    pub(crate) async fn subscribed(&mut self) {
        let id = self.subscribes().await;
        self.grant(id).await;
    }

    /// Answers that it is subscribed.
    pub(crate) async fn grant(&mut self, id: u16) {
        let granted = vec![v4::SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        self.say(v4::Packet::SubAck(v4::SubAck::new(id, granted))).await;
    }

    /// Answers that it may not subscribe, and hears that it takes it back.
    pub(crate) async fn refuse(&mut self, id: u16) {
        let refused = vec![v4::SubscribeReasonCode::Failure];
        self.say(v4::Packet::SubAck(v4::SubAck::new(id, refused))).await;
        match self.hear().await {
            v4::Packet::Unsubscribe(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Hears that it subscribes; yields the packet's id.
    pub(crate) async fn subscribes(&mut self) -> u16 {
        match self.hear().await {
            v4::Packet::Subscribe(subscribe) => subscribe.pkid,
            other => panic!("{other:?}"),
        }
    }

    /// Sends it a message.
    pub(crate) async fn tell(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.say(v4::Packet::Publish(v4::Publish::new(topic, QoS::AtMostOnce, payload))).await;
    }

    /// Sends it a message that the broker kept.
    pub(crate) async fn tell_kept(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let mut publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = true;
        self.say(v4::Packet::Publish(publish)).await;
    }

    /// The same, unless it has gone. Returns whether it has not.
    pub(crate) async fn tries_to_tell_kept(&mut self, topic: &str, payload: &str) -> bool {
        let mut publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = true;
        self.0.send(v4::Packet::Publish(publish)).await.is_ok()
    }

    /// Sends it one message again and again, until it has gone.
    pub(crate) async fn tell_for_ever(&mut self, topic: &str, payload: &str) {
        let publish = v4::Publish::new(topic, QoS::AtMostOnce, payload);
        while self.0.send(v4::Packet::Publish(publish.clone())).await.is_ok() {}
    }

    /// The message that it sends. Cancel safe.
    pub(crate) async fn published(&mut self) -> v4::Publish {
        match self.hear().await {
            v4::Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledges it.
    pub(crate) async fn acknowledge(&mut self, publish: &v4::Publish) {
        self.say(v4::Packet::PubAck(v4::PubAck::new(publish.pkid))).await;
    }
}
