//! Folders that many devices follow: the real command, real brokers, and a fleet of simulated devices.
//!
//! `KEEPER_KILLS` says how often the keeper or its broker is killed (40 times in the thorough tier).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mqtt_ota::Digest;
use mqtt_ota::wire::{Algorithm, Manifest, ManifestLine};
use mqtt_ota_integration::{
    Behaviour, Client, EmbeddedBroker, Endpoint, Fleet, FleetDevice, FleetSettings, GUARD, Gate, Mosquitto,
    MqttOta, Passes, Process, Rhythm, Settings, noise, sized,
};
use tempfile::TempDir;

/// The folders of a fleet, which have one file in common, as often as there are keepers.
struct Folders {
    roots: Vec<TempDir>,
    spare: TempDir,
}

impl Folders {
    fn of(fleet: &Fleet) -> Self {
        Self::copies(fleet, 1)
    }

    fn copies(fleet: &Fleet, count: usize) -> Self {
        let roots = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let folders = Self { roots, spare: tempfile::tempdir().unwrap() };
        for root in &folders.roots {
            fs::create_dir(root.path().join("common")).unwrap();
            for name in fleet.names() {
                let folder = root.path().join(name.as_str());
                fs::create_dir(&folder).unwrap();
                fs::write(folder.join("device.toml"), "include = [\"../common\"]\n").unwrap();
            }
        }
        folders
    }

    fn path(&self) -> &Path {
        self.roots[0].path()
    }

    /// Replaces the common file at once; yields the set that it makes.
    fn change(&self, bytes: &[u8]) -> Digest {
        for root in &self.roots {
            let new = self.spare.path().join("data.bin");
            fs::write(&new, bytes).unwrap();
            fs::rename(new, root.path().join("common/data.bin")).unwrap();
        }
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let line = ManifestLine { digest, size: bytes.len() as u64, path: "data.bin".parse().unwrap() };
        Manifest::new([line]).unwrap().digest(Algorithm::Sha256)
    }
}

fn keeper(broker: &impl Endpoint, folder: &Path) -> (Process, TempDir) {
    MqttOta::run("keep").broker(broker).arg(folder).args(["--parallel", "64"]).start()
}

/// One of several that keep copies of the same folder.
fn keeper_of_a_copy(broker: &impl Endpoint, copy: &TempDir) -> (Process, TempDir) {
    let command = MqttOta::run("keep").broker(broker).arg(copy.path());
    command.args(["--name", "house", "--parallel", "2"]).start()
}

#[track_caller]
fn assert_each_set_rebooted_once(fleet: &Fleet) {
    let twice = fleet.look(|devices| {
        let twice = |device: &&FleetDevice| device.reboots.values().any(|count| *count > 1);
        devices.iter().find(twice).cloned()
    });
    assert!(twice.is_none(), "{twice:#?}");
}

fn devices_that_wake_for_two_seconds_follow(broker: &impl Endpoint) {
    let rhythm =
        Rhythm::Sleeps { period: Duration::from_secs(8), awake: Duration::from_secs(2), is_cut: false };
    let behaviour = Behaviour { rhythm, ..Behaviour::default() };
    let fleet = Fleet::with(broker, FleetSettings::default(), vec![behaviour; 200]);
    let folders = Folders::of(&fleet);
    let first = folders.change(b"VERSION = 1\n");
    let (_keeper, _home) = keeper(broker, folders.path());
    fleet.wait_until_all("at the first set", |device| device.set == Some(first));
    let second = folders.change(&noise(1, 4096));
    let started = Instant::now();
    fleet.wait_until_all("at the second set", |device| device.set == Some(second));
    println!("200 devices that are awake for 2 of 8 s have followed in {:?}", started.elapsed());
    assert_each_set_rebooted_once(&fleet);
}

#[test]
fn devices_that_wake_for_two_seconds_follow_on_mosquitto() {
    devices_that_wake_for_two_seconds_follow(&Mosquitto::start());
}

#[test]
fn devices_that_wake_for_two_seconds_follow_on_the_embedded_broker() {
    devices_that_wake_for_two_seconds_follow(&EmbeddedBroker::start());
}

/// The broker and the keeper in one process, on the port of the one before.
fn all_in_one(folder: &Path, address: Option<SocketAddr>) -> EmbeddedBroker {
    let command = MqttOta::run("broker").arg("--keep").arg(folder).env("MQTT_OTA_CONNECT_TIMEOUT", "1s");
    match address {
        None => EmbeddedBroker::of(command),
        Some(address) => EmbeddedBroker::at(command, address),
    }
}

#[test]
fn broker_and_keeper_in_one_process_are_killed_and_know_who_sleeps() {
    let root = tempfile::tempdir().unwrap();
    let folder: PathBuf = root.path().to_owned();
    let broker = all_in_one(&folder, None);
    let hour = Duration::from_secs(3600);
    let rhythm = Rhythm::Sleeps { period: hour, awake: hour, is_cut: false };
    let behaviour = Behaviour { rhythm, ..Behaviour::default() };
    let fleet = Fleet::with(&broker, FleetSettings::default(), vec![behaviour; 3]);
    let address = broker.address();
    let kept = || fs::read_to_string(folder.join(".announcements")).unwrap_or_default();
    let give_up = Instant::now() + GUARD;
    while kept().lines().count() < 3 {
        assert!(Instant::now() < give_up, "the announcements are not kept: {}", kept());
        std::thread::yield_now();
    }
    broker.into_process().kill();
    fs::create_dir(folder.join("LAMP00001")).unwrap();
    fs::write(folder.join("LAMP00001/main.py"), "VERSION = 1\n").unwrap();
    let broker = all_in_one(&folder, Some(address));
    let client = Client::connect(&broker, "listener");
    client.subscribe("LAMP00001/OTA/keeper");
    // It was announced before the broker was killed.
    while !client.next().text().contains("state=asleep") {}
    fleet.wake(1);
    fleet.wait_until("updated", |devices| {
        let lamp = &devices[1];
        lamp.set.filter(|set| lamp.runs(*set))
    });
    assert_eq!(fleet.device(1).all_reboots(), 1);
}

#[test]
fn an_announcement_is_answered_within_fifty_milliseconds() {
    // Else it waits for the client's confirmation of a packet before, and that is not what is measured.
    let lines = vec!["set_tcp_nodelay true"];
    answers_an_announcement(&Mosquitto::with(Settings { lines, ..Settings::default() }));
    answers_an_announcement(&EmbeddedBroker::start());
}

fn answers_an_announcement(broker: &impl Endpoint) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("LAMP")).unwrap();
    fs::write(root.path().join("LAMP/data.bin"), noise(1, 4096)).unwrap();
    let (keeper, _home) = keeper(broker, root.path());
    keeper.stderr().wait_for("at work");
    let client = Client::connect(broker, "LAMP");
    client.subscribe("LAMP/OTA");
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        client.publish("LAMP/OTA/device", "v=1|set=-|hash=sha256|addr=127.0.0.1");
        let offer = client.next().text();
        times.push(started.elapsed());
        let hash = offer.split('|').nth(3).unwrap();
        // It has the set now, and has lost it when it announces itself the next time.
        client.publish("LAMP/OTA/status", format!("installed|set|{hash}|"));
        keeper.stderr().wait_until("another end", |text| {
            (text.matches(" installed (").count() > times.len() - 1).then_some(())
        });
        client.publish("LAMP/OTA/device", format!("v=1|set={hash}|hash=sha256|addr=127.0.0.1"));
    }
    times.sort();
    println!("an announcement is answered in {:?}, at most {:?}", times[10], times[19]);
    // The typical one counts: any one may wait for this machine.
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_device_whose_announcement_the_broker_lost_is_asked_for_by_name() {
    let broker = Mosquitto::start();
    let fleet = Fleet::start(&broker, 40);
    let folders = Folders::of(&fleet);
    let set = folders.change(b"print('hello')");
    let gate = Gate::to(&broker, Passes::AllButAnnouncements);
    let (_keeper, _home) = keeper(&gate, folders.path());
    fleet.wait_until_all("at the set", |device| device.runs(set));
    assert_each_set_rebooted_once(&fleet);
}

fn git(folder: &Path, args: &[&str]) {
    let settings =
        ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(folder).args(settings).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
}

#[test]
fn a_tree_that_git_rewrites_is_never_sent_in_parts() {
    checked_out(200, &[]);
}

#[test]
fn nor_is_one_whose_files_come_slowly() {
    // Longer than the folder has to be quiet, between two files of one checkout.
    checked_out(4, &["-c", "filter.slow.clean=cat", "-c", "filter.slow.smudge=sleep 0.4; cat"]);
}

/// Checks versions of `count` files out under a keeper, with settings of git, and sees to it that the device only ever
/// had whole ones.
fn checked_out(count: usize, settings: &[&str]) {
    let broker = Mosquitto::start();
    let fleet = Fleet::start(&broker, 1);
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("LAMP00000");
    let git = |args: &[&str]| git(root.path(), &[settings, args].concat());
    git(&["init", "--quiet"]);
    fs::write(root.path().join(".gitattributes"), "*.bin filter=slow\n").unwrap();
    fs::create_dir_all(folder.join("lib")).unwrap();
    let mut sets = Vec::new();
    for version in [1, 2] {
        for number in 0..count {
            fs::write(folder.join(format!("lib/{number}.bin")), noise(version, 2000 + number)).unwrap();
        }
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "a version"]);
        git(&["tag", &format!("v{version}")]);
        let status = MqttOta::run("status").broker(&broker).arg(root.path()).arg("--json").finish();
        let wanted = status.json_lines()[0]["wanted"].as_str().unwrap().parse::<Digest>().unwrap();
        sets.push((format!("v{version}"), wanted));
    }
    let (_keeper, _home) = keeper(&broker, root.path());
    for (tag, set) in sets.iter().cycle().take(6) {
        git(&["checkout", "--quiet", tag]);
        fleet.wait_until_all("at the version", |device| device.runs(*set));
    }
    let device = fleet.device(0);
    let others: Vec<_> =
        device.reboots.keys().filter(|set| sets.iter().all(|(_, known)| known != *set)).collect();
    assert!(others.is_empty() && device.failures.is_empty(), "{device:#?}");
}

/// A fleet whose keeper, or whatever else, is killed at random moments, while its files change.
fn whatever_is_killed(fleet: &Fleet, folders: &Folders, mut kill: impl FnMut(&mut fastrand::Rng)) {
    let kills = std::env::var("KEEPER_KILLS").map_or_else(|_| sized(40, 8), |kills| kills.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(7);
    let mut set = folders.change(&noise(0, 60_000));
    for number in 0..kills {
        // The moment is what is tried.
        sleep(Duration::from_millis(rng.u64(0..600)));
        kill(&mut rng);
        if rng.u32(0..4) == 0 {
            set = folders.change(&noise((number % 251) as u8, 60_000 + number));
        }
    }
    fleet.wait_until_all("at the last set", |device| device.runs(set));
    assert_each_set_rebooted_once(fleet);
    let count = fleet.names().len();
    let reboots: u32 = fleet.look(|devices| devices.iter().map(FleetDevice::all_reboots).sum());
    println!("{kills} kills, {reboots} reboots of {count} devices, each at most once a set");
    assert!(reboots as usize >= count);
}

#[test]
fn a_keeper_and_mosquitto_may_be_killed_at_any_moment() {
    let mut broker = Mosquitto::start();
    let fleet = Fleet::start(&broker, 50);
    let folders = Folders::of(&fleet);
    let mut running = Some(keeper(&broker, folders.path()));
    whatever_is_killed(&fleet, &folders, |rng| {
        if rng.u32(0..5) == 0 {
            broker.stop();
            broker.start_again();
        } else {
            // It holds the folder until it is gone.
            drop(running.take());
            running = Some(keeper(&broker, folders.path()));
        }
    });
}

#[test]
fn broker_and_keeper_in_one_process_may_be_killed_at_any_moment() {
    let root = tempfile::tempdir().unwrap();
    let mut broker = Some(all_in_one(root.path(), None));
    let address = broker.as_ref().unwrap().address();
    let fleet = Fleet::start(broker.as_ref().unwrap(), 50);
    let folders = Folders::of(&fleet);
    drop(broker.take());
    broker = Some(all_in_one(folders.path(), Some(address)));
    whatever_is_killed(&fleet, &folders, |_| {
        drop(broker.take());
        broker = Some(all_in_one(folders.path(), Some(address)));
    });
}

#[test]
fn each_of_two_keepers_may_be_killed_at_any_moment() {
    let mut broker = Mosquitto::start();
    let fleet = Fleet::start(&broker, 50);
    let folders = Folders::copies(&fleet, 2);
    let mut running = [0, 1].map(|copy| Some(keeper_of_a_copy(&broker, &folders.roots[copy])));
    whatever_is_killed(&fleet, &folders, |rng| {
        if rng.u32(0..8) == 0 {
            broker.stop();
            broker.start_again();
        } else {
            let copy = rng.usize(0..2);
            drop(running[copy].take());
            running[copy] = Some(keeper_of_a_copy(&broker, &folders.roots[copy]));
        }
    });
}
