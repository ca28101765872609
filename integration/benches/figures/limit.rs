use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mqtt_ota_integration::Endpoint;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::nginx::Nginx;
use crate::sample::Sample;
use crate::steal::undisturbed;

/// Number of files that are fetched at once.
const AT_ONCE: usize = 64;
/// Maximum number of messages on their way. Mosquitto drops what exceeds 1,000 for one subscriber.
const ON_THE_WAY: usize = 500;
/// Maximum number of the publisher's messages that the broker has not acknowledged. rumqttc has the same default.
const IN_FLIGHT: u16 = 100;

/// Lower bound for any keeper on this machine: the time to pass the messages plus the time to fetch the files.
///
/// Both are measured between the times that they are compared with, as a machine's speed does not stay the same for
/// long.
pub(crate) struct Limit<'a, B> {
    broker: &'a B,
    nginx: &'a Nginx,
    extent: Extent,
    passing: Sample,
    fetching: Sample,
}

/// Number and size of what is passed and fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Number of devices.
    pub(crate) count: usize,
    /// Length of the devices' file, in bytes.
    pub(crate) bytes: usize,
    /// Number of the [`messages`] of each device that fall into the compared time.
    pub(crate) messages: usize,
}

impl<'a, B: Endpoint> Limit<'a, B> {
    pub(crate) fn new(broker: &'a B, nginx: &'a Nginx, extent: Extent) -> Self {
        Self { broker, nginx, extent, passing: Sample::default(), fetching: Sample::default() }
    }

    /// Measures both once more, and returns their sum.
    pub(crate) fn add(&mut self) -> Duration {
        let Extent { count, bytes, .. } = self.extent;
        let passing = undisturbed(|| pass(self.broker, self.extent));
        let fetching = undisturbed(|| fetch(self.nginx.address(), bytes, count));
        self.passing.add(passing);
        self.fetching.add(fetching);
        passing + fetching
    }
}

impl<B> fmt::Display for Limit<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passing, fetching, extent: Extent { count, messages, .. }, .. } = self;
        writeln!(f, "    pass the messages   {passing}, {} from one client to another", count * messages)?;
        writeln!(f, "    fetch the file      {fetching}, {count} times from nginx")?;
        let sum = passing.median() + fetching.median();
        write!(f, "    limit               {:8.1} ms, the sum", sum.as_secs_f64() * 1000.0)
    }
}

/// Measures fetching `/main.py`, of `bytes` bytes, `count` times over HTTP, with a connection each.
fn fetch(server: SocketAddr, bytes: usize, count: usize) -> Duration {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    runtime().block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..AT_ONCE {
            let next = Arc::clone(&next);
            clients.spawn(async move {
                let mut answer = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let mut stream = TcpStream::connect(server).await.expect("the server takes connections");
                    stream.write_all(b"GET /main.py HTTP/1.0\r\n\r\n").await.expect("the server reads");
                    answer.clear();
                    stream.read_to_end(&mut answer).await.expect("the server answers");
                    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > bytes, "a whole answer");
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client ends well");
        }
    });
    started.elapsed()
}

/// Measures passing the [`messages`] of the updates through `broker`, from one client to another. No other client
/// receives them.
fn pass(broker: &impl Endpoint, Extent { count, messages: each, .. }: Extent) -> Duration {
    let (publisher, mut publishing) = client(broker, "publisher");
    let (subscriber, mut subscribing) = client(broker, "subscriber");
    let window = Arc::new(Semaphore::new(ON_THE_WAY));
    runtime().block_on(async {
        subscriber.subscribe("+/LIM/#", QoS::AtLeastOnce).await.expect("the client runs");
        while !matches!(poll(&mut subscribing).await, Packet::SubAck(_)) {}
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                poll(&mut publishing).await;
            }
        });
        let started = Instant::now();
        let places = Arc::clone(&window);
        tasks.spawn(async move {
            for (topic, payload) in (0..count).flat_map(|device| messages(device).into_iter().take(each)) {
                places.acquire().await.expect("it stays open").forget();
                publisher.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("the client runs");
            }
            // A client that is dropped would end its connection.
            std::future::pending().await
        });
        let mut left = count * each;
        while left > 0 {
            if matches!(poll(&mut subscribing).await, Packet::Publish(_)) {
                left -= 1;
                window.add_permits(1);
            }
        }
        started.elapsed()
    })
}

/// Returns the messages of one device's update, as long as the real ones: an offer, the statuses `receiving` and
/// `installed`, and the announcement of the device that is back.
fn messages(device: usize) -> [(String, String); 4] {
    let topic = |end: &str| format!("LAMP{device:05}/LIM{end}");
    let (hash, id) = ("0123456789abcdef".repeat(4), format!("{device:016x}"));
    [
        (topic(""), format!("127.0.0.1|34567|set|{hash}|1|id={id}|size=78|set=1|delete=set|trial=3")),
        (topic("/status"), format!("receiving|set|{hash}|{id}")),
        (topic("/status"), format!("installed|set|{hash}|")),
        (
            topic("/device"),
            format!("v=1|client=mqtt_ota 0.1.0|addr=127.0.0.1|free=1000000|hash=sha256|set={hash}"),
        ),
    ]
}

fn client(broker: &impl Endpoint, id: &str) -> (AsyncClient, EventLoop) {
    let address = broker.address();
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_inflight(IN_FLIGHT).set_keep_alive(Duration::from_secs(600));
    AsyncClient::new(options, usize::from(IN_FLIGHT))
}

/// Returns the next packet from the broker.
async fn poll(events: &mut EventLoop) -> Packet {
    loop {
        if let Event::Incoming(packet) = events.poll().await.expect("the broker stays") {
            return packet;
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
