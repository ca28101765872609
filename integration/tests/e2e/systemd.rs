//! Services: what a service manager is told, and the units of docs/systemd.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mqtt_ota_integration::{
    Client, EmbeddedBroker, Endpoint as _, GUARD, MqttOta, Process, Scene, TakenPort, binary, free_port,
};
use tempfile::TempDir;

/// A folder's name that would be a message of its own.
const HOSTILE: &str = "devices\nMAINPID=1";

/// The most that `systemd-analyze security` may find, in tenths: 0 is nothing, 100 all.
const EXPOSURE: &str = "15";

/// The end of the service manager that a service talks to.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(GUARD)).unwrap();
        Self { socket, folder }
    }

    fn of(&self, command: MqttOta) -> MqttOta {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"))
    }

    /// The lines of the next message.
    fn hears(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("the service says something");
        String::from_utf8_lossy(bytes.get(..length).unwrap()).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_ready(&self, status: &str) {
        assert_eq!(self.hears(), ["READY=1", &format!("STATUS={status}")]);
    }

    /// Stops a service, which says nothing else but that.
    #[track_caller]
    fn stops(&self, service: Process) {
        service.terminate();
        assert_eq!(self.hears(), ["STOPPING=1"]);
        service.wait().assert_status(0);
    }
}

fn folder(scene: &Scene, name: &str) -> PathBuf {
    let folder = scene.folder().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn a_service_is_not_ready_before_its_broker_answers() {
    let root = tempfile::tempdir().unwrap();
    let keep = MqttOta::run("keep").arg(root.path());
    let receive = MqttOta::run("receive").args(["--as", "GATEWAY", "--root"]).arg(root.path());
    for command in [keep, receive] {
        let (silent, manager) = (TakenPort::take(), Manager::new());
        let (service, _home) = manager.of(command).broker(&silent.address()).start();
        let _connection = silent.accept();
        manager.stops(service);
    }
}

#[test]
fn a_keeper_is_ready_when_it_is_at_work_and_another_when_it_stands_by() {
    let scene = Scene::new();
    let client = Client::connect(&scene.broker, "listener");
    let started = |manager: &Manager, folder: &Path| {
        manager.of(scene.command("keep").arg(folder).args(["--name", "home"])).start()
    };
    let (first, second) = (Manager::new(), Manager::new());
    let (at_work, _home) = started(&first, &folder(&scene, HOSTILE));
    let place = scene.folder().display();
    let url = scene.broker.url();
    first.assert_ready(&format!("keeping {place}/devices\\nMAINPID=1 at {url}"));
    client.subscribe("mqtt-ota/keeper/home");
    assert!(client.next().retained);

    let (other, _home) = started(&second, &folder(&scene, "copy"));
    second.assert_ready(&format!("standing by for another keeper of {place}/copy at {url}"));
    first.stops(at_work);
    second.assert_ready(&format!("keeping {place}/copy at {url}"));
    second.stops(other);
}

#[test]
fn a_keeper_whose_folder_cannot_be_read_is_never_ready() {
    let (scene, manager) = (Scene::new(), Manager::new());
    let missing = scene.folder().join("missing");
    manager.of(scene.command("keep").arg(missing)).finish().assert_status(1);
    manager.socket.set_nonblocking(true).unwrap();
    assert_eq!(manager.socket.recv(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_broker_is_ready_when_it_can_be_connected_to() {
    let devices = tempfile::tempdir().unwrap();
    for keep in [None, Some(devices.path())] {
        let manager = Manager::new();
        let address = format!("127.0.0.1:{}", free_port());
        let command = MqttOta::run("broker").args(["--listen", &address]);
        let (command, status) = match keep {
            None => (command, format!("a broker on {address}")),
            Some(folder) => (
                command.arg("--keep").arg(folder),
                format!("keeping {}, for the devices of the broker on {address}", folder.display()),
            ),
        };
        let (service, _home) = manager.of(command).start();
        manager.assert_ready(&status);
        MqttOta::run("devices").env("MQTT_OTA_BROKER", format!("mqtt://{address}")).finish().assert_status(0);
        manager.stops(service);
    }
}

#[test]
fn a_receiver_is_ready_when_it_is_announced_and_what_it_runs_does_not_speak_for_it() {
    let (scene, manager) = (Scene::new(), Manager::new());
    let command = scene.command("receive").args(["--as", "GATEWAY", "--json", "--root"]);
    let command = command.arg(folder(&scene, HOSTILE)).args(["--exec", "test -z \"$NOTIFY_SOCKET\""]);
    let (service, _home) = manager.of(command).start();
    manager.assert_ready(&format!("GATEWAY is online at {}", scene.broker.url()));
    scene.command("devices").finish().assert_mentions("GATEWAY");
    scene.send(scene.file("main.py", "x"), "GATEWAY").finish().assert_status(0);
    service.stdout().wait_for("\"event\":\"ran\",\"ok\":true");
    // It has announced itself again, as after a boot.
    manager.assert_ready(&format!("GATEWAY is online at {}", scene.broker.url()));
    manager.stops(service);
}

#[test]
fn a_service_manager_that_is_not_there_stops_nobody() {
    let nowhere = tempfile::tempdir().unwrap();
    let command = MqttOta::run("broker").env("NOTIFY_SOCKET", nowhere.path().join("notify"));
    let broker = EmbeddedBroker::of(command);
    broker.process().stderr().wait_for("the service manager cannot be told");
    Client::connect(&broker, "device");
}

/// A copy of the units, for the binary that was built.
struct Units(TempDir);

impl Units {
    const NAMES: [&str; 2] = ["mqtt-ota-keep.service", "mqtt-ota-broker.service"];
    const PASSWORD: &str = "mqtt-ota-.service.d/password.conf";

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mqtt-ota-.service.d")).unwrap();
        for name in Self::NAMES.into_iter().chain([Self::PASSWORD]) {
            let unit = fs::read_to_string(original(name)).unwrap();
            let binary = binary().to_str().unwrap();
            fs::write(folder.path().join(name), unit.replace("/usr/local/bin/mqtt-ota", binary)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What `systemd-analyze verify` has to say about them; None where there is no such program.
    fn faults(&self) -> Option<String> {
        let mut command = Command::new("systemd-analyze");
        // The system's own units come after ours: what they need is among them.
        command.env("SYSTEMD_UNIT_PATH", format!("{}:", self.0.path().display()));
        let output = output(command.arg("verify").args(Self::NAMES.map(|name| self.path(name))))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<_> = said.lines().filter(|line| line.contains("mqtt-ota")).collect();
        assert!(output.status.success() || !ours.is_empty(), "{output:?}");
        Some(ours.join("\n"))
    }
}

fn original(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/systemd")).join(name)
}

/// Runs a program that only systems with systemd have.
fn output(command: &mut Command) -> Option<Output> {
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Of what a test that passes prints, only this is seen.
            let _ = writeln!(std::io::stderr(), "SKIPPED: there is no systemd-analyze here");
            None
        }
        output => Some(output.unwrap()),
    }
}

#[test]
fn the_units_are_understood_by_systemd() {
    let units = Units::new();
    let Some(faults) = units.faults() else { return };
    assert_eq!(faults, "");
    // It does look at all of them.
    for name in Units::NAMES.into_iter().chain([Units::PASSWORD]) {
        let unit = fs::read_to_string(units.path(name)).unwrap();
        fs::write(units.path(name), format!("{unit}\n[Service]\nMisspelt=yes\n")).unwrap();
        assert!(units.faults().unwrap().contains("Misspelt"), "{name}");
        fs::write(units.path(name), unit).unwrap();
    }
}

#[test]
fn the_units_leave_little_exposed() {
    for name in Units::NAMES {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE]);
        let Some(output) = output(command.arg(original(name))) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Starts what a unit says, with its variables, and its folders at other places.
fn started_as(manager: &Manager, place: &Path, files: &[&str], more: &[&str]) -> (Process, TempDir) {
    let texts = files.iter().map(|file| fs::read_to_string(original(file)).unwrap());
    let place = place.to_str().unwrap();
    let text = texts.collect::<String>().replace("/etc/mqtt-ota", place);
    let text = text.replace("%S/mqtt-ota", place).replace("%d", place);
    let values = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key));
    let start = values("ExecStart=/usr/local/bin/mqtt-ota ").next().unwrap();
    let (subcommand, args) = start.split_once(' ').unwrap_or((start, ""));
    let mut command = MqttOta::run(subcommand).args(args.split_whitespace()).args(more);
    for (name, value) in values("Environment=").map(|variable| variable.split_once('=').unwrap()) {
        command = command.env(name, value);
    }
    manager.of(command).start()
}

#[test]
fn the_units_start_what_they_are_for_and_ask_for_the_password() {
    let place = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    fs::create_dir(place.path().join("devices")).unwrap();
    let config = format!("broker = \"mqtt://{address}\"\nuser = \"me\"\n");
    fs::write(place.path().join("config.toml"), config).unwrap();
    fs::write(place.path().join("password"), "secret\n").unwrap();
    let (broker, keeper) = (Manager::new(), Manager::new());
    let files = ["mqtt-ota-broker.service", Units::PASSWORD];
    let (serving, _home) = started_as(&broker, place.path(), &files, &["--listen", &address]);
    broker.assert_ready(&format!("a broker on {address}"));
    let anonymous = MqttOta::run("devices").env("MQTT_OTA_BROKER", format!("mqtt://{address}")).finish();
    anonymous.assert_status(1);
    let files = ["mqtt-ota-keep.service", Units::PASSWORD];
    let (keeping, _home) = started_as(&keeper, place.path(), &files, &[]);
    keeper.assert_ready(&format!("keeping {}/devices at mqtt://{address}", place.path().display()));
    keeper.stops(keeping);
    broker.stops(serving);
}
