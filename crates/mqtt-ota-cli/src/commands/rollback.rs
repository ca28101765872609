use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use mqtt_ota::wire::{DeviceName, SetTerms};
use mqtt_ota::{Config, Observer, Report, RollbackOptions, SendError, Sender};

use super::send::GOODBYE;
use crate::args::Rollback;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::progress::Bar;
use crate::report::{Summary, Track};
use crate::settings::Settings;
use crate::targets;

/// Takes sets back. With `--json` a summary is printed in any case, except after Ctrl-C or if standard output fails.
pub(super) fn run(args: &Rollback, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let ended = take_back(args, config, printer);
    if let Err(problem) = &ended
        && printer.json()
        && !problem.is_of_output()
    {
        printer.object(&Summary::of_nothing(problem));
    }
    ended
}

fn take_back(args: &Rollback, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let flags = args.groups.add_to(args.parallel.add_to(args.connection.flags()));
    let settings = super::settings(args.boot.add_to(args.absence.add_to(flags)), config)?;
    let devices = targets::resolve("--to", &args.to, &settings.groups)?;
    super::block_on(from_all(&settings, &devices, printer))
}

async fn from_all(
    settings: &Settings,
    devices: &[DeviceName],
    printer: &Arc<Printer>,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let connecting = Sender::connect(settings.broker()?, Config::default());
    let Ok(connected) = interrupt.during(connecting).await else { return Ok(Exit::Interrupted) };
    let sender = connected.map_err(|error| Problem::from(error).with_settings(settings))?;
    let neighbours = Neighbours::new(&sender, settings);
    let width = devices.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let all = futures_util::stream::iter(devices)
        .map(|device| from_device(device, width, settings, &sender, &neighbours, printer))
        .buffer_unordered(settings.parallel.value)
        .collect::<Vec<_>>();
    let Ok(results) = interrupt.during(all).await else {
        let what = "interrupted: a device that was told to takes its set back all the same";
        printer.note(&Line::new().plain(what));
        let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
        return Ok(Exit::Interrupted);
    };
    let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
    let mut summary = Summary { devices: devices.len(), ..Summary::default() };
    for (result, ok) in &results {
        summary.devices_ok += usize::from(*ok);
        summary.add(result.as_ref(), *ok);
    }
    super::conclude(summary, printer)
}

async fn from_device(
    device: &DeviceName,
    width: usize,
    settings: &Settings,
    sender: &Sender,
    neighbours: &Neighbours<'_>,
    printer: &Arc<Printer>,
) -> (Result<Report, SendError>, bool) {
    let bar = Arc::new(Bar::new(printer, device, width));
    let track = Track::new(Arc::clone(printer), bar, device.clone(), SetTerms::path(), None);
    let track = Arc::new(track.called("the last set"));
    let observer = Arc::clone(&track);
    let options = RollbackOptions {
        connect_timeout: settings.connect_timeout.value,
        boot_timeout: settings.boot_timeout.value,
        observer: Some(Observer::new(move |event| observer.event(&event))),
    };
    let result = sender.rollback(device, options).await;
    neighbours.doubt(&track, result.as_ref()).await;
    let ok = result.as_ref().is_ok_and(|report| report.outcome.is_success());
    track.done(&result, ok, true);
    (result, ok)
}
