//! What a delivery looks like: to people, line by line, and to programs, as JSON.

mod record;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mqtt_ota::wire::{DeviceName, DevicePath};
use mqtt_ota::{Event, Outcome, Report, SendError};

pub(crate) use record::{Announced, Described, Record, Step, Summary};

use crate::line::Line;
use crate::printer::Printer;
use crate::problem::Problem;
use crate::progress::Bar;
use crate::units::{size, time};

/// The shortest time between two `progress` objects of one file.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// One file on its way to one device.
pub(crate) struct Track {
    pub(crate) printer: Arc<Printer>,
    pub(crate) bar: Arc<Bar>,
    pub(crate) device: DeviceName,
    pub(crate) path: DevicePath,
    pub(crate) bytes: u64,
    last_progress: Mutex<Option<Instant>>,
}

impl Track {
    pub(crate) fn new(
        printer: Arc<Printer>,
        bar: Arc<Bar>,
        device: DeviceName,
        path: DevicePath,
        bytes: u64,
    ) -> Self {
        Self { printer, bar, device, path, bytes, last_progress: Mutex::default() }
    }

    /// Shows something that happened.
    pub(crate) fn event(&self, event: &Event) {
        if self.printer.json() {
            if !self.is_too_soon(event) {
                self.record(Step::of(event));
            }
        } else {
            self.show(event);
        }
    }

    fn record(&self, step: Option<Step>) {
        if let Some(step) = step {
            self.printer.object(&Record { device: self.device.as_str(), path: self.path.as_str(), step });
        }
    }

    /// Whether this progress follows the last one so closely that nobody needs it.
    fn is_too_soon(&self, event: &Event) -> bool {
        let Event::Progress { sent, total, .. } = event else { return false };
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        if sent < total && last.is_some_and(|last| last.elapsed() < PROGRESS_PAUSE) {
            return true;
        }
        *last = Some(Instant::now());
        false
    }

    fn about(&self) -> Line {
        Line::new().strong(&self.device).plain(": ").plain(&self.path).plain(": ")
    }

    fn show(&self, event: &Event) {
        match event {
            Event::Announced(announcement) => {
                let system = announcement.system.as_deref().unwrap_or("an unknown system");
                let client = announcement.client.as_deref().unwrap_or("an unknown client");
                self.printer.step(&self.about().plain(format!("the device runs {client} on {system}")));
            }
            Event::Listening { local, advertised } => {
                self.printer.step(&self.about().plain(format!("listening on {local}")));
                let why = format!("advertising {advertised}: {}", advertised.why);
                self.printer.step(&self.about().plain(why));
            }
            Event::Offered { attempt, offer } => {
                self.bar.waiting(&format!("{}: waiting for the device", self.path));
                self.printer.step(&self.about().plain("offering ").faint(offer));
                if *attempt == 1 && !self.printer.shows_bars() {
                    let line = Line::new().strong(&self.device).plain(": sending ").plain(&self.path);
                    self.printer.note(&line.plain(format!(" ({})", size(self.bytes))));
                }
            }
            Event::Receiving => {
                self.printer.step(&self.about().plain("the device takes the offer"));
            }
            Event::Connected { peer } => self.printer.step(&self.about().plain(format!("{peer} connected"))),
            Event::Progress { sent, total, .. } => self.bar.moving(self.path.as_str(), *sent, *total),
            Event::Dropped { peer, sent, cause } => {
                self.bar.waiting(&format!("{}: waiting for the device", self.path));
                let what = format!("{peer} was served {} and no more: {cause}", size(*sent));
                self.printer.note(&self.about().plain(what));
            }
            Event::Delivered { peer } => {
                self.bar.waiting(&format!("{}: waiting for the device's answer", self.path));
                self.printer.step(&self.about().plain(format!("{peer} has the whole file")));
            }
            Event::Retrying { attempt, of, after, because } => {
                self.bar.waiting(&format!("{}: waiting before the next try", self.path));
                let pause =
                    if after.is_zero() { "at once".to_owned() } else { format!("in {}", time(*after)) };
                let again = format!("; again {pause} (try {attempt} of {of})");
                self.printer.note(&self.about().doubtful(because).plain(again));
            }
            Event::Installed => self.printer.step(&self.about().plain("the device has installed it")),
            Event::WaitingForBoot => {
                self.bar.waiting("waiting for the device to be back online");
                self.printer.step(&self.about().plain("waiting for the device to be back online"));
            }
            _ => {}
        }
    }

    /// Shows what it came to. `ok`: whether this counts as done.
    pub(crate) fn done(&self, result: &Result<Report, SendError>, ok: bool, rebooting: bool) {
        if self.printer.json() {
            self.record(Some(match result {
                Ok(report) => Step::result(report, ok),
                Err(error) => Step::error(error, self.bytes),
            }));
        }
        match result {
            Ok(report) if ok => {
                if !self.printer.json() {
                    self.printer.result(&self.result_line(report, rebooting));
                }
            }
            Ok(report) => {
                let what = format!("{}: {}: {}", self.device, self.path, report.outcome);
                let otherwise = match &report.outcome {
                    Outcome::Unconfirmed => "without --require-confirmation this counts as done",
                    Outcome::RolledBack { .. } => "the device runs what it ran before",
                    _ => "the device keeps the file that it had",
                };
                let problem = Problem::failed(what).hint(otherwise).maybe_hint(report.outcome.hint());
                self.printer.problem(&problem);
            }
            Err(error) => {
                let what = format!("{}: {}: {error}", self.device, self.path);
                let problem = Problem::failed(what).maybe_hint(error.hint().map(str::to_owned));
                self.printer.problem(&match std::error::Error::source(error) {
                    Some(source) => problem.caused_by(Described::of(source)),
                    None => problem,
                });
            }
        }
    }

    fn result_line(&self, report: &Report, rebooting: bool) -> Line {
        let line = Line::new().strong(&self.device).plain(": ").plain(&self.path).plain(' ');
        let took = format!("({} in {})", size(report.bytes), time(report.elapsed));
        match &report.outcome {
            Outcome::Installed => {
                let line = line.good("installed").plain(' ').plain(took);
                match &report.back_online {
                    Some(back) => line.plain(format!(", back online {} later", time(back.after))),
                    None if rebooting => line.plain(", rebooting"),
                    None => line,
                }
            }
            Outcome::Unchanged => line.good("unchanged").plain(": the device already has this file"),
            Outcome::Unconfirmed => line
                .doubtful("delivered, unconfirmed")
                .plain(format!(" {took}: this device does not say what it did with it")),
            other => line.plain(other),
        }
    }

    /// Shows that this file was not tried.
    pub(crate) fn skipped(&self, because: &'static str) {
        if self.printer.json() {
            self.record(Some(Step::Skipped { because }));
        }
    }
}
