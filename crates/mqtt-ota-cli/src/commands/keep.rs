use std::path::Path;
use std::time::Duration;

use mqtt_ota::keeper::{Keeper, KeeperError, KeeperOptions};
use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Config, Sender};

use super::send::GOODBYE;
use crate::args::{Keep, Keeping};
use crate::interrupt::{Interrupt, Signal};
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::settings::{Settings, Source};
use crate::targets;

/// How long a device may be silent where nothing is said: it hashes and copies files.
const CONFIRM: Duration = Duration::from_secs(120);

/// Keeps devices in step with a folder.
pub(super) fn run(args: &Keep, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let flags = args.timing.add_to(args.serving.add_to(args.connection.flags()));
    let settings = super::settings(flags, config)?;
    let options = options(&args.keeping, &settings)?;
    super::block_on(keep(&args.folder, options, &settings, printer))
}

async fn keep(
    folder: &Path,
    options: KeeperOptions,
    settings: &Settings,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::service().map_err(Problem::no_signals)?;
    let (listen, advertise) = (settings.listen.value.clone(), settings.advertise.value.clone());
    let connecting = Sender::connect(settings.broker()?, Config { listen, advertise, ..Config::default() });
    let sender = match interrupt.during(connecting).await {
        Ok(connected) => connected.map_err(|error| Problem::from(error).with_settings(settings))?,
        Err(signal) => return Ok(exit(signal)),
    };
    let mut keeper = match interrupt.during(Keeper::start(sender, folder, options)).await {
        Ok(started) => started?,
        Err(signal) => return Ok(exit(signal)),
    };
    let what =
        format!("keeping the devices of {} at {}; Ctrl-C stops it", folder.display(), settings.broker.value);
    printer.note(&Line::new().plain(what));
    match interrupt.during(keeper.run()).await {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => Err(error.into()),
        Err(signal) => {
            let _ = tokio::time::timeout(GOODBYE, keeper.stop()).await;
            Ok(exit(signal))
        }
    }
}

/// What the flags and the settings come to together.
pub(super) fn options(keeping: &Keeping, settings: &Settings) -> Result<KeeperOptions, Problem> {
    let mut options = KeeperOptions {
        at_once: match settings.parallel.source {
            Source::Default => KeeperOptions::default().at_once,
            _ => settings.parallel.value,
        },
        attempts: keeping.give_up_after.into(),
        stop_after: keeping.stop_after.map(usize::from),
        window: keeping.window,
        connect_timeout: settings.connect_timeout.value,
        idle_timeout: settings.idle_timeout.value,
        confirm_timeout: match settings.confirm_timeout.source {
            Source::Default => CONFIRM,
            _ => settings.confirm_timeout.value,
        },
        name: keeping.name.clone(),
        ..KeeperOptions::default()
    };
    for canary in &keeping.canary {
        match canary.trim().strip_prefix('@') {
            // A group that the settings do not have may be one of the folders'.
            Some(group) if !settings.groups.contains_key(group) => {
                options.canary_groups.insert(group.to_owned());
            }
            _ => {
                let devices: Vec<DeviceName> =
                    targets::resolve(std::slice::from_ref(canary), &settings.groups)?;
                options.canaries.extend(devices);
            }
        }
    }
    Ok(options)
}

/// A service manager's request to stop is what a service is meant to follow; Ctrl-C is an interruption.
fn exit(signal: Signal) -> Exit {
    match signal {
        Signal::Terminate => Exit::Done,
        Signal::Interrupt => Exit::Interrupted,
    }
}

impl From<KeeperError> for Problem {
    fn from(error: KeeperError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}
