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

/// Devices that connect to the broker at once. Mosquitto's queue holds 100 connections, and the system tries again
/// one that found it full only after a second.
const CONNECTING: usize = 64;
/// Files that are left to whatever else there is in this process.
const OTHER_FILES: usize = 1024;
/// By how much a device more lengthens the guard.
const GUARD_EACH: Duration = Duration::from_millis(20);

/// What is the same for all devices of a [`Fleet`].
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// What the names begin with; a number of five digits follows.
    pub prefix: String,
    /// What the devices' own moments come from.
    pub seed: u64,
    /// How they reach the broker.
    pub connections: Connections,
    /// How long a device is away when it reboots because of what it has installed.
    pub boot: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { prefix: "LAMP".to_owned(), seed: 1, connections: Connections::Own, boot: Duration::ZERO }
    }
}

/// The connections to the broker that a [`Fleet`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each device has its own, and makes it anew at each boot.
    Own,
    /// The devices share so many, which stay, as those of bridges do. To the broker, devices that are off are
    /// subscribed as well, and what they are told is lost.
    Shared(usize),
}

/// Many devices in this process, on tokio: what they take they hash, and keep nothing of. They end with this value,
/// as by a power cut.
#[derive(Debug)]
pub struct Fleet {
    ground: Arc<Ground>,
    names: Vec<DeviceName>,
    switches: Vec<Arc<Switches>>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts `count` devices, called `LAMP00000` and so on, that are always awake and take sets, and returns when
    /// all are announced.
    pub fn start(broker: &impl Endpoint, count: usize) -> Self {
        Self::with(broker, FleetSettings::default(), vec![Behaviour::default(); count])
    }

    /// Starts a device for each of `behaviours`, and returns when all are announced; those that sleep may do so
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

    /// The names, in the order of the devices' numbers.
    pub fn names(&self) -> &[DeviceName] {
        &self.names
    }

    /// What one device has, and what has happened to it.
    pub fn device(&self, index: usize) -> FleetDevice {
        self.look(|devices| devices[index].clone())
    }

    /// Looks at all devices at one moment. They stand still meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&[FleetDevice]) -> T) -> T {
        self.ground.ledger.look(look)
    }

    /// Waits until `found` finds something. It is asked again after each change; of many devices that is slow, and
    /// [`Self::wait_until_all`] is not.
    ///
    /// # Panics
    ///
    /// When the guard time passes before it does.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&[FleetDevice]) -> Option<T>) -> T {
        let found = self.ground.ledger.wait(self.guard(), |devices| found(devices).ok_or(None));
        found.unwrap_or_else(|| panic!("time is up, and not {what}: {}", self.summary(|_| false)))
    }

    /// Waits for a moment at which something is so of each device.
    ///
    /// # Panics
    ///
    /// When the guard time passes before it is.
    #[track_caller]
    pub fn wait_until_all(&self, what: &str, is_so: impl Fn(&FleetDevice) -> bool) {
        // Only the device that was found missing is looked at after each change, and the others after that.
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

    /// Wakes a device that sleeps; one that does not will wake as soon as it has gone to sleep.
    pub fn wake(&self, index: usize) {
        self.switches[index].wake.notify_one();
    }

    /// Cuts the power of a device that is awake. One that is always awake boots at once, one that sleeps when it
    /// wakes the next time. What was staged stays.
    pub fn cut(&self, index: usize) {
        self.switches[index].cut.notify_waiters();
    }

    fn guard(&self) -> Duration {
        GUARD + GUARD_EACH * u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// How many are so, and the first that is not.
    fn summary(&self, is_so: impl Fn(&FleetDevice) -> bool) -> String {
        self.look(|devices| {
            let first = devices.iter().find(|device| !is_so(device));
            let count = devices.iter().filter(|device| is_so(device)).count();
            format!("{count} of {} are; {first:#?}", devices.len())
        })
    }
}
