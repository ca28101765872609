//! `docs/broker.md`: each of its blocks as it stands, with real Mosquitto, and every command under its own user.
#![cfg(unix)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mqtt_ota_integration::{Client, Endpoint, GUARD, Mosquitto, MqttOta, Process, Settings};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/broker.md");

/// The blocks of a language, in their order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let rest = PAGE.split(fence.as_str()).skip(1);
    rest.map(|block| block.split_once("```").expect("a block ends").0).collect()
}

/// Runs a block in a folder that stands for `/etc/mosquitto`.
fn run(block: &str, folder: &Path) {
    let block = block.replace("/etc/mosquitto/", &format!("{}/", folder.display()));
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &block]).current_dir(folder).env("PATH", path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The broker of the page, with its users and its access list.
struct Page {
    mosquitto: Mosquitto,
    _files: TempDir,
}

impl Page {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let [passwords, ..] = blocks("sh")[..] else { panic!("no commands") };
        let [configuration, ..] = blocks("conf")[..] else { panic!("no configuration") };
        let [access, ..] = blocks("text")[..] else { panic!("no access list") };
        run(passwords, files.path());
        fs::write(files.path().join("access"), access).unwrap();
        let listed = ["passwords", "access"].map(|name| files.path().join(name));
        let settings =
            Settings { whole: Some(configuration.to_owned()), files: listed.into(), ..Settings::default() };
        Self { mosquitto: Mosquitto::with(settings), _files: files }
    }

    /// A command of one of the page's users.
    fn command(&self, subcommand: &str, user: &str) -> MqttOta {
        as_user(MqttOta::run(subcommand).broker(&self.mosquitto), user)
    }

    /// A device under its own user, which is announced.
    fn device(&self, name: &str, root: &Path) -> (Process, TempDir) {
        let command = self.command("receive", name).args(["--json", "--as", name]).arg("--root").arg(root);
        let (process, home) = command.start();
        process.stdout().wait_for("\"online\"");
        (process, home)
    }

    /// What the broker has refused so far.
    fn refusals(&self) -> String {
        let log = self.mosquitto.process().stderr().text();
        log.lines().filter(|line| line.contains("Denied") || line.contains("denied")).collect()
    }
}

/// The password that the page gives a user.
fn password(user: &str) -> &'static str {
    let line = PAGE.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{user} has no password on the page"))
}

fn as_user(command: MqttOta, user: &str) -> MqttOta {
    command.env("MQTT_OTA_USER", user).env("MQTT_OTA_PASSWORD", password(user))
}

/// The broker of the page as one of its users reaches it.
struct As<'a>(&'a Mosquitto, &'a str);

impl Endpoint for As<'_> {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn login(&self) -> Option<(&str, &str)> {
        Some((self.1, password(self.1)))
    }
}

#[test]
fn every_command_has_what_it_needs_under_its_own_user() {
    let page = Page::start();
    let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (device, _home) = page.device("NIGHTLAMP", root.path());
    let folder = source.path().join("devices/NIGHTLAMP");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.py"), "x = 1\n").unwrap();

    let send = page.command("send", "me").arg(folder.join("main.py")).args(["--to", "NIGHTLAMP"]).finish();
    send.assert_status(0).assert_mentions("installed");
    fs::write(folder.join("lamp.py"), "y = 1\n").unwrap();
    let sync = page.command("sync", "me").arg(&folder).args(["--to", "NIGHTLAMP"]).finish();
    sync.assert_status(0);
    device.stdout().wait_for("\"confirmed\"");
    page.command("rollback", "me").args(["--to", "NIGHTLAMP"]).finish().assert_status(0);
    page.command("devices", "me").finish().assert_status(0).assert_mentions("NIGHTLAMP");
    assert_eq!(page.refusals(), "");

    fs::write(folder.join("main.py"), "x = 2\n").unwrap();
    let (keeper, _home) = page.command("keep", "keeper").arg(source.path().join("devices")).start();
    let state = |user| page.command("status", user).arg(source.path().join("devices")).finish();
    let began = Instant::now();
    while state("keeper").status() != Some(0) {
        assert!(began.elapsed() < GUARD, "never in step:\n{}", keeper.stderr().text());
    }
    assert_eq!(fs::read_to_string(root.path().join("main.py")).unwrap(), "x = 2\n");
    assert!(!keeper.stderr().text().contains("could not be kept"), "{}", keeper.stderr().text());
    assert_eq!(page.refusals(), "");

    // An observer may not ask who is there, and so may be refused to.
    state("observer").assert_status(0).assert_mentions("in step");
    page.command("devices", "observer").finish().assert_status(0).assert_mentions("NIGHTLAMP");
}

#[test]
fn a_log_is_heard_by_who_may_hear_it() {
    let page = Page::start();
    let lamp = Client::connect(&As(&page.mosquitto, "NIGHTLAMP"), "lamp");
    lamp.subscribe("NIGHTLAMP/OTA").publish_retained("NIGHTLAMP/OTA/device", "v=1|log=1");
    lamp.publish_retained("NIGHTLAMP/OTA/crash", "OSError: 28");
    let (log, _home) = page.command("log", "me").arg("NIGHTLAMP").start();
    assert_eq!(lamp.next().text(), "log|60");
    lamp.publish("NIGHTLAMP/OTA/log", "hello");
    log.stdout().wait_for("NIGHTLAMP: hello");
    let last = page.command("log", "observer").args(["-n", "NIGHTLAMP"]).finish();
    last.assert_status(0).assert_mentions("OSError: 28");
    assert_eq!(page.refusals(), "");

    // An observer may not ask, and hears what the device publishes for somebody else.
    let (observing, _home) = page.command("log", "observer").arg("NIGHTLAMP").start();
    observing.stderr().wait_for("was not asked");
    lamp.publish("NIGHTLAMP/OTA/log", "for me");
    observing.stdout().wait_for("NIGHTLAMP: for me");
    log.kill();
    drop(lamp);
    page.command("devices", "me").args(["--forget", "NIGHTLAMP"]).finish().assert_status(0);
    let nothing = page.command("log", "me").args(["-n", "NIGHTLAMP"]).finish();
    nothing.assert_status(1).assert_error("has not announced itself");
}

/// It is asked to end by a signal, as by a service manager.
#[test]
fn announcements_survive_a_restart_of_the_broker() {
    let mut page = Page::start();
    let root = tempfile::tempdir().unwrap();
    let (device, _home) = page.device("NIGHTLAMP", root.path());
    device.kill();
    page.mosquitto.process().interrupt();
    page.mosquitto.process().stderr().wait_for_end();
    page.mosquitto.stop();
    page.mosquitto.start_again();
    page.command("devices", "observer").finish().assert_status(0).assert_mentions("NIGHTLAMP");
    let nobody = MqttOta::run("devices").env("MQTT_OTA_BROKER", page.mosquitto.url()).finish();
    nobody.assert_status(1).assert_error("broker").assert_hint("user");
}

#[test]
fn nobody_does_what_is_not_theirs() {
    let page = Page::start();
    let root = tempfile::tempdir().unwrap();
    let _device = page.device("NIGHTLAMP", root.path());
    let file = root.path().join("evil.py");
    fs::write(&file, "x").unwrap();
    for user in ["NIGHTLAMP", "observer"] {
        let refused = page.command("send", user).arg(&file).args(["--to", "NIGHTLAMP"]);
        refused.env("MQTT_OTA_RETRIES", "0").finish().assert_status(1).assert_error("not allow");
    }
    let stranger = page.command("devices", "me").env("MQTT_OTA_PASSWORD", "wrong").finish();
    stranger.assert_status(1).assert_hint("password");
}

/// The certificates of the page, for this machine, and the broker that uses them.
struct Certified {
    mosquitto: Mosquitto,
    workshop: TempDir,
    _files: TempDir,
}

impl Certified {
    /// With so many of the page's configurations.
    fn start(configurations: usize) -> Self {
        let files = tempfile::tempdir().unwrap();
        let folder = files.path();
        let [passwords, certificates, install, client, ..] = blocks("sh")[..] else {
            panic!("commands are missing")
        };
        run(passwords, folder);
        fs::write(folder.join("access"), blocks("text")[0]).unwrap();
        let workshop = tempfile::tempdir().unwrap();
        let here = certificates.replace("iot.lan", "localhost").replace("192.168.1.10", "127.0.0.1");
        run(&here, workshop.path());
        run(client, workshop.path());
        // From where the certificates were made.
        run(&install.replace("/etc/mosquitto/", &format!("{}/", folder.display())), workshop.path());
        let names = ["passwords", "access", "ca.crt", "broker.crt", "broker.key"];
        let mosquitto = Mosquitto::with(Settings {
            whole: Some(blocks("conf")[..configurations].concat()),
            files: names.map(|name| folder.join(name)).into(),
            ..Settings::default()
        });
        Self { mosquitto, workshop, _files: files }
    }

    /// `mqtt-ota devices`, by TLS.
    fn devices(&self, host: &str) -> MqttOta {
        let url = format!("mqtts://{host}:{}", self.mosquitto.tls_address().port());
        MqttOta::run("devices").args(["--broker", &url]).in_folder(self.workshop.path())
    }
}

#[test]
fn the_certificates_of_the_page_are_accepted() {
    let certified = Certified::start(2);
    for host in ["localhost", "127.0.0.1"] {
        let devices = as_user(certified.devices(host), "me").args(["--ca-file", "ca.crt"]);
        devices.finish().assert_status(0);
    }
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-in", "broker.crt", "-noout", "-fingerprint", "-sha256"]);
    let printed = openssl.current_dir(certified.workshop.path()).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let pinned = as_user(certified.devices("localhost"), "me").args(["--tls-fingerprint", printed.trim()]);
    pinned.finish().assert_status(0);
}

#[test]
fn a_client_s_certificate_of_the_page_is_its_user() {
    let certified = Certified::start(3);
    let devices = || certified.devices("localhost").args(["--ca-file", "ca.crt"]);
    devices().args(["--client-cert", "me.crt", "--client-key", "me.key"]).finish().assert_status(0);
    as_user(devices(), "me").finish().assert_status(1).assert_error("certificate");
    certified.mosquitto.process().stderr().wait_for("u'me'");
}

#[test]
fn the_access_list_of_the_client_s_page_is_this_one() {
    let client = include_str!("../../../micropython-client/README.md");
    assert!(client.contains("docs/broker.md#the-access-list"));
}
