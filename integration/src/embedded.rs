use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::command::MqttOta;
use crate::endpoint::Endpoint;
use crate::process::Process;

/// `mqtt-ota broker` on a free port of the loopback address. Killed when dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    process: Process,
    address: SocketAddr,
    login: Option<(&'static str, &'static str)>,
    _home: TempDir,
}

impl EmbeddedBroker {
    /// Starts one that lets everybody in.
    pub fn start() -> Self {
        Self::with(MqttOta::run("broker"), None)
    }

    /// Starts one that keeps announcements in `file`, and logs each time that it writes it.
    pub fn keeping(file: &Path) -> Self {
        Self::with(MqttOta::run("broker").arg("-vv").arg("--announcements").arg(file), None)
    }

    /// Starts one with arguments, variables and settings that a test has given.
    pub fn of(command: MqttOta) -> Self {
        Self::with(command, None)
    }

    /// Starts one in the place of another, which has gone.
    pub fn at(command: MqttOta, address: SocketAddr) -> Self {
        Self::started(command.arg("--listen").arg(address.to_string()), None)
    }

    /// Starts one that asks for this user and password.
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

    /// The running command alone, to see how it ends.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// The running broker.
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
