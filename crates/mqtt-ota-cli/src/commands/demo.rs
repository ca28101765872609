//! Demonstration of a delivery from beginning to end, on this machine.

mod device;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mqtt_ota::wire::{Algorithm, DeviceName, Digest, NameError};
use mqtt_ota::{Broker, Config, Event, Outcome, Payload, Report, SendOptions, Sender};
use mqtt_ota_broker::{Broker as EmbeddedBroker, BrokerConfig};

use crate::args::Demo;
use crate::files::{self, Named};
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::units::{size, time};
use device::{Device, Home};
use stage::Stage;

/// Content of the file that is sent where the user names none.
const FILE: &str = include_str!("demo/main.py");

/// Name of the demo device.
const DEVICE: &str = "DEMO";

/// Limit for each step of the demo. On loopback a step takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demonstration.
pub(super) fn run(args: &Demo, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    super::block_on(demo(args, Stage::new(Arc::clone(printer))))
}

async fn demo(args: &Demo, stage: Stage) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let folder = tempfile::Builder::new()
        .prefix("mqtt-ota-demo-")
        .tempdir()
        .map_err(|error| Problem::failed("cannot make a temporary folder").caused_by(error))?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => write(folder.path().join("main.py"), FILE)?,
    };
    let named = files::name(&[file], None)?;
    let payloads = files::open(&named).await?;
    let (Some(named), Some(payload)) = (named.first(), payloads.first()) else {
        return Err(Problem::usage("there is no file to send"));
    };
    let broker =
        EmbeddedBroker::start(BrokerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() });
    let Ok(broker) = interrupt.during(broker).await else { return Ok(Exit::Interrupted) };
    let broker = broker?;
    let name: DeviceName = DEVICE
        .parse()
        .map_err(|error: NameError| Problem::failed("the device has no name").caused_by(error))?;
    stage.title("One file, from this shell to a device, over a broker: all on this machine, all real.");
    stage.says("broker", format!("ready at mqtt://{}", broker.address()));

    let root = folder.path().join("device");
    std::fs::create_dir(&root)
        .map_err(|error| Problem::failed("cannot make the device's disk").caused_by(error))?;
    let act = Act { stage: &stage, broker: &broker, name: &name, named, payload, root: &root };
    let ended = interrupt.during(act.play(args, folder.path())).await;
    broker.stop().await;
    drop(folder);
    let Ok(result) = ended else { return Ok(Exit::Interrupted) };
    result?;
    stage.curtain();
    stage.finish()?;
    Ok(Exit::Done)
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf, Problem> {
    match std::fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(error) => Err(Problem::failed(format!("cannot write {}", path.display())).caused_by(error)),
    }
}

/// Everything that a delivery needs.
struct Act<'a> {
    stage: &'a Stage,
    broker: &'a EmbeddedBroker,
    name: &'a DeviceName,
    named: &'a Named,
    payload: &'a Payload,
    root: &'a Path,
}

impl Act<'_> {
    async fn play(&self, args: &Demo, folder: &Path) -> Result<(), Problem> {
        let url = format!("mqtt://{}", self.broker.address());
        let broker = Broker::parse(&url).map_err(|error| Problem::failed("no broker").caused_by(error))?;
        let home = Home { broker: &broker, name: self.name, root: self.root, programs: folder };
        let mut device = Device::start(args.micropython.as_deref(), &home, self.stage).await?;
        let played = tokio::select! {
            died = device.run(self.stage) => Err(died),
            played = self.deliver(broker.clone()) => played,
        };
        device.stop().await;
        played
    }

    async fn deliver(&self, broker: Broker) -> Result<(), Problem> {
        tokio::time::timeout(PATIENCE, self.stage.device_is_ready())
            .await
            .map_err(|_| Problem::failed("the device does not announce itself"))?;
        let config = Config { listen: "127.0.0.1".parse().unwrap_or_default(), ..Config::default() };
        let sender = Sender::connect(broker, config).await?;

        self.stage.scene("The delivery");
        let report = self.send(&sender, true).await?;
        self.expect(&report, &Outcome::Installed)?;
        if let Some(back) = &report.back_online {
            let back = format!("the device is back online, {} after the installation", time(back.after));
            self.stage.says("sender", back);
        }
        self.compare(&report).await?;

        self.stage.scene("The same file again");
        let again = self.send(&sender, false).await?;
        self.expect(&again, &Outcome::Unchanged)?;
        self.stage.good("sender", "unchanged", ": the device has this very file, so nothing was sent");
        sender.close().await;
        Ok(())
    }

    async fn send(&self, sender: &Sender, wait_for_boot: bool) -> Result<Report, Problem> {
        let options = SendOptions {
            path: Some(self.named.path.clone()),
            wait_for_boot,
            retries: 0,
            connect_timeout: PATIENCE,
            confirm_timeout: PATIENCE,
            boot_timeout: PATIENCE,
            ..SendOptions::default()
        };
        let (stage, topic) = (self.stage.clone(), self.name.offer_topic());
        let options = options.on_event(move |event| show(&stage, &topic, &event));
        Ok(sender.send(self.payload, self.name, options).await?)
    }

    fn expect(&self, report: &Report, outcome: &Outcome) -> Result<(), Problem> {
        if report.outcome == *outcome {
            return Ok(());
        }
        Err(Problem::failed(format!("expected {outcome}, but: {}", report.outcome))
            .maybe_hint(report.outcome.hint()))
    }

    /// Compares the file on the device's disk with the file that was sent. Neither the sender nor the device is asked.
    async fn compare(&self, report: &Report) -> Result<(), Problem> {
        let on_device = self.root.join(self.named.path.as_str());
        let hashed = |file: PathBuf| async move {
            let failed = format!("cannot read {}", file.display());
            let digest = Payload::open(&file).await?.digest(Algorithm::Sha256).await;
            digest.map_err(|error| Problem::failed(failed).caused_by(error))
        };
        let sent: Digest = hashed(self.named.file.clone()).await?;
        let installed = hashed(on_device.clone()).await?;
        let bytes = std::fs::metadata(&on_device).map_or(0, |metadata| metadata.len());
        if sent != installed || bytes != report.bytes {
            return Err(Problem::failed(format!(
                "what is on the device's disk is not what was sent: {bytes} bytes, SHA-256 {installed}"
            )));
        }
        let same = format!(
            ": {} on the device's disk has the same {}, SHA-256 {sent}",
            self.named.path,
            size(bytes)
        );
        self.stage.good("check", "identical", same);
        Ok(())
    }
}

fn show(stage: &Stage, topic: &str, event: &Event) {
    match event {
        Event::Announced(announcement) => {
            let system = announcement.system.as_deref().unwrap_or("an unknown system");
            let free = announcement.free.map(|free| format!(", {} free", size(free))).unwrap_or_default();
            stage.says("sender", format!("the broker knows the device: {system}{free}"));
        }
        Event::Listening { local, advertised } => {
            stage.says("sender", format!("serves the file at {local}, once; advertises {}", advertised.why));
        }
        Event::Offered { offer, .. } => {
            stage.line(Line::new().plain("publishes to ").plain(topic).plain(": ").strong(offer), "sender");
        }
        Event::Receiving => stage.says("sender", "the device takes the offer"),
        Event::Connected { peer } => stage.says("sender", format!("{peer} connected")),
        Event::Progress { sent, total, .. } if sent == total => {
            stage.says("sender", format!("sent {}", size(*sent)));
        }
        Event::Delivered { .. } => stage.says("sender", "the device has it all; the port is closed"),
        Event::Installed => {
            stage.good("sender", "installed", ": says the device, which has checked the hash")
        }
        _ => {}
    }
}
