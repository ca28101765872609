use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use mqtt_ota::check::{Findings, LeftOut};
use mqtt_ota::wire::{DeviceName, SetTerms};
use mqtt_ota::{Config, Delete, FileSet, SendError, Sender, SyncOptions, SyncReport, Trial};

use super::send::GOODBYE;
use crate::args::Sync;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::progress::Bar;
use crate::report::{Summary, Track};
use crate::settings::{Settings, Source};
use crate::targets;
use crate::units::{count, size};

/// Syncs a folder to devices. With `--json` a summary is printed in any case, except after Ctrl-C or if standard output
/// fails.
pub(super) fn run(args: &Sync, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let ended = deliver(args, config, printer);
    if let Err(problem) = &ended
        && printer.json()
        && !problem.is_of_output()
    {
        printer.object(&Summary::of_nothing(problem));
    }
    ended
}

fn deliver(args: &Sync, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let flags = args.serving.add_to(args.connection.flags());
    let flags = args.groups.add_to(args.parallel.add_to(flags));
    let flags = args.reboot.add_to(args.waiting.add_to(args.retrying.add_to(flags)));
    let flags = args.checking.add_to(flags);
    let settings = super::settings(flags, config)?;
    let devices = targets::resolve("--to", &args.to, &settings.groups)?;
    super::block_on(sync(args, &settings, &devices, printer))
}

async fn sync(
    args: &Sync,
    settings: &Settings,
    devices: &[DeviceName],
    printer: &Arc<Printer>,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let broker = settings.broker()?;
    let connecting = async {
        let set = FileSet::of_folder(&args.folder).await?;
        let check = match settings.check.value {
            true => Some(set.check().await?),
            false => None,
        };
        let listen = settings.listen.value.clone();
        let advertise = settings.advertise.value.clone();
        let sender = Sender::connect(broker, Config { listen, advertise, ..Config::default() })
            .await
            .map_err(|error| Problem::from(error).with_settings(settings))?;
        Ok::<_, Problem>((set, check, sender))
    };
    let Ok(connected) = interrupt.during(connecting).await else { return Ok(Exit::Interrupted) };
    let (set, check, sender) = connected?;
    let found = format!("{} in {}", count(set.files().len(), "file"), args.folder.display());
    printer.step(&Line::new().plain(format!("{found}, {}", size(set.total()))));

    for left_out in set.left_out() {
        printer.step(&Line::new().plain(why_left_out(left_out)));
    }

    let neighbours = Neighbours::new(&sender, settings);
    let check = check.as_ref();
    let delivery = Delivery { args, settings, set: &set, check, sender: &sender, neighbours, printer };
    let width = devices.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let all = futures_util::stream::iter(devices)
        .map(|device| delivery.to_device(device, width))
        .buffer_unordered(settings.parallel.value)
        .collect::<Vec<_>>();
    let Ok(results) = interrupt.during(all).await else {
        printer.note(
            &Line::new().plain(
                "interrupted: a device that has taken all files installs them, others keep the old ones",
            ),
        );
        let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
        return Ok(Exit::Interrupted);
    };
    let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
    let mut summary = Summary { devices: devices.len(), ..Summary::default() };
    for (result, ok) in &results {
        summary.devices_ok += usize::from(*ok);
        summary.add(result.as_ref().map(|sync| &sync.report), *ok);
    }
    super::conclude(summary, printer)
}

/// Describes a file or folder that is not sent, with the rule that leaves it out.
fn why_left_out(left_out: &LeftOut) -> String {
    let why = match (&left_out.rule, &left_out.file) {
        (None, _) => "hidden".to_owned(),
        (Some(rule), None) => format!("{rule}, as by default"),
        (Some(rule), Some(file)) => format!("{rule} in {}", file.display()),
    };
    format!("leaving out {} ({why})", left_out.path)
}

struct Delivery<'a> {
    args: &'a Sync,
    settings: &'a Settings,
    set: &'a FileSet,
    check: Option<&'a Findings>,
    sender: &'a Sender,
    neighbours: Neighbours<'a>,
    printer: &'a Arc<Printer>,
}

impl Delivery<'_> {
    async fn to_device(&self, device: &DeviceName, width: usize) -> (Result<SyncReport, SendError>, bool) {
        let Self { args, settings, set, .. } = *self;
        let bar = Arc::new(Bar::new(self.printer, device, width));
        let track = Track::new(Arc::clone(self.printer), bar, device.clone(), SetTerms::path(), set.total());
        let track = Arc::new(track.called(count(set.files().len(), "file")));
        let defaults = SyncOptions::default();
        let options = SyncOptions {
            delete: match (args.delete, args.delete_all) {
                (_, true) => Delete::Everything,
                (true, false) => Delete::FormerSet,
                (false, false) => Delete::Nothing,
            },
            dry_run: args.dry_run,
            trial: args.trial.and_then(Trial::new),
            reboot: !args.reboot.no_reboot,
            wait_for_boot: args.reboot.wait_boot,
            retries: settings.retries.value,
            retry_pause: settings.retry_pause.value,
            connect_timeout: settings.connect_timeout.value,
            idle_timeout: settings.idle_timeout.value,
            // A device needs more time for a set than for a single file.
            confirm_timeout: match settings.confirm_timeout.source {
                Source::Default => defaults.confirm_timeout,
                _ => settings.confirm_timeout.value,
            },
            boot_timeout: settings.boot_timeout.value,
            check: self.check.cloned(),
            ..defaults
        };
        let observer = Arc::clone(&track);
        let options = options.on_event(move |event| observer.event(&event));
        let result = self.sender.sync(set, device, options).await;
        self.neighbours.doubt(&track, result.as_ref().map(|sync| &sync.report)).await;
        let ok = result.as_ref().is_ok_and(|sync| sync.report.outcome.is_success());
        track.set_done(&result, ok, !args.reboot.no_reboot);
        (result, ok)
    }
}
