use std::net::SocketAddr;
use std::sync::Arc;

use rumqttc::mqttbytes::v4::{Connect, Packet};

use super::hub::Hub;

/// Keep-alive time, in seconds. No client sends a ping, as the time is longer than any test.
const KEEP_ALIVE: u16 = u16::MAX;

/// Broker of a fleet, and the connections to it.
#[derive(Debug)]
pub(super) struct At {
    pub(super) address: SocketAddr,
    pub(super) login: Option<(String, String)>,
    /// Connections that the devices share. Empty if each device has its own.
    pub(super) hubs: Vec<Arc<Hub>>,
}

impl At {
    /// Returns the packet that the client `id` begins its connection with.
    pub(super) fn connect(&self, id: &str) -> Packet {
        let mut connect = Connect::new(id);
        connect.keep_alive = KEEP_ALIVE;
        if let Some((user, password)) = &self.login {
            connect.set_login(user, password);
        }
        Packet::Connect(connect)
    }
}
