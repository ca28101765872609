mod answer;
mod at;
mod awake;
mod behaviour;
mod connection;
mod device;
mod hub;
mod interface;
mod ledger;
mod places;
mod seat;
mod session;
mod staging;
mod supply;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use mqtt_ota::DeviceName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use behaviour::{Behaviour, Ending, Rhythm};
pub use ledger::FleetDevice;

use crate::endpoint::Endpoint;
use crate::open_files::raise_open_files;
use crate::runtime::{GUARD, runtime};
use at::At;
use device::{Device, Ground, Switches};
use hub::Hub;
use interface::Interface;
use ledger::Ledger;
use staging::Staging;

/// Maximum number of devices that connect to the broker at once. Mosquitto's queue holds 100 connections, and the
/// system retries a connection that found it full only after a second.
const CONNECTING: usize = 64;
/// Number of open files that are left to everything else in this process.
const OTHER_FILES: usize = 1024;
/// Addition to the guard time for each device.
const GUARD_EACH: Duration = Duration::from_millis(20);

/// Settings that all devices of a [`Fleet`] have in common.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Beginning of the names. A number of five digits follows.
    pub prefix: String,
    /// Seed of the devices' random moments.
    pub seed: u64,
    /// Connections of the devices to the broker.
    pub connections: Connections,
    /// Time for which a device is away when it reboots after an installation.
    pub boot: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { prefix: "LAMP".to_owned(), seed: 1, connections: Connections::Own, boot: Duration::ZERO }
    }
}

/// Connections of a [`Fleet`] to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each device has its own connection, and makes it anew at each boot.
    Own,
    /// The devices share this number of connections, which stay, as those of bridges do. To the broker, devices that
    /// are off are subscribed as well, and messages to them are lost.
    Shared(usize),
}

/// Many devices in this process, on tokio. They hash what they take, and keep none of it. They end when this value is
/// dropped, as by a power cut.
#[derive(Debug)]
pub struct Fleet {
    ground: Arc<Ground>,
    names: Vec<DeviceName>,
    switches: Vec<Arc<Switches>>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts `count` devices, called `LAMP00000` and so on, that are always awake and take sets. Returns when all are
    /// announced.
    pub fn start(broker: &impl Endpoint, count: usize) -> Self {
        Self::with(broker, FleetSettings::default(), vec![Behaviour::default(); count])
    }

    /// Starts a device for each of `behaviours`, and returns when all are announced. Devices that sleep may be asleep
    /// again by then.
    pub fn with(broker: &impl Endpoint, settings: FleetSettings, behaviours: Vec<Behaviour>) -> Self {
        let count = behaviours.len();
        let (hub_count, connection_count) = match settings.connections {
            Connections::Own => (0, count),
            Connections::Shared(hub_count) => (hub_count, hub_count),
        };
        let room = raise_open_files().saturating_sub(connection_count + OTHER_FILES);
        let name = |index: usize| format!("{}{index:05}", settings.prefix).parse().expect("a device's name");
        let names: Vec<DeviceName> = (0..count).map(name).collect();
        let hub = |number: usize| {
            let topics = names.iter().skip(number).step_by(hub_count).map(DeviceName::offer_topic);
            Arc::new(Hub::new(format!("{}hub{number}", settings.prefix), topics))
        };
        let hubs = (0..hub_count).map(hub).collect();
        let login = broker.login().map(|(user, password)| (user.to_owned(), password.to_owned()));
        let ground = Arc::new(Ground {
            at: At { address: broker.address(), login, hubs },
            ledger: Ledger::new(names.iter().cloned().map(FleetDevice::new).collect()),
            connecting: Semaphore::new(CONNECTING),
            taking: Semaphore::new(room.clamp(CONNECTING, Semaphore::MAX_PERMITS)),
            boot: settings.boot,
        });
        let switches: Vec<Arc<Switches>> = names.iter().map(|_| Arc::default()).collect();
        let mut seeds = Rng::with_seed(settings.seed);
        let mut tasks = JoinSet::new();
        for number in 0..hub_count {
            let ground = Arc::clone(&ground);
            tasks.spawn_on(async move { ground.at.hubs[number].run(&ground.at).await }, runtime().handle());
        }
        for (index, behaviour) in behaviours.into_iter().enumerate() {
            let device = Device {
                ground: Arc::clone(&ground),
                index,
                interface: Interface::of(ground.at.address.ip(), index),
                name: names[index].clone(),
                behaviour,
                switches: Arc::clone(&switches[index]),
                rng: seeds.fork(),
                staging: Staging::default(),
                back: None,
            };
            tasks.spawn_on(device.run(), runtime().handle());
        }
        let fleet = Self { ground, names, switches, _tasks: tasks };
        fleet.wait_until_all("announced", |device| device.announcements > 0);
        fleet
    }

    /// Returns the names, in the order of the devices' numbers.
    pub fn names(&self) -> &[DeviceName] {
        &self.names
    }

    /// Returns the state and the history of one device.
    pub fn device(&self, index: usize) -> FleetDevice {
        self.look(|devices| devices[index].clone())
    }

    /// Passes all devices, as of one moment, to `look`. The devices stand still meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&[FleetDevice]) -> T) -> T {
        self.ground.ledger.look(look)
    }

    /// Waits until `found` returns a value. `found` is called again after each change, which is slow with many devices.
    /// [`Self::wait_until_all`] is not.
    ///
    /// # Panics
    ///
    /// Panics if the guard time passes first.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&[FleetDevice]) -> Option<T>) -> T {
        let found = self.ground.ledger.wait(self.guard(), |devices| found(devices).ok_or(None));
        found.unwrap_or_else(|| panic!("time is up, and not {what}: {}", self.summary(|_| false)))
    }

    /// Waits for a moment at which `is_so` is true of every device.
    ///
    /// # Panics
    ///
    /// Panics if the guard time passes first.
    #[track_caller]
    pub fn wait_until_all(&self, what: &str, is_so: impl Fn(&FleetDevice) -> bool) {
        // After each change only the device that was found missing is checked, and the others once it is not missing.
        let mut first = 0;
        let all = self.ground.ledger.wait(self.guard(), |devices| {
            let order = (first..devices.len()).chain(0..first);
            match order.into_iter().find(|index| !is_so(&devices[*index])) {
                Some(missing) => {
                    first = missing;
                    Err(Some(missing))
                }
                None => Ok(()),
            }
        });
        all.unwrap_or_else(|| panic!("time is up, and not all {what}: {}", self.summary(is_so)));
    }

    /// Wakes a device that sleeps. A device that is awake will wake as soon as it has gone to sleep.
    pub fn wake(&self, index: usize) {
        self.switches[index].wake.notify_one();
    }

    /// Cuts the power of a device that is awake. A device that is always awake boots at once, and one that sleeps boots
    /// when it next wakes. What was staged stays.
    pub fn cut(&self, index: usize) {
        self.switches[index].cut.notify_waiters();
    }

    fn guard(&self) -> Duration {
        GUARD + GUARD_EACH * u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// Describes how many devices satisfy `is_so`, and the first that does not.
    fn summary(&self, is_so: impl Fn(&FleetDevice) -> bool) -> String {
        self.look(|devices| {
            let first = devices.iter().find(|device| !is_so(device));
            let count = devices.iter().filter(|device| is_so(device)).count();
            format!("{count} of {} are; {first:#?}", devices.len())
        })
    }
}
