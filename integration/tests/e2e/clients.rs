//! The MQTT clients that the companion client works with: the lines of its README for each, as they stand but for the
//! broker, the folder and the address, on MicroPython or CPython, with the client itself.
//!
//! mqtt_as is in no package registry: another one stands in for it, unless MQTT_AS names a checkout of
//! github.com/peterhinch/micropython-mqtt. All tests in asyncio take that then.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use mqtt_ota_integration::{
    Board, Client, DemoDevice, Endpoint as _, Feeder, FileSystem, Scene, brought, companion, free_port,
    sha1_hex,
};

/// What the README's lines have for the broker, for the folder on a computer, and for its address.
const BROKER: &str = "\"192.168.1.10\"";
const FOLDER: &str = "\"/home/me/app\"";
const ADDRESS: &str = "\"192.168.1.7\"";

/// The lines of the README in which there is `line`.
fn lines(line: &str) -> String {
    let readme = fs::read_to_string(companion().join("README.md")).unwrap();
    let blocks = readme.split("```python\n").skip(1).map(|block| block.split("```").next().unwrap());
    let found: Vec<_> = blocks.filter(|block| block.lines().any(|found| found.starts_with(line))).collect();
    assert_eq!(found.len(), 1, "{line}: {found:?}");
    found[0].to_owned()
}

fn replaced(lines: &str, old: &str, new: &str) -> String {
    assert_eq!(lines.matches(old).count(), 1, "{old} in {lines}");
    lines.replace(old, new)
}

/// A broker, and someone who hears what the device `name` says.
struct Home {
    scene: Scene,
    client: Client,
    name: &'static str,
}

impl Home {
    fn new(name: &'static str) -> Self {
        let scene = Scene::new();
        let client = listener(&scene, name);
        Self { scene, client, name }
    }

    fn hears(&self) -> String {
        self.client.next().text()
    }

    /// The device is there: it says so after each connection.
    fn is_announced(&self) {
        while !self.hears().starts_with("v=1|client=mqtt_ota ") {}
    }

    /// The broker is killed, and started again.
    fn broker_restarts(&mut self) {
        self.scene.broker.stop();
        self.scene.broker.start_again();
        self.client = listener(&self.scene, self.name);
        self.is_announced();
    }

    /// The test's broker in place of the user's.
    fn with_broker(&self, lines: &str, before_port: &str) -> String {
        let address = self.scene.broker.address();
        replaced(lines, BROKER, &format!("\"{}\"{before_port}{}", address.ip(), address.port()))
    }
}

fn listener(scene: &Scene, name: &str) -> Client {
    let client = Client::connect(&scene.broker, "listener");
    client.subscribe(&format!("{name}/OTA/+"));
    client
}

/// A board that runs the README's lines.
struct OnBoard {
    home: Home,
    board: Board,
    lines: String,
}

impl OnBoard {
    fn with(lines: &str) -> Self {
        let before_port = if lines.contains("mqtt_as") { "; config[\"port\"] = " } else { ", " };
        let home = Home::new("NIGHTLAMP");
        let lines = home.with_broker(lines, before_port);
        let main = home.scene.file("main.py", &lines);
        let mut board =
            Board::flash(FileSystem::Lfs2, main.to_str().unwrap(), &home.scene.broker, home.name, "");
        board.power_on();
        home.is_announced();
        Self { home, board, lines }
    }

    /// Sends another version with the command, until the device is back online.
    fn updates(&mut self) {
        self.lines.push_str("# another version\n");
        let file = self.home.scene.file("main.py", &self.lines);
        let (sending, _home) = self.home.scene.send(file, self.home.name).arg("--wait-boot").start();
        self.board.resets();
        self.board.power_on();
        sending.wait().assert_status(0).assert_mentions("main.py installed").assert_mentions("back online");
        self.board.power_off();
        assert_eq!(self.board.read("main.py"), self.lines.as_bytes());
        self.board.power_on();
        self.home.is_announced();
    }
}

#[test]
fn the_lines_with_umqtt_simple_take_an_update() {
    OnBoard::with(&lines("from umqtt.simple import")).updates();
}

#[test]
fn the_lines_with_umqtt_robust_take_an_update_also_after_the_broker_s_restart() {
    let mut device = OnBoard::with(&lines("from umqtt.robust import"));
    device.updates();
    device.home.broker_restarts();
    device.updates();
}

#[test]
fn the_lines_with_umqtt_simple2_take_an_update_also_after_the_broker_s_restart() {
    let mut device = OnBoard::with(&lines("from umqtt.simple2 import"));
    device.updates();
    device.home.broker_restarts();
    device.updates();
}

#[test]
fn an_application_with_umqtt_simple2_goes_on_and_hears_what_is_its_own() {
    let own = "client.check_msg()\n        turns = turns + 1 if connected == 2 else client.subscribe(b\"lamp\") or 0\
               \n        connected = 2\n        turns == 50 and print(\"went on\")";
    let device = OnBoard::with(&replaced(&lines("from umqtt.simple2 import"), "client.check_msg()", own));
    device.board.process().stdout().wait_for("went on");
    device.home.client.publish("lamp", "on");
    device.board.process().stdout().wait_for("b'lamp' b'on' False False");
}

#[test]
fn the_lines_with_mqtt_as_take_an_update_also_after_the_broker_s_restart() {
    let mut device = OnBoard::with(&lines("from mqtt_as import"));
    device.updates();
    device.home.broker_restarts();
    device.home.client.publish("NIGHTLAMP/lamp", "on");
    device.board.process().stdout().wait_for("b'NIGHTLAMP/lamp' b'on'");
    device.updates();
}

#[test]
fn a_broker_that_goes_away_does_not_stop_an_update_with_mqtt_as() {
    let mut device = OnBoard::with(&lines("from mqtt_as import"));
    let feeder = Feeder::listen();
    let next = "print(\"another version runs\")\n".to_owned() + &device.lines;
    device.home.client.publish("NIGHTLAMP/OTA", feeder.offer("main.py", next.as_bytes()));
    let stream = feeder.accept();
    while !device.home.hears().starts_with("receiving|") {}
    device.home.scene.broker.stop();
    (&stream).write_all(next.as_bytes()).unwrap();
    drop(stream);
    device.board.resets();
    device.board.power_on();
    device.board.process().stdout().wait_for("another version runs");
}

fn mosquitto_client(device: &OnBoard, program: &str, arguments: &[&str]) -> Output {
    let port = device.home.scene.broker.address().port().to_string();
    let output = Command::new(program).args(["-V", "5", "-p", &port]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// The README's lines with mqtt_as in MQTT 5, if there is the real one.
fn version_5() -> Option<String> {
    brought("MQTT_AS", "mqtt_as with MQTT 5, from a checkout of github.com/peterhinch/micropython-mqtt")?;
    let client = "client = MQTTClient(config)\n";
    let more = lines("config[\"mqttv5\"] = True");
    Some(replaced(&lines("from mqtt_as import"), client, &(more + client)))
}

#[test]
fn the_lines_with_mqtt_as_in_mqtt_5_take_an_update_also_after_the_broker_s_restart() {
    let Some(lines) = version_5() else { return };
    let mut device = OnBoard::with(&lines);
    device.updates();
    device.home.broker_restarts();
    let user = ["-D", "PUBLISH", "user-property", "from", "a friend"];
    mosquitto_client(&device, "mosquitto_pub", &[&["-t", "NIGHTLAMP/lamp", "-m", "on"][..], &user].concat());
    device.board.process().stdout().wait_for("b'NIGHTLAMP/lamp' b'on' {38: {'from': 'a friend'}}");
    device.updates();
}

#[test]
fn an_application_with_mqtt_as_in_mqtt_5_publishes_properties_of_its_own() {
    let Some(lines) = version_5() else { return };
    let said = "await client.publish(\"NIGHTLAMP/said\", message, True, 1, {0x26: {\"by\": \"the lamp\"}})";
    let device = OnBoard::with(&replaced(&lines, "print(topic, message, *properties)", said));
    mosquitto_client(&device, "mosquitto_pub", &["-t", "NIGHTLAMP/lamp", "-m", "on"]);
    let heard = mosquitto_client(
        &device,
        "mosquitto_sub",
        &["-t", "NIGHTLAMP/said", "-F", "%P %p", "-C", "1", "-W", "30"],
    );
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "by:the lamp on\n");
}

/// A computer that runs the README's lines, as a file in its folder.
struct OnLinux {
    home: Home,
    device: DemoDevice,
    lines: String,
}

impl OnLinux {
    fn with(lines: &str) -> Self {
        let home = Home::new("HALL");
        let folder = format!("{:?}", home.scene.folder());
        let lines = replaced(&home.with_broker(lines, ", "), FOLDER, &folder);
        let lines = replaced(&lines, ADDRESS, "\"127.0.0.1\"");
        let device = DemoDevice::start_python(&home.scene.file("main.py", &lines));
        home.is_announced();
        Self { home, device, lines }
    }

    fn folder(&self) -> &Path {
        self.home.scene.folder()
    }

    /// Sends another version with the command, until the device is back online.
    fn updates(&mut self) {
        self.lines.push_str("# another version\n");
        let next = self.home.scene.file("next", &self.lines);
        let sent = self.home.scene.send(next, "HALL").args(["--as", "main.py", "--wait-boot"]).finish();
        sent.assert_status(0).assert_mentions("installed").assert_mentions("back online");
        assert_eq!(fs::read_to_string(self.folder().join("main.py")).unwrap(), self.lines);
    }
}

const ON_LINUX: [&str; 2] = ["import paho.mqtt.client", "import aiomqtt"];

#[test]
fn the_lines_on_linux_take_an_update_also_after_the_broker_s_restart() {
    for client in ON_LINUX {
        let mut device = OnLinux::with(&lines(client));
        device.updates();
        device.home.broker_restarts();
        device.updates();
    }
}

#[test]
fn a_broker_that_goes_away_does_not_stop_an_update_on_linux() {
    for client in ON_LINUX {
        let mut device = OnLinux::with(&lines(client));
        let feeder = Feeder::listen();
        let next = "print(\"another version runs\")\n".to_owned() + &device.lines;
        device.home.client.publish("HALL/OTA", feeder.offer("main.py", next.as_bytes()));
        let stream = feeder.accept();
        while !device.home.hears().starts_with("receiving|") {}
        device.home.scene.broker.stop();
        (&stream).write_all(next.as_bytes()).unwrap();
        drop(stream);
        device.device.process().stdout().wait_for("another version runs");
        device.home.scene.broker.start_again();
        device.home.client = listener(&device.home.scene, "HALL");
        device.home.is_announced();
        device.home.client.publish("HALL/OTA", format!("127.0.0.1|{}|x|{}|0", free_port(), sha1_hex(b"x")));
        while !device.home.hears().starts_with("failed|x|") {}
    }
}
