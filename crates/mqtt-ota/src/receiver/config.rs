use std::time::Duration;

/// How a receiver behaves.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// The MQTT client id; None: the device's name behind `mqtt-ota-`.
    pub client_id: Option<String>,
    /// How long to wait for a sender to accept the connection. 10 s.
    pub connect_timeout: Duration,
    /// How long a sender may send nothing. Every byte renews it. 20 s.
    pub idle_timeout: Duration,
    /// The least rate of a sender, in bytes a second, averaged over each minute in which it is waited for; a slower one
    /// is given up. 0 is any rate. 1 KiB.
    pub min_rate: u64,
    /// The longest file, in bytes: a plain offer does not say how long its file is, and a stream may not
    /// end. 4 GiB.
    pub max_size: u64,
    /// How many connections in a row may bring nothing before an extended offer has failed. Each that brings
    /// anything begins the count anew. 4.
    pub attempts: u32,
    /// How long to wait before a lost connection is made anew. 1 s.
    pub retry_pause: Duration,
    /// A set is confirmed by itself once it has booted and the device has announced itself; else only by
    /// [`Receiver::confirm`](super::Receiver::confirm). Yes.
    pub confirms: bool,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            client_id: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(20),
            min_rate: 1024,
            max_size: 4 << 30,
            attempts: 4,
            retry_pause: Duration::from_secs(1),
            confirms: true,
        }
    }
}
