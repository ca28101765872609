use std::net::SocketAddr;

/// A broker that a client can be pointed at.
pub trait Endpoint {
    /// Where it listens for plain MQTT.
    fn address(&self) -> SocketAddr;

    /// The user and the password that it asks for.
    fn login(&self) -> Option<(&str, &str)> {
        None
    }

    /// Its address as the command takes it, without the login.
    fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }
}

impl Endpoint for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}
