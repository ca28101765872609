use std::net::SocketAddr;
use std::sync::Arc;

use rumqttc::mqttbytes::v4::{Connect, Packet};

use super::hub::Hub;

/// In seconds. Nobody sends a ping: it is longer than any test.
const KEEP_ALIVE: u16 = u16::MAX;

/// The broker that a fleet is at, and the ways to it.
#[derive(Debug)]
pub(super) struct At {
    pub(super) address: SocketAddr,
    pub(super) login: Option<(String, String)>,
    /// The connections that the devices share; none where each has its own.
    pub(super) hubs: Vec<Arc<Hub>>,
}

impl At {
    /// What the client `id` begins its connection with.
    pub(super) fn connect(&self, id: &str) -> Packet {
        let mut connect = Connect::new(id);
        connect.keep_alive = KEEP_ALIVE;
        if let Some((user, password)) = &self.login {
            connect.set_login(user, password);
        }
        Packet::Connect(connect)
    }
}
