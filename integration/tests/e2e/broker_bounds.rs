//! What strangers can make the embedded broker's memory grow to, and what is left when they have gone. Prints the figures
//! of `docs/limits.md`; `MQTT_OTA_THOROUGH=1` is the full size.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use mqtt_ota_integration::{Client, EmbeddedBroker, Endpoint as _, GUARD};

/// Ticks of the clock that Linux counts processor time with.
const TICKS: f64 = 100.0;

/// MiB that the sessions of clients that are away take: the 1,000 that are kept, each a connection of rumqttd's router.
const AWAY: f64 = 64.0;

/// The resident memory of a process, in MiB.
fn memory(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The processor time of a process, in seconds.
fn processor(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let more = left >= 128;
        bytes.push(u8::try_from(left % 128).unwrap() | if more { 128 } else { 0 });
        left /= 128;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A client that says what no library lets it say.
struct Stranger(TcpStream);

impl Stranger {
    fn connect(broker: SocketAddr, id: &str, clean: bool, will: Option<&[u8]>) -> Self {
        let mut stranger = Self(TcpStream::connect(broker).unwrap());
        stranger.0.set_read_timeout(Some(GUARD)).unwrap();
        let flags = if clean { 2 } else { 0 } | if will.is_some() { 4 } else { 0 };
        let mut body = [text(b"MQTT"), vec![4, flags, 0, 0], text(id.as_bytes())].concat();
        if let Some(will) = will {
            body.extend([text(b"will"), text(will)].concat());
        }
        stranger.say(&packet(0x10, &body));
        assert_eq!(stranger.hear(), 0x20);
        stranger
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The first byte of the next packet.
    fn hear(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        let (first, mut length, mut shift) = (byte[0], 0, 0);
        loop {
            self.0.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        first
    }

    fn subscribe(&mut self, filters: impl Iterator<Item = String>, qos: u8) {
        let filters = filters.flat_map(|filter| [text(filter.as_bytes()), vec![qos]].concat());
        let body: Vec<u8> = [0, 1].into_iter().chain(filters).collect();
        self.say(&packet(0x82, &body));
        while self.hear() != 0x90 {}
    }

    fn publish(&mut self, topic: &str, payload: &[u8], flags: u8) {
        let id = if flags & 6 == 0 { &[][..] } else { &[0, 1] };
        self.say(&packet(0x30 | flags, &[&text(topic.as_bytes()), id, payload].concat()));
    }

    /// Waits until the broker has taken all that was said.
    fn settle(&mut self) {
        self.say(&[0xc0, 0]);
        while self.hear() != 0xd0 {}
    }

    fn leave(mut self) {
        self.say(&[0xe0, 0]);
        self.gone();
    }

    /// Closes the connection, and waits until the broker has closed it too.
    fn gone(mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
        let _ = self.0.read_to_end(&mut Vec::new());
    }
}

/// Measures the broker around what strangers do.
struct Meter {
    broker: EmbeddedBroker,
    process: u32,
    start: f64,
}

impl Meter {
    fn start() -> Self {
        let broker = EmbeddedBroker::start();
        let process = broker.process().id();
        Self { broker, process, start: memory(process) }
    }

    /// Runs an attack, prints the figures, and asserts that no more memory was taken than `most` MiB.
    #[track_caller]
    fn attack<T>(&self, what: &str, most: f64, attack: impl FnOnce(SocketAddr) -> T) -> T {
        let (before, used) = (memory(self.process), processor(self.process));
        let left = attack(self.broker.address());
        let (after, used) = (memory(self.process), processor(self.process) - used);
        println!("| {what} | {before:.0} to {after:.0} MiB | {used:.1} s |");
        assert!(after - self.start < most, "{what}: {} to {after} MiB", self.start);
        // It serves others all the while.
        Client::connect(&self.broker, "other").publish("LAMP/OTA", "x");
        left
    }
}

#[test]
fn what_strangers_leave_behind_has_a_bound() {
    let (scale, meter) = (if mqtt_ota_integration::thorough() { 10 } else { 1 }, Meter::start());
    let filters = 12_000 * scale;
    meter.attack(&format!("{filters} filters by 30 clients that left"), 16.0, |broker| {
        for client in 0..30 {
            let mut stranger = Stranger::connect(broker, &format!("f{client}"), true, None);
            for part in 0..filters / 3_000 {
                stranger.subscribe((0..100).map(|n| format!("x{client}/{part}/{n}")), 1);
            }
            stranger.leave();
        }
    });
    let sessions = 2_000 * scale;
    meter.attack(&format!("{sessions} sessions that outlive their clients"), AWAY, |broker| {
        for n in 0..sessions {
            Stranger::connect(broker, &format!("s{n}"), false, None).leave();
        }
    });
    let retained = 20_000 * scale;
    meter.attack(&format!("{retained} retained messages of 1 kB"), AWAY + 40.0, |broker| {
        let mut stranger = Stranger::connect(broker, "r", true, None);
        for n in 0..retained {
            stranger.publish(&format!("r/{n}"), &[b'x'; 1_000], 1);
        }
        stranger.settle();
    });
    let each = 40 * scale;
    meter.attack(&format!("{each} messages of 10 kB for each of 50 that sleep"), AWAY + 136.0, |broker| {
        for client in 0..50 {
            let mut stranger = Stranger::connect(broker, &format!("q{client}"), false, None);
            stranger.subscribe([format!("q/{client}")].into_iter(), 1);
            stranger.leave();
        }
        let mut stranger = Stranger::connect(broker, "p", true, None);
        for n in 0..50 * each {
            stranger.publish(&format!("q/{}", n % 50), &[b'x'; 10_000], 2);
            if n % 50 == 0 {
                stranger.settle();
            }
        }
        stranger.settle();
    });
}

#[test]
fn what_strangers_hold_for_the_time_of_their_connection_has_a_bound() {
    let (scale, meter) = (if mqtt_ota_integration::thorough() { 10 } else { 1 }, Meter::start());
    let messages = 100 * scale;
    let deaf =
        meter.attack(&format!("{messages} messages of 30 kB for 50 that read nothing"), 160.0, |broker| {
            let mut deaf: Vec<_> =
                (0..50).map(|n| Stranger::connect(broker, &format!("d{n}"), true, None)).collect();
            deaf.iter_mut().for_each(|stranger| stranger.subscribe(["d".to_owned()].into_iter(), 0));
            let mut stranger = Stranger::connect(broker, "p", true, None);
            (0..messages).for_each(|_| stranger.publish("d", &[b'x'; 30_000], 0));
            stranger.settle();
            deaf
        });
    drop(deaf);
    let clients = 90 * scale;
    let most = 64.0 + 0.2 * f64::from(clients);
    let wills = meter.attack(&format!("{clients} wills of 60 kB"), most, |broker| {
        let connect = |n| Stranger::connect(broker, &format!("w{n}"), true, Some(&[b'x'; 60_000]));
        (0..clients).map(connect).collect::<Vec<_>>()
    });
    wills.into_iter().for_each(Stranger::gone);
    let half = [&[0x10, 0xff, 0xff, 3][..], &text(b"MQTT"), &[4, 2, 0, 0], &[b'x'; 60_000]].concat();
    meter.attack(&format!("{clients} halves of a CONNECT packet of 65 kB"), most, |broker| {
        for _ in 0..clients {
            let mut socket = TcpStream::connect(broker).unwrap();
            socket.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            socket.write_all(&half).unwrap();
        }
    });
}
