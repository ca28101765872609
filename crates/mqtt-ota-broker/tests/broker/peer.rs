//! A client that fails the test where the broker does not do what it is asked.

use std::time::Duration;

use mqtt_ota_broker::{Broker, BrokerConfig};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, NetworkOptions, Publish, QoS,
};
use tokio::time::timeout;

/// Longer than anything here takes, by far.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

pub(crate) fn config() -> BrokerConfig {
    BrokerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..BrokerConfig::default() }
}

pub(crate) async fn broker() -> Broker {
    timeout(GUARD, Broker::start(config())).await.unwrap().unwrap()
}

pub(crate) struct Peer {
    pub(crate) client: AsyncClient,
    pub(crate) events: EventLoop,
}

impl Peer {
    pub(crate) async fn connect(broker: &Broker, id: &str) -> Self {
        Self::with(Self::options(broker, id)).await.unwrap()
    }

    pub(crate) fn options(broker: &Broker, id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(id, broker.address().ip().to_string(), broker.address().port());
        options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(1 << 20, 1 << 20);
        options
    }

    pub(crate) async fn with(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (client, mut events) = AsyncClient::new(options, 1_000);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let mut peer = Self { client, events };
        match timeout(GUARD, peer.events.poll()).await.unwrap()? {
            Event::Incoming(Incoming::ConnAck(_)) => Ok(peer),
            other => panic!("{other:?}"),
        }
    }

    /// The next packet that the broker sends.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            if let Event::Incoming(packet) = timeout(GUARD, self.events.poll()).await.unwrap().unwrap() {
                return packet;
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Publish {
        loop {
            if let Incoming::Publish(publish) = self.next().await {
                return publish;
            }
        }
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Incoming) -> bool) {
        while !wanted(&self.next().await) {}
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
        self.until(|packet| matches!(packet, Incoming::SubAck(_))).await;
    }

    pub(crate) async fn publish(&mut self, topic: &str, retain: bool, payload: &str) {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
        self.until(|packet| matches!(packet, Incoming::PubAck(_))).await;
    }

    /// Says goodbye, and waits until that is sent.
    pub(crate) async fn leave(mut self) {
        self.client.try_disconnect().unwrap();
        while timeout(GUARD, self.events.poll()).await.unwrap().is_ok() {}
    }
}

/// Passes a message through the broker, and so shows that it lives.
pub(crate) async fn assert_alive(broker: &Broker) {
    let mut peer = Peer::connect(broker, "alive").await;
    peer.subscribe("alive/now").await;
    peer.client.try_publish("alive/now", QoS::AtLeastOnce, false, "yes").unwrap();
    assert_eq!(&peer.message().await.payload[..], b"yes");
    peer.leave().await;
}
