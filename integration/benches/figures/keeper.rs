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

/// How many devices there are, unless `KEEPER_DEVICES` says otherwise.
const DEVICES: usize = 10_000;
/// The length of the one file, in bytes.
const BYTES: usize = 4096;
/// How many connections the devices share that have none of their own.
const SHARED: usize = 4;
/// How long a reboot takes, where those that have the file are not to connect while the others are still given it, which
/// no limit has.
const BOOT: Duration = Duration::from_secs(3);
/// Far longer than all devices take.
const LONG: Duration = Duration::from_secs(15);
/// How often each is measured.
const ROUNDS: usize = 7;

/// The keeper: how long all devices take to follow a change of the one file that they have in common, against
/// fetching it as often from nginx and passing as many messages through the same broker. The devices are behind a few
/// connections, and then have one each; they reboot at once and are waited for until they are back, or take their time
/// and are waited for until they have told the broker that they have the file.
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

/// What is the same for all brokers.
struct House<'a> {
    /// Where there is one.
    nginx: Option<&'a Nginx>,
    /// How many devices there are.
    count: usize,
}

impl House<'_> {
    fn measure(&self, broker: &impl Endpoint, process: u32, connections: Connections, boot: Duration) {
        let Self { nginx, count } = *self;
        // Devices that are still away when the time ends have not announced themselves in it.
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

/// What each time of the whole fleet is compared with: what was measured right before it.
struct Bounds<'a, B> {
    /// The files and the messages, where that can be measured.
    limit: Option<Limit<'a, B>>,
    /// What was measured last.
    last: Duration,
    /// Times that were compared, each with the limit that it had.
    compared: Vec<(Duration, Duration)>,
}

impl<'a, B: Endpoint> Bounds<'a, B> {
    fn new(limit: Option<Limit<'a, B>>) -> Self {
        Self { limit, last: Duration::ZERO, compared: Vec::new() }
    }

    /// Measures what can be, once more.
    fn add(&mut self) {
        if let Some(limit) = &mut self.limit {
            self.last = limit.add();
        }
    }

    /// Compares a time with what was measured right before it.
    fn compare(&mut self, time: Duration) {
        self.compared.push((time, self.last));
    }

    /// The ratio of all rounds together, the lowest and the highest of one.
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

/// What the keepers are called, one after the other.
const NAME: &str = "figures";

/// Whether a device is waited for no longer.
fn is_done(device: &FleetDevice, set: Digest, boot: Duration) -> bool {
    if boot.is_zero() { device.runs(set) } else { device.has_rebooted_for(set) }
}

/// What the simulated devices themselves take of what is measured with them: a boot of all, and whole updates by a
/// sender that only sends.
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

/// The real command, from the change of the file until no device is waited for.
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
            // At once: half a file would be a set of its own.
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
    // What a keeper waits for after many files have changed.
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
    // It leaves the devices to the next one.
    keeper.terminate();
    keeper.wait();
}

/// How often all devices together have rebooted.
fn reboots_of(fleet: &Fleet) -> u32 {
    fleet.look(|devices| devices.iter().map(|device| device.all_reboots()).sum())
}

/// Waits until all devices are back with the set; says after a while which are not, and why, as one that has failed is
/// tried again with ever longer pauses.
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

/// The set that `file` is alone in.
fn set_of(file: &Path) -> Digest {
    manifest_of(&fs::read(file).expect("a file that can be read")).digest(Algorithm::Sha256)
}

fn manifest_of(file: &[u8]) -> Manifest {
    let (digest, path) = (Digest::of(Algorithm::Sha256, file), "data.bin".parse().expect("a path"));
    Manifest::new([ManifestLine { digest, size: file.len() as u64, path }]).expect("a manifest")
}

/// How the keeper's folder says which devices there are.
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
