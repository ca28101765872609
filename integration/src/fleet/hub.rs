use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::QoS;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::{
    ConnectReturnCode, Packet, PubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::at::At;
use super::connection::{MAX_PACKET, confirm};
use super::places::Places;

/// Number of bytes that are read at once: hundreds of messages.
const READ: usize = 64 * 1024;
/// Maximum number of topics in one SUBSCRIBE packet.
const TOPICS: usize = 500;
/// Pause before a broker that was lost is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Connection to the broker that devices share. Each has its own [`Seat`](super::seat::Seat).
#[derive(Debug)]
pub(super) struct Hub {
    /// Client id of the connection.
    id: String,
    places: Mutex<Places>,
    /// Notification that a device has published something.
    said: Notify,
}

impl Hub {
    pub(super) fn new(id: String, topics: impl Iterator<Item = String>) -> Self {
        Self { id, places: Mutex::new(Places::new(topics)), said: Notify::new() }
    }

    pub(super) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap()
    }

    /// Sends what was published.
    pub(super) fn wake(&self) {
        self.said.notify_one();
    }

    /// Runs for ever. Whenever the broker is lost, all sessions end and the hub connects anew.
    pub(super) async fn run(&self, at: &At) {
        loop {
            let _ = self.pass(at).await;
            self.places().close();
            sleep(PAUSE).await;
        }
    }

    /// Passes messages in both directions, over one connection.
    async fn pass(&self, at: &At) -> io::Result<()> {
        let mut stream = TcpStream::connect(at.address).await?;
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.split();
        let (mut received, mut outgoing) = (BytesMut::new(), BytesMut::new());
        queue(&at.connect(&self.id), &mut outgoing)?;
        let mut unanswered = self.subscribe(&mut outgoing)?;
        loop {
            // Devices that are about to publish something run first, so that it goes out at once.
            yield_now().await;
            self.places().hand_out(&mut outgoing);
            received.reserve(READ);
            tokio::select! {
                biased;
                written = writer.write_buf(&mut outgoing), if !outgoing.is_empty() => drop(written?),
                read = reader.read_buf(&mut received) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    confirm(reader.as_ref());
                    self.hear(&mut received, &mut outgoing, &mut unanswered)?;
                }
                () = self.said.notified() => {}
            }
        }
    }

    /// Subscribes to the topics of all devices. Returns the number of answers to expect.
    fn subscribe(&self, outgoing: &mut BytesMut) -> io::Result<usize> {
        let topics = self.places().topics();
        let batches = topics.chunks(TOPICS);
        let count = batches.len();
        for (id, batch) in (1..).zip(batches) {
            let filter = |topic: &String| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce);
            let mut subscribe = Subscribe::new_many(batch.iter().map(filter));
            subscribe.pkid = id;
            queue(&Packet::Subscribe(subscribe), outgoing)?;
        }
        Ok(count)
    }

    /// Handles all packets that have come completely.
    fn hear(
        &self,
        received: &mut BytesMut,
        outgoing: &mut BytesMut,
        unanswered: &mut usize,
    ) -> io::Result<()> {
        let mut places = self.places();
        loop {
            match Packet::read(received, MAX_PACKET) {
                Ok(Packet::Publish(publish)) => {
                    if publish.pkid > 0 {
                        queue(&Packet::PubAck(PubAck::new(publish.pkid)), outgoing)?;
                    }
                    // The payload is copied, as a slice of the buffer would keep it from being reused.
                    places.hear(&publish.topic, &publish.payload);
                }
                Ok(Packet::PubAck(answer)) => places.acknowledge(answer.pkid)?,
                Ok(Packet::ConnAck(answer)) if answer.code == ConnectReturnCode::Success => {}
                Ok(Packet::SubAck(answer))
                    if !answer.return_codes.contains(&SubscribeReasonCode::Failure) =>
                {
                    *unanswered = unanswered.saturating_sub(1);
                    if *unanswered == 0 {
                        places.open();
                    }
                }
                Ok(other) => return Err(io::Error::other(format!("the broker says {other:?}"))),
                Err(Error::InsufficientBytes(_)) => return Ok(()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

fn queue(packet: &Packet, outgoing: &mut BytesMut) -> io::Result<()> {
    packet.write(outgoing, MAX_PACKET).map(drop).map_err(io::Error::other)
}
