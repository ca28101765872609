use std::net::SocketAddr;

/// Broker that a client can be pointed at.
pub trait Endpoint {
    /// Returns the address of the listener for plain MQTT.
    fn address(&self) -> SocketAddr;

    /// Returns the user and the password that the broker asks for, if it does.
    fn login(&self) -> Option<(&str, &str)> {
        None
    }

    /// Returns the URL of the broker as the command takes it, without the login.
    fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }
}

impl Endpoint for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}
