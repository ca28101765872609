use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_ota::Digest;
use mqtt_ota::keeper::KeeperOptions;
use mqtt_ota::wire::{Algorithm, Manifest, ManifestLine};
use mqtt_ota_integration::{
    Behaviour, Connections, EmbeddedBroker, Endpoint, Fleet, FleetDevice, FleetSettings, Mosquitto, MqttOta,
    Settings, raise_open_files,
};

use crate::bare;
use crate::content::write_random;
use crate::cpu;
use crate::limit::{Extent, Limit};
use crate::nginx::Nginx;
use crate::peak::Peak;
use crate::sample::Sample;
use crate::steal::undisturbed_after;

/// Default number of devices. `KEEPER_DEVICES` overrides it.
const DEVICES: usize = 10_000;
/// Length of the one file, in bytes.
const BYTES: usize = 4096;
/// Number of connections that devices without one of their own share.
const SHARED: usize = 4;
/// Duration of a reboot in one of the measurements. Devices that have the file then do not reconnect while others still
/// get it, as the limit has no such connections either.
const BOOT: Duration = Duration::from_secs(3);
/// Time after which missing devices are listed. Far longer than all devices need.
const LONG: Duration = Duration::from_secs(15);
/// Number of rounds of each measurement.
const ROUNDS: usize = 7;

/// Measures the keeper: the time until all devices have followed a change of the one file that they have in common.
///
/// The limit is the time to fetch the file as often from nginx, and to pass as many messages through the same broker.
/// The devices share a few connections, and then have one each. Either they reboot at once and are waited for until
/// they are back, or a reboot takes [`BOOT`] and they are waited for until they have told the broker that they have the
/// file.
pub(crate) fn measure() {
    let count = std::env::var("KEEPER_DEVICES").ok().and_then(|count| count.parse().ok()).unwrap_or(DEVICES);
    println!("{count} devices, a file of {BYTES} bytes that all have, {ROUNDS} rounds");
    raise_open_files();
    let nginx = Nginx::serving(&vec![b'#'; BYTES]);
    if let Err(why) = &nginx {
        println!("    without a limit: {why}");
    }
    let house = House { nginx: nginx.as_ref().ok(), count };
    let mosquitto = Mosquitto::with(Settings { is_quiet: true, ..Settings::default() });
    println!("  Mosquitto");
    house.measure(&mosquitto, mosquitto.process().id(), Connections::Shared(SHARED), Duration::ZERO);
    house.measure(&mosquitto, mosquitto.process().id(), Connections::Own, Duration::ZERO);
    house.measure(&mosquitto, mosquitto.process().id(), Connections::Own, BOOT);
    drop(mosquitto);
    let embedded = EmbeddedBroker::start();
    println!("  the embedded broker");
    house.measure(&embedded, embedded.process().id(), Connections::Shared(SHARED), Duration::ZERO);
}

/// Settings that are the same for all brokers.
struct House<'a> {
    /// Server that the limit is measured with, if there is one.
    nginx: Option<&'a Nginx>,
    /// Number of devices.
    count: usize,
}

impl House<'_> {
    fn measure(&self, broker: &impl Endpoint, process: u32, connections: Connections, boot: Duration) {
        let Self { nginx, count } = *self;
        // Devices that are still away when the time ends have not announced themselves within it.
        let extent = Extent { count, bytes: BYTES, messages: if boot.is_zero() { 4 } else { 3 } };
        let limit = || nginx.map(|nginx| Limit::new(broker, nginx, extent));
        match connections {
            Connections::Shared(shared) => println!("   devices behind {shared} connections"),
            Connections::Own if boot.is_zero() => println!("   a connection for each device"),
            Connections::Own => println!("   a connection for each device, {boot:?} for a reboot"),
        }
        let started = Instant::now();
        let settings = FleetSettings { connections, boot, ..FleetSettings::default() };
        let fleet = Fleet::with(broker, settings, vec![Behaviour::default(); count]);
        println!("    fleet               {:8.1} ms until all are announced", ms(started.elapsed()));
        measure_fleet(broker, &fleet, boot, Bounds::new(limit()));
        for layout in [Layout::Folders, Layout::Aliases] {
            println!("    {}", layout.describe());
            measure_keeper(broker, process, (&fleet, boot), layout, Bounds::new(limit()));
        }
    }
}

/// Limits that the times of the whole fleet are compared with, each measured right before its time.
struct Bounds<'a, B> {
    /// Measurement of the files and the messages, where it is possible.
    limit: Option<Limit<'a, B>>,
    /// Limit that was measured last.
    last: Duration,
    /// Times that were compared, each with its limit.
    compared: Vec<(Duration, Duration)>,
}

impl<'a, B: Endpoint> Bounds<'a, B> {
    fn new(limit: Option<Limit<'a, B>>) -> Self {
        Self { limit, last: Duration::ZERO, compared: Vec::new() }
    }

    /// Measures the limit once more, where it is possible.
    fn add(&mut self) {
        if let Some(limit) = &mut self.limit {
            self.last = limit.add();
        }
    }

    /// Compares a time with the limit that was measured right before it.
    fn compare(&mut self, time: Duration) {
        self.compared.push((time, self.last));
    }

    /// Returns the ratio of all rounds together, with the lowest and the highest ratio of a round.
    fn ratios(&self) -> String {
        if self.limit.is_none() {
            return String::new();
        }
        let over = |time: Duration, limit: Duration| time.as_secs_f64() / limit.as_secs_f64();
        let each = self.compared.iter().map(|(time, limit)| over(*time, *limit));
        let (lowest, highest) = (each.clone().fold(f64::MAX, f64::min), each.fold(0.0, f64::max));
        let times: Duration = self.compared.iter().map(|(time, _)| *time).sum();
        let limits: Duration = self.compared.iter().map(|(_, limit)| *limit).sum();
        format!(", {:.2} [{lowest:.2} – {highest:.2}] of the limit", over(times, limits))
    }

    fn print(&self) {
        if let Some(limit) = &self.limit {
            println!("{limit}");
        }
    }
}

/// Name of the keepers, which run one after the other.
const NAME: &str = "figures";

/// Returns true if the device is no longer waited for.
fn is_done(device: &FleetDevice, set: Digest, boot: Duration) -> bool {
    if boot.is_zero() { device.runs(set) } else { device.has_rebooted_for(set) }
}

/// Measures the share of the simulated devices in the other times: a boot of all, and whole updates by a sender that
/// only sends.
fn measure_fleet<B: Endpoint>(broker: &B, fleet: &Fleet, boot: Duration, mut bounds: Bounds<'_, B>) {
    let (mut booting, mut bare) = (Sample::default(), Sample::default());
    for boots in 1..=ROUNDS {
        let started = Instant::now();
        (0..fleet.names().len()).for_each(|index| fleet.cut(index));
        fleet.wait_until_all("announced anew", |device| device.announcements as usize > boots);
        booting.add(started.elapsed());
    }
    println!("      all boot          {booting}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("data.bin");
    for _ in 0..ROUNDS {
        let follow = || {
            write_random(&file, BYTES);
            let bytes = fs::read(&file).expect("a file that can be read");
            let manifest = manifest_of(&bytes);
            let set = manifest.digest(Algorithm::Sha256);
            let is_done = |device: &FleetDevice| is_done(device, set, boot);
            bare::follow(broker, fleet, set, &manifest, &bytes, is_done)
        };
        let time = undisturbed_after(|| bounds.add(), follow);
        bounds.compare(time);
        bare.add(time);
    }
    bounds.print();
    println!("    a bare sender       {bare}{}", bounds.ratios());
    println!("    this process        {} so far, with all devices", Peak::of(std::process::id()));
}

/// Measures the real command, from the change of the file until no device is waited for.
fn measure_keeper<B: Endpoint>(
    broker: &B,
    process: u32,
    (fleet, boot): (&Fleet, Duration),
    layout: Layout,
    mut bounds: Bounds<'_, B>,
) {
    let (folder, spare) = (tempfile::tempdir(), tempfile::tempdir());
    let (folder, spare) = (folder.expect("a temporary folder"), spare.expect("a temporary folder"));
    let file = folder.path().join("common/data.bin");
    fs::create_dir(folder.path().join("common")).expect("a folder is made");
    write_random(&file, BYTES);
    layout.write(folder.path(), fleet);
    let started = Instant::now();
    let keep = MqttOta::run("keep").broker(broker).arg(folder.path()).args(["--name", NAME]);
    let (keeper, _home) = keep.args(["--parallel", "64", "-q"]).start();
    let set = set_of(&file);
    wait(broker, fleet, folder.path(), set);
    println!("    from its start      {:8.1} ms", ms(started.elapsed()));
    let (mut following, mut returning) = (Sample::default(), Sample::default());
    let processes = [("keeper", keeper.id()), ("broker", process), ("devices", std::process::id())];
    let mut taken = processes.map(|_| Duration::ZERO);
    for _ in 0..ROUNDS {
        let follow = || {
            let reboots = reboots_of(fleet);
            // The file is replaced at once, as half a file would be a set of its own.
            let next = spare.path().join("data.bin");
            write_random(&next, BYTES);
            let set = set_of(&next);
            let before = processes.map(|(_, process)| cpu::of(process));
            let started = Instant::now();
            fs::rename(&next, &file).expect("a file is replaced");
            fleet.wait_until_all("at the set", |device| is_done(device, set, boot));
            let time = started.elapsed();
            let after = processes.map(|(_, process)| cpu::of(process));
            wait(broker, fleet, folder.path(), set);
            let back = started.elapsed();
            assert_eq!(
                (reboots_of(fleet) - reboots) as usize,
                fleet.names().len(),
                "each device reboots once"
            );
            (time, back, after.into_iter().zip(before))
        };
        let (time, back, times) = undisturbed_after(|| bounds.add(), follow);
        bounds.compare(time);
        following.add(time);
        returning.add(back);
        taken.iter_mut().zip(times).for_each(|(taken, (now, before))| *taken += now.saturating_sub(before));
    }
    bounds.print();
    println!("    after a change      {following}{} (goal: 1.5)", bounds.ratios());
    if !boot.is_zero() {
        println!("    until all are back  {returning}");
    }
    // A keeper waits for this time after many files have changed.
    let rest = KeeperOptions::default().settle.unwrap_or(Duration::from_millis(250));
    println!("      of it at rest     {:8.1} ms", ms(rest));
    let taken = processes
        .iter()
        .zip(taken)
        .map(|((name, _), taken)| format!("{name} {:.0} ms", ms(taken) / ROUNDS as f64));
    println!("      processor time    {}", taken.collect::<Vec<_>>().join(", "));
    println!("    peak memory         {} (goal: under 100 MB)", Peak::of(keeper.id()));
    for warning in keeper.stderr().text().lines() {
        println!("      {warning}");
    }
    // A keeper that is stopped leaves the devices to the next one.
    keeper.terminate();
    keeper.wait();
}

/// Returns the number of reboots of all devices together.
fn reboots_of(fleet: &Fleet) -> u32 {
    fleet.look(|devices| devices.iter().map(|device| device.all_reboots()).sum())
}

/// Waits until all devices are back with the set. After [`LONG`] it prints the missing devices and the reasons, as a
/// device that has failed is retried with ever longer pauses.
fn wait(broker: &impl Endpoint, fleet: &Fleet, folder: &Path, set: Digest) {
    let (done, is_done) = mpsc::channel::<()>();
    let status = MqttOta::run("status").broker(broker).arg(folder).args(["--name", NAME]);
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                let table = status.finish().stdout;
                let missing: Vec<_> =
                    table.lines().skip(1).filter(|line| !line.contains("in step")).collect();
                println!("      after {LONG:?} {} are missing, such as", missing.len());
                missing.iter().take(3).for_each(|line| println!("        {line}"));
            }
        });
        fleet.wait_until_all("at the set", |device| device.runs(set));
        drop(done);
    });
}

/// Returns the digest of the set that contains `file` alone.
fn set_of(file: &Path) -> Digest {
    manifest_of(&fs::read(file).expect("a file that can be read")).digest(Algorithm::Sha256)
}

fn manifest_of(file: &[u8]) -> Manifest {
    let (digest, path) = (Digest::of(Algorithm::Sha256, file), "data.bin".parse().expect("a path"));
    Manifest::new([ManifestLine { digest, size: file.len() as u64, path }]).expect("a manifest")
}

/// Layout of the keeper's folder, which names the devices.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Folders,
    Aliases,
}

impl Layout {
    fn describe(self) -> &'static str {
        match self {
            Self::Folders => "a folder for each device",
            Self::Aliases => "one folder, whose devices are its aliases",
        }
    }

    fn write(self, root: &Path, fleet: &Fleet) {
        let include = "include = [\"../common\"]\n";
        let device = |name: &str, text: &str| {
            fs::create_dir(root.join(name)).expect("a folder is made");
            fs::write(root.join(name).join("device.toml"), text).expect("a file is written");
        };
        match self {
            Self::Folders => fleet.names().iter().for_each(|name| device(name.as_str(), include)),
            Self::Aliases => {
                let names: String = fleet.names().iter().map(|name| format!("  \"{name}\",\n")).collect();
                device("LAMPS", &format!("{include}aliases = [\n{names}]\n"));
            }
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
