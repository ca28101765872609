use std::io::Write as _;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};

use crate::endpoint::Endpoint;
use crate::raw_device::sha1_hex;
use crate::runtime::runtime;

/// Time for which the sender waits for a connection.
const LISTENS: Duration = Duration::from_secs(3);

/// Sender of 2018 that devices must go on taking files from. It offers with QoS 0, waits three seconds for a
/// connection, sends the file as ASCII text, and closes after the last byte. It never learns the outcome.
#[derive(Debug)]
pub struct OriginalSender {
    listener: TcpListener,
}

impl OriginalSender {
    /// Takes a port, and keeps it for all files.
    pub fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a port is free") }
    }

    /// Sends `text` as `file` to the device called `name`. `fifth` is the fifth field, if there is one.
    ///
    /// # Panics
    ///
    /// Panics if no device connects within three seconds, or if the text is not ASCII.
    pub fn send(&self, broker: &impl Endpoint, name: &str, file: &str, text: &str, fifth: Option<&str>) {
        assert!(text.is_ascii(), "it reads its files as ASCII text");
        let address = self.listener.local_addr().expect("a bound listener has an address");
        let hash = sha1_hex(text.as_bytes());
        let fifth = fifth.map(|fifth| format!("|{fifth}")).unwrap_or_default();
        let offer = format!("{}|{}|{file}|{hash}{fifth}", address.ip(), address.port());

        let address = broker.address();
        let mut options = MqttOptions::new("original-sender", address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(5));
        runtime().block_on(async {
            let (client, mut events) = AsyncClient::new(options, 16);
            client.publish(format!("{name}/OTA"), QoS::AtMostOnce, false, offer).await.expect("a queue");
            client.disconnect().await.expect("a queue");
            while events.poll().await.is_ok() {}
        });

        let (accepted, connection) = channel();
        let listener = self.listener.try_clone().expect("a listener can be shared");
        thread::spawn(move || accepted.send(listener.accept()));
        let (mut stream, _) = connection
            .recv_timeout(LISTENS)
            .expect("a device connects within three seconds")
            .expect("a peer");
        stream.write_all(text.as_bytes()).expect("the device takes the bytes");
    }
}

impl Default for OriginalSender {
    fn default() -> Self {
        Self::new()
    }
}
