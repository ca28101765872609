use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::endpoint::Endpoint;
use crate::process::Process;

/// Running `mqtt-ota broker` on a free port of the loopback address. Killed when dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    process: Process,
    address: SocketAddr,
    login: Option<(&'static str, &'static str)>,
    _home: TempDir,
}

impl EmbeddedBroker {
    /// Starts a broker that lets everybody in.
    pub fn start() -> Self {
        Self::with(MqttOta::run("broker"), None)
    }

    /// Starts a broker that keeps announcements in `file`, and logs each write of the file.
    pub fn keeping(file: &Path) -> Self {
        Self::with(MqttOta::run("broker").arg("-vv").arg("--announcements").arg(file), None)
    }

    /// Starts a broker with the arguments, variables and settings of a test.
    pub fn of(command: MqttOta) -> Self {
        Self::with(command, None)
    }

    /// Starts a broker on the address of another one, which has gone.
    pub fn at(command: MqttOta, address: SocketAddr) -> Self {
        Self::started(command.arg("--listen").arg(address.to_string()), None)
    }

    /// Starts a broker that asks for this user and password.
    pub fn with_login(user: &'static str, password: &'static str) -> Self {
        Self::with(MqttOta::run("broker"), Some((user, password)))
    }

    fn with(command: MqttOta, login: Option<(&'static str, &'static str)>) -> Self {
        let mut command = command.args(["--listen", "127.0.0.1:0"]);
        if let Some((user, password)) = login {
            command = command.env("MQTT_OTA_USER", user).env("MQTT_OTA_PASSWORD", password);
        }
        Self::started(command, login)
    }

    fn started(command: MqttOta, login: Option<(&'static str, &'static str)>) -> Self {
        let (process, home) = command.start();
        let address = process.stderr().wait_until("its address", |text| {
            let after = text.split("ready on ").nth(1)?;
            after.split(',').next()?.parse().ok()
        });
        Self { process, address, login, _home: home }
    }

    /// Returns the running command alone, to see how it ends.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// Returns the running broker.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Endpoint for EmbeddedBroker {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn login(&self) -> Option<(&str, &str)> {
        self.login
    }
}
