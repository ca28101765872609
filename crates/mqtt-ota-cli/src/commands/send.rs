use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mqtt_ota::check::Findings;
use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Config, LinkError, Outcome, Payload, Protocol, Report, SendError, SendOptions, Sender};

use crate::args::Send;
use crate::files::{self, Named};
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::progress::Bar;
use crate::report::{Summary, Track};
use crate::settings::Settings;
use crate::targets;
use crate::units::count;

/// Time limit for the goodbye to the broker.
pub(super) const GOODBYE: Duration = Duration::from_millis(300);

/// Sends files to devices. With `--json` a summary is printed in any case, except after Ctrl-C or if standard output
/// fails.
pub(super) fn run(args: Send, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let ended = deliver(&args, config, printer);
    if let Err(problem) = &ended
        && printer.json()
        && !problem.is_of_output()
    {
        printer.object(&Summary::of_nothing(problem));
    }
    ended
}

fn deliver(args: &Send, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let flags = args.serving.add_to(args.connection.flags());
    let flags = args.groups.add_to(args.parallel.add_to(flags));
    let flags = args.reboot.add_to(args.waiting.add_to(args.retrying.add_to(flags)));
    let flags = args.checking.add_to(flags);
    let settings = super::settings(flags, config)?;
    let devices = targets::resolve("--to", &args.to, &settings.groups)?;
    let named = files::name(&args.files, args.path.as_deref())?;
    super::block_on(send(args, &settings, &devices, &named, printer))
}

async fn send(
    args: &Send,
    settings: &Settings,
    devices: &[DeviceName],
    named: &[Named],
    printer: &Arc<Printer>,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let broker = settings.broker()?;
    let connecting = async {
        let payloads = files::open(named).await?;
        let check = match settings.check.value {
            true => Some(files::check(named, &payloads).await?),
            false => None,
        };
        let listen = settings.listen.value.clone();
        let advertise = settings.advertise.value.clone();
        let config = Config { listen, advertise, ..Config::default() };
        let sender = Sender::connect(broker, config)
            .await
            .map_err(|error| Problem::from(error).with_settings(settings))?;
        Ok::<_, Problem>((payloads, check, sender))
    };
    let Ok(connected) = interrupt.during(connecting).await else { return Ok(Exit::Interrupted) };
    let (payloads, check, sender) = connected?;
    let protocol = if sender.protocol() == Protocol::V5 { "5" } else { "3.1.1" };
    let connection = format!("connected to {} with MQTT {protocol}", settings.broker.value);
    printer.step(&Line::new().plain(connection));

    let delivery = Delivery {
        args,
        settings,
        named,
        payloads: &payloads,
        check: check.as_ref(),
        sender: &sender,
        neighbours: Neighbours::new(&sender, settings),
        printer,
        lost: Cell::new(false),
    };
    let width = devices.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let all = futures_util::stream::iter(devices)
        .map(|device| delivery.to_device(device, width))
        .buffer_unordered(settings.parallel.value)
        .collect::<Vec<_>>();
    let Ok(mut results) = interrupt.during(all).await else {
        printer.note(
            &Line::new().plain(
                "interrupted: a device that has taken a whole file installs it, others keep the old one",
            ),
        );
        let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
        return Ok(Exit::Interrupted);
    };
    results.sort_by_key(|received| devices.iter().position(|device| device == received.device));
    let ok = summarise(&results, named.len(), args, printer);
    let _ = tokio::time::timeout(GOODBYE, sender.close()).await;
    match printer.finish().map_err(Problem::from) {
        // The delivery is done. A reader that closed standard output does not undo it.
        Err(problem) if !problem.is_closed_output() => Err(problem),
        _ if ok => Ok(Exit::Done),
        _ => Ok(Exit::Failed),
    }
}

struct Delivery<'a> {
    args: &'a Send,
    settings: &'a Settings,
    named: &'a [Named],
    payloads: &'a [Payload],
    /// Findings in all of the files. `None` if the files were not checked.
    check: Option<&'a Findings>,
    sender: &'a Sender,
    neighbours: Neighbours<'a>,
    printer: &'a Arc<Printer>,
    /// True once the broker is lost for good. Further transfers would only wait for it again.
    lost: Cell<bool>,
}

/// Result of all transfers to one device.
struct Received<'a> {
    device: &'a DeviceName,
    ok: bool,
    /// Names of the files that are on the device now, of the file that failed, and of the files that were not tried.
    there: Vec<&'a str>,
    failed: Option<&'a str>,
    skipped: Vec<&'a str>,
    summary: Summary,
}

impl<'a> Delivery<'a> {
    /// Sends all files, in order, until one fails or the broker is lost for good.
    async fn to_device(&self, device: &'a DeviceName, width: usize) -> Received<'a> {
        let bar = Arc::new(Bar::new(self.printer, device, width));
        let mut received = Received {
            device,
            ok: true,
            there: Vec::new(),
            failed: None,
            skipped: Vec::new(),
            summary: Summary::default(),
        };
        for (index, (named, payload)) in self.named.iter().zip(self.payloads).enumerate() {
            let (path, bytes) = (named.path.clone(), payload.len());
            let track = Track::new(Arc::clone(self.printer), Arc::clone(&bar), device.clone(), path, bytes);
            if !received.ok || self.lost.get() {
                let because = if self.lost.get() { "the broker is gone" } else { "a file before it failed" };
                track.skipped(because);
                received.ok = false;
                received.skipped.push(named.path.as_str());
                received.summary.skipped += 1;
                continue;
            }
            let last = index + 1 == self.named.len();
            let result = self.send(Arc::new(track), payload, index == 0, last).await;
            let ok = result.as_ref().is_ok_and(|report| self.is_done(report));
            self.lost.set(self.lost.get() || matches!(result, Err(SendError::Broker(LinkError::Lost))));
            received.summary.add(result.as_ref(), ok);
            received.ok = ok;
            if ok {
                received.there.push(named.path.as_str());
            } else {
                received.failed = Some(named.path.as_str());
            }
        }
        received
    }

    async fn send(
        &self,
        track: Arc<Track>,
        payload: &Payload,
        first: bool,
        last: bool,
    ) -> Result<Report, SendError> {
        let options = SendOptions {
            path: Some(track.path.clone()),
            reboot: last && !self.args.reboot.no_reboot,
            wait_for_boot: last && self.args.reboot.wait_boot,
            retries: self.settings.retries.value,
            retry_pause: self.settings.retry_pause.value,
            connect_timeout: self.settings.connect_timeout.value,
            idle_timeout: self.settings.idle_timeout.value,
            confirm_timeout: self.settings.confirm_timeout.value,
            boot_timeout: self.settings.boot_timeout.value,
            // The findings cover all files at once, so that no file is sent before another one is refused.
            check: self.check.filter(|_| first).cloned(),
            ..SendOptions::default()
        };
        let rebooting = options.reboot;
        let observer = Arc::clone(&track);
        let options = options.on_event(move |event| observer.event(&event));
        let sending = self.sender.send(payload, &track.device, options);
        let result = self.neighbours.watch(&track, sending).await;
        self.neighbours.doubt(&track, result.as_ref()).await;
        let ok = result.as_ref().is_ok_and(|report| self.is_done(report));
        track.done(&result, ok, rebooting);
        result
    }

    fn is_done(&self, report: &Report) -> bool {
        match report.outcome {
            Outcome::Unconfirmed => !self.args.require_confirmation,
            ref outcome => outcome.is_success(),
        }
    }
}

/// Prints which device has which files, and the summary. In text mode a single file to a single device needs neither.
/// Returns true if everything is done.
fn summarise(results: &[Received<'_>], files: usize, args: &Send, printer: &Printer) -> bool {
    let mut total = Summary { devices: results.len(), ..Summary::default() };
    for received in results {
        total.devices_ok += usize::from(received.ok);
        total.installed += received.summary.installed;
        total.unchanged += received.summary.unchanged;
        total.unconfirmed += received.summary.unconfirmed;
        total.failed += received.summary.failed;
        total.skipped += received.summary.skipped;
    }
    total.ok = total.devices_ok == total.devices;
    if printer.json() {
        printer.object(&total);
    } else if results.len() > 1 || files > 1 {
        for received in results.iter().filter(|received| !received.ok) {
            printer.result(&what_is_there(received, args));
        }
        let devices = count(results.len(), "device");
        let line = if total.ok {
            Line::new().good("done").plain(format!(": {} on {devices}", count(files, "file")))
        } else {
            let failed = total.devices - total.devices_ok;
            Line::new().bad(format!("{failed} of {devices} failed"))
        };
        printer.result(&line);
    }
    total.ok
}

fn what_is_there(received: &Received<'_>, args: &Send) -> Line {
    let mut parts = Vec::new();
    if !received.there.is_empty() {
        parts.push(format!("has {}", received.there.join(", ")));
    }
    parts.extend(received.failed.map(|path| format!("{path} failed")));
    if !received.skipped.is_empty() {
        parts.push(format!("not sent: {}", received.skipped.join(", ")));
    }
    let rebooted = match (received.there.is_empty(), args.reboot.no_reboot) {
        (false, false) => "; it was not rebooted, so it still runs what it ran",
        _ => "",
    };
    Line::new().strong(received.device).plain(": ").plain(parts.join("; ")).plain(rebooted)
}
