use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_ota::wire::Manifest;
use mqtt_ota::{DeviceName, Digest};
use mqtt_ota_integration::{Endpoint, Fleet, FleetDevice};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Maximum number of devices between their offer and their `installed`.
const AT_ONCE: usize = 64;
/// Maximum number of messages that the broker has not acknowledged.
const IN_FLIGHT: u16 = 100;
/// Id that all offers share. This sender turns nobody away.
const ID: &str = "0123456789abcdef";

/// Offers `file`, as the only file of a set, to the whole fleet.
///
/// The sender knows everything beforehand and checks nothing. Returns the time until every device `is_done`: the time
/// that the broker, the network and the simulated devices need.
pub(crate) fn follow(
    broker: &impl Endpoint,
    fleet: &Fleet,
    set: Digest,
    manifest: &Manifest,
    file: &[u8],
    is_done: impl Fn(&FleetDevice) -> bool,
) -> Duration {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut tasks = JoinSet::new();
    let _entered = runtime.enter();
    let (client, events) = runtime.block_on(join(broker, fleet.names().len()));
    let started = Instant::now();
    let window = Arc::new(Semaphore::new(AT_ONCE));
    tasks.spawn(hear(events, Arc::clone(&window)));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let text = manifest.to_string();
    let offer = format!("127.0.0.1|{port}|set|{set}|1|id={ID}|size={}|set=1", text.len());
    tasks.spawn(serve(listener, Arc::from(text.as_bytes()), Arc::from(file)));
    tasks.spawn(offer_to(client, fleet.names().to_vec(), offer, window));
    fleet.wait_until_all("at the set", is_done);
    let time = started.elapsed();
    fleet.wait_until_all("back", |device| device.runs(set));
    time
}

/// Connects, and waits for the retained announcements.
async fn join(broker: &impl Endpoint, announcements: usize) -> (AsyncClient, EventLoop) {
    let address = broker.address();
    let mut options = MqttOptions::new("bare", address.ip().to_string(), address.port());
    options.set_inflight(IN_FLIGHT).set_keep_alive(Duration::from_secs(600));
    let (client, mut events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
    // With QoS 1, retained messages would fill Mosquitto's queue of 1,000, and statuses would be dropped.
    for (filter, qos) in [("+/OTA/status", QoS::AtLeastOnce), ("+/OTA/device", QoS::AtMostOnce)] {
        client.subscribe(filter, qos).await.expect("the client runs");
    }
    let mut heard = 0;
    while heard < announcements {
        let event = events.poll().await.expect("the broker stays");
        heard += usize::from(matches!(event, Event::Incoming(Packet::Publish(_))));
    }
    (client, events)
}

async fn offer_to(client: AsyncClient, names: Vec<DeviceName>, offer: String, window: Arc<Semaphore>) {
    for name in names {
        window.acquire().await.expect("it stays open").forget();
        client
            .publish(name.offer_topic(), QoS::AtLeastOnce, false, offer.as_str())
            .await
            .expect("the client runs");
    }
    std::future::pending().await
}

/// Makes room for one more device with each `installed`.
async fn hear(mut events: EventLoop, window: Arc<Semaphore>) {
    while let Ok(event) = events.poll().await {
        if let Event::Incoming(Packet::Publish(publish)) = event {
            window.add_permits(usize::from(publish.payload.starts_with(b"installed|")));
        }
    }
}

async fn serve(listener: TcpListener, manifest: Arc<[u8]>, file: Arc<[u8]>) {
    let mut devices = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        devices.spawn(answer(stream, Arc::clone(&manifest), Arc::clone(&file)));
        while devices.try_join_next().is_some() {}
    }
}

/// Answers the requests that the fleet makes for a set of one file.
async fn answer(stream: TcpStream, manifest: Arc<[u8]>, file: Arc<[u8]>) -> io::Result<()> {
    let (mut stream, mut line) = (BufStream::new(stream), String::new());
    while stream.read_line(&mut line).await? > 0 {
        let items = line.split(' ').nth(1).unwrap_or_default();
        if items.starts_with('0') {
            stream.write_all(&manifest).await?;
        }
        if items != "0-0" {
            stream.write_all(&file).await?;
        }
        stream.flush().await?;
        line.clear();
    }
    Ok(())
}
