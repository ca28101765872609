//! A client that speaks MQTT 5 and fails the test where the broker does not do what it is asked.

use std::time::Duration;

use mqtt_ota_broker::Broker;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck, Publish, PublishProperties, SubAck};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions};
use tokio::time::timeout;

use crate::peer::GUARD;

pub(crate) struct Peer5 {
    pub(crate) client: AsyncClient,
    pub(crate) events: EventLoop,
    pub(crate) welcome: ConnAck,
}

impl Peer5 {
    pub(crate) fn options(broker: &Broker, id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(id, broker.address().ip().to_string(), broker.address().port());
        options.set_keep_alive(Duration::from_secs(60));
        options
    }

    pub(crate) async fn connect(broker: &Broker, id: &str) -> Self {
        Self::with(Self::options(broker, id)).await.unwrap()
    }

    pub(crate) async fn with(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (client, mut events) = AsyncClient::new(options, 1_000);
        match timeout(GUARD, events.poll()).await.unwrap()? {
            Event::Incoming(Incoming::ConnAck(welcome)) => Ok(Self { client, events, welcome }),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Packet {
        loop {
            if let Event::Incoming(packet) = timeout(GUARD, self.events.poll()).await.unwrap().unwrap() {
                return packet;
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.next().await {
                return publish;
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: rumqttc::v5::mqttbytes::v5::Filter) -> SubAck {
        self.client.try_subscribe_many([filter]).unwrap();
        loop {
            if let Packet::SubAck(ack) = self.next().await {
                return ack;
            }
        }
    }

    pub(crate) async fn publish(
        &mut self,
        topic: &str,
        retain: bool,
        payload: &str,
        properties: PublishProperties,
    ) -> PubAck {
        let payload = payload.to_owned();
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            .unwrap();
        loop {
            if let Packet::PubAck(ack) = self.next().await {
                return ack;
            }
        }
    }

    /// Says goodbye, and waits until that is sent.
    pub(crate) async fn leave(mut self) {
        self.client.try_disconnect().unwrap();
        while timeout(GUARD, self.events.poll()).await.unwrap().is_ok() {}
    }
}
