use std::time::Duration;

/// Options of a [`Receiver`](super::Receiver).
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// MQTT client id. Default: `None`, which stands for `mqtt-ota-` followed by the device's name.
    pub client_id: Option<String>,
    /// Time to wait for a sender to accept the connection. Default: 10 s.
    pub connect_timeout: Duration,
    /// Longest time for which a sender may send nothing, counted from its last byte. Default: 20 s.
    pub idle_timeout: Duration,
    /// Lowest rate of a sender, in bytes per second. Default: 1 KiB per second.
    ///
    /// The rate is averaged over each minute in which the receiver waits for the sender. A slower sender is given up.
    /// 0 accepts any rate.
    pub min_rate: u64,
    /// Longest file, in bytes. Default: 4 GiB.
    ///
    /// A plain offer does not say how long its file is, and a stream may never end.
    pub max_size: u64,
    /// Number of lost connections after which an extended offer fails. Default: 4.
    ///
    /// The count begins anew with every byte that comes.
    pub attempts: u32,
    /// Pause before a lost connection is made anew. Default: 1 s.
    pub retry_pause: Duration,
    /// True if a set is confirmed automatically, once it has booted and the device has announced itself. Default:
    /// true.
    ///
    /// Otherwise only [`Receiver::confirm`](super::Receiver::confirm) confirms a set.
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
