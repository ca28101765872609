//! Output of a delivery: lines for people, and JSON for programs.

mod record;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mqtt_ota::wire::{DeviceName, DevicePath};
use mqtt_ota::{Event, Outcome, Plan, Report, SendError, SyncReport};

pub(crate) use record::{Announced, Described, Record, Step, Summary};

use crate::line::Line;
use crate::printer::Printer;
use crate::problem::Problem;
use crate::progress::Bar;
use crate::units::{count, short, size, time};

/// Description of a device that runs its client alone.
pub(crate) const SAFE_MODE: &str =
    "safe mode: its application failed three times in a row; it waits for an update";

/// Shortest time between two `progress` objects of one file.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of lost connections that get a line of their own. Further ones of the same file are counted.
const LOST_CONNECTIONS: usize = 10;

/// Transfer of one file, or of one set, to one device.
pub(crate) struct Track {
    pub(crate) printer: Arc<Printer>,
    pub(crate) bar: Arc<Bar>,
    pub(crate) device: DeviceName,
    pub(crate) path: DevicePath,
    /// Name of the file or the set for people.
    label: String,
    /// Length of what is sent, in bytes. `None` if nothing is sent.
    pub(crate) bytes: Option<u64>,
    last_progress: Mutex<Option<Instant>>,
    /// True once any event has come, except `Listening`, `Offered` and `Retrying`. It stands for a sign of the device:
    /// an announcement, of any time, or a connection for the offer.
    heard: AtomicBool,
    /// Question that suggests another device. As a hint it replaces that of the outcome.
    question: OnceLock<String>,
    /// Number of connections that broke.
    dropped: AtomicUsize,
    /// True while the device has installed the file and the end has not been shown.
    is_installed: AtomicBool,
}

/// Reports the installation if the command ends before the device is back online. Ctrl-C during the boot does not undo
/// what the device has confirmed.
impl Drop for Track {
    fn drop(&mut self) {
        if *self.is_installed.get_mut() && !self.printer.json() {
            let what = "installed, but stopped before the device was seen back online";
            self.printer.result(&self.about().plain(what));
        }
    }
}

impl Track {
    pub(crate) fn new(
        printer: Arc<Printer>,
        bar: Arc<Bar>,
        device: DeviceName,
        path: DevicePath,
        bytes: impl Into<Option<u64>>,
    ) -> Self {
        let (label, bytes) = (path.to_string(), bytes.into());
        Self {
            printer,
            bar,
            device,
            path,
            label,
            bytes,
            last_progress: Mutex::default(),
            dropped: AtomicUsize::new(0),
            heard: AtomicBool::new(false),
            is_installed: AtomicBool::new(false),
            question: OnceLock::new(),
        }
    }

    /// Sets the name for people, which is the path on the device by default.
    pub(crate) fn called(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Returns true if there was a sign of the device.
    pub(crate) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Stores a question that is shown if the delivery fails.
    pub(crate) fn ask(&self, question: String) {
        let _ = self.question.set(question);
    }

    /// Returns true if there is a question.
    pub(crate) fn was_asked(&self) -> bool {
        self.question.get().is_some()
    }

    /// Returns what to do about an outcome.
    fn hint(&self, outcome: &Outcome) -> Option<String> {
        self.question.get().cloned().or_else(|| outcome.hint())
    }

    /// Shows an event.
    pub(crate) fn event(&self, event: &Event) {
        let is_of_the_device = !matches!(
            event,
            Event::Listening { .. }
                | Event::Offered { .. }
                | Event::Retrying { .. }
                | Event::Noticed(_)
                | Event::TurnedAway { .. }
        );
        if is_of_the_device {
            self.heard.store(true, Ordering::Relaxed);
        }
        if matches!(event, Event::Installed) {
            self.is_installed.store(true, Ordering::Relaxed);
        }
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

    /// Returns true if the event is progress that follows the last one too closely to be printed.
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
        Line::new().strong(&self.device).plain(": ").plain(&self.label).plain(": ")
    }

    fn show(&self, event: &Event) {
        match event {
            Event::Announced(announcement) => {
                let system = announcement.system.as_deref().unwrap_or("an unknown system");
                let client = announcement.client.as_deref().unwrap_or("an unknown client");
                self.printer.step(&self.about().plain(format!("the device runs {client} on {system}")));
            }
            Event::Noticed(finding) => self.printer.warning(format!("{}: {finding}", self.device)),
            Event::Listening { local, advertised } => {
                self.printer.step(&self.about().plain(format!("listening on {local}")));
                let why = format!("advertising {advertised}: {}", advertised.why);
                self.printer.step(&self.about().plain(why));
            }
            Event::Offered { attempt, offer } => {
                self.bar.waiting(&format!("{}: waiting for the device", self.label));
                self.printer.step(&self.about().plain("offering ").faint(offer));
                if let Some(bytes) = self.bytes
                    && *attempt == 1
                    && !self.printer.shows_bars()
                {
                    let line = Line::new().strong(&self.device).plain(": sending ").plain(&self.label);
                    self.printer.note(&line.plain(format!(" ({})", size(bytes))));
                }
            }
            Event::Receiving => {
                self.printer.step(&self.about().plain("the device takes the offer"));
            }
            Event::Connected { peer } => self.printer.step(&self.about().plain(format!("{peer} connected"))),
            Event::Asked { path, files, offset, .. } => {
                let more = if *files > 1 {
                    format!(" and {} more", count(files - 1, "file"))
                } else {
                    String::new()
                };
                let from = if *offset > 0 { format!(", from byte {offset} on") } else { String::new() };
                self.printer.step(&self.about().plain(format!("the device asks for {path}{more}{from}")));
            }
            Event::Progress { sent, total, .. } if sent == total => {
                self.bar.waiting(&format!("{}: waiting for the device's answer", self.label));
            }
            Event::Progress { sent, total, .. } => self.bar.moving(&self.label, *sent, *total),
            Event::Dropped { peer, sent, cause } => {
                self.bar.waiting(&format!("{}: waiting for the device", self.label));
                let what = format!("{peer} was served {} and no more: {cause}", size(*sent));
                let line = self.about().plain(what);
                // With `-v` each lost connection has a line. Without it, a link that breaks all the time does not fill
                // the screen.
                match self.dropped.fetch_add(1, Ordering::Relaxed) {
                    0..LOST_CONNECTIONS => self.printer.note(&line),
                    _ => self.printer.step(&line),
                }
            }
            Event::TurnedAway { count: 1, last, cause } => {
                self.printer
                    .note(&self.about().plain(format!("{last} connected, which is not the device: {cause}")));
            }
            Event::TurnedAway { count, last, cause } => {
                let what = format!("{count} connections were not the device's; the last was {last}: {cause}");
                self.printer.note(&self.about().plain(what));
            }
            Event::WaitingForDevice { limit } => {
                self.bar.waiting(&format!("{}: waiting for the device to be back", self.label));
                let what = format!(
                    "the device is not on the broker now, but was: waiting up to {} for it (--connect-timeout)",
                    time(*limit)
                );
                self.printer.note(&self.about().plain(what));
            }
            Event::Delivered { peer } => {
                self.bar.waiting(&format!("{}: waiting for the device's answer", self.label));
                self.printer.step(&self.about().plain(format!("{peer} has the whole file")));
            }
            Event::Retrying { attempt, of, after, because } => {
                self.bar.waiting(&format!("{}: waiting before the next try", self.label));
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
            other => self.show_word(other),
        }
    }

    /// Shows the rarer events, which the device itself causes.
    fn show_word(&self, event: &Event) {
        match event {
            Event::AtBoot => {
                self.bar.waiting(&format!("{}: waiting for the device's boot", self.label));
                self.printer.note(&Line::new().strong(&self.device).plain(" fetches it at its boot"));
            }
            Event::Postponed { after, why } => {
                self.bar.waiting(&format!("{}: waiting, as the device asks for", self.label));
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                let what = format!(" asks to wait {} s{why}", after.as_secs());
                self.printer.note(&Line::new().strong(&self.device).plain(what));
            }
            Event::TooLittleMemory { text } => {
                let why = if text.is_empty() { String::new() } else { format!(" ({text})") };
                let what = "the device has too little memory for an offer that resumes";
                self.printer.note(&self.about().plain(format!("{what}{why}; offering it plainly")));
            }
            Event::Hidden { by } => self.printer.warning(format!(
                "{}: {}: installed, and never imported: the device has {by}, which comes before it; delete that there, \
                 if nothing needs it",
                self.device, self.label
            )),
            Event::Crashed(crash) => {
                self.printer.warning(format!("{}: its application crashed: {}", self.device, crash.summary()));
                let lines = crash.as_str().lines().filter(|line| !line.trim().is_empty());
                let lines: Vec<_> = lines.collect();
                if lines.len() > 1 {
                    lines.iter().for_each(|line| self.printer.note(&Line::new().plain("  ").faint(line)));
                }
            }
            _ => {}
        }
    }

    /// Ends the account of the events, before the result is shown. Lost connections without a line of their own are
    /// counted.
    fn ends(&self) {
        self.is_installed.store(false, Ordering::Relaxed);
        let more = self.dropped.load(Ordering::Relaxed).saturating_sub(LOST_CONNECTIONS);
        if more > 0 && !self.printer.json() {
            self.printer.note(&self.about().plain(format!("and {} more broke", count(more, "connection"))));
        }
    }

    /// Shows the result of a file. `ok` says that it counts as done.
    pub(crate) fn done(&self, result: &Result<Report, SendError>, ok: bool, rebooting: bool) {
        self.ends();
        if self.printer.json() {
            self.record(Some(match result {
                Ok(report) => Step::result(report, self.bytes, ok).hinting(self.hint(&report.outcome)),
                Err(error) => Step::error(error, self.bytes),
            }));
        }
        match result {
            Ok(report) if ok => {
                if !self.printer.json() {
                    self.printer.result(&self.result_line(report, rebooting));
                }
            }
            _ => self.failed(result.as_ref()),
        }
    }

    /// Shows the result of a set. `ok` says that it counts as done.
    pub(crate) fn set_done(&self, result: &Result<SyncReport, SendError>, ok: bool, rebooting: bool) {
        self.ends();
        if self.printer.json() {
            self.record(Some(match result {
                Ok(report) => Step::set_result(report, ok).hinting(self.hint(&report.report.outcome)),
                Err(error) => Step::error(error, self.bytes),
            }));
        }
        match result {
            Ok(report) if ok && !self.printer.json() => {
                report.plan.iter().for_each(|plan| self.plan(plan));
                self.printer.result(&self.set_line(report, rebooting));
            }
            Ok(_) if ok => {}
            Ok(report) => self.failed(Ok(&report.report)),
            Err(error) => self.failed(Err(error)),
        }
    }

    fn plan(&self, plan: &Plan) {
        let line = |what: &str| Line::new().strong(&self.device).plain(": ").plain(what).plain(' ');
        for (path, bytes) in &plan.send {
            self.printer.result(&line("would send").plain(path).plain(format!(" ({})", size(*bytes))));
        }
        for (path, bytes) in &plan.keep {
            self.printer.result(&line("would keep").plain(path).plain(format!(" ({})", size(*bytes))));
        }
        for path in &plan.delete {
            self.printer.result(&line("would delete").plain(path));
        }
    }

    fn set_line(&self, sync: &SyncReport, rebooting: bool) -> Line {
        let SyncReport { report, files, fetched, plan, .. } = sync;
        let line = Line::new().strong(&self.device).plain(": ");
        match (&report.outcome, plan) {
            (Outcome::Planned, Some(plan)) => {
                let bytes = plan.send.iter().map(|(_, bytes)| bytes).sum();
                line.good("dry run").plain(format!(
                    ": {} to send ({}), {} to keep, {} to delete",
                    count(plan.send.len(), "file"),
                    size(bytes),
                    plan.keep.len(),
                    plan.delete.len()
                ))
            }
            (Outcome::Unchanged, _) => line
                .plain(self.called_set(report))
                .good("unchanged")
                .plain(format!(": the device already has {}", if *files == 1 { "it" } else { "them all" })),
            (Outcome::Installed, _) => {
                let took = format!(
                    " ({fetched} of {} sent, {} in {})",
                    count(*files, "file"),
                    size(report.sent),
                    time(report.elapsed)
                );
                let line = line.plain(self.called_set(report)).good("installed").plain(took);
                after_boot(line, report, rebooting)
            }
            (other, _) => line.plain(&self.label).plain(' ').plain(other),
        }
    }

    /// Returns the set's name for people, with the beginning of its hash.
    fn called_set(&self, report: &Report) -> String {
        report.digest.map_or_else(String::new, |digest| format!("{} (set {}) ", self.label, short(digest)))
    }

    fn failed(&self, result: Result<&Report, &SendError>) {
        match result {
            Ok(report) => {
                let what = format!("{}: {}: {}", self.device, self.label, report.outcome);
                let otherwise = match &report.outcome {
                    Outcome::Unconfirmed => "without --require-confirmation this counts as done",
                    Outcome::RolledBack { .. } => "the device runs what it ran before",
                    _ if self.label != self.path.as_str() => "the device keeps the files that it had",
                    _ => "the device keeps the file that it had",
                };
                let problem = Problem::failed(what).hint(otherwise).maybe_hint(self.hint(&report.outcome));
                self.printer.problem(&problem);
            }
            Err(error) => {
                let what = match error {
                    // The refused file need not be the first one.
                    SendError::Refused(refused) => format!("{}: {refused}", self.device),
                    _ => format!("{}: {}: {error}", self.device, self.label),
                };
                let problem = Problem::failed(what).maybe_hint(error.hint());
                self.printer.problem(&match std::error::Error::source(error) {
                    Some(source) => problem.caused_by(Described::of(source)),
                    None => problem,
                });
            }
        }
    }

    fn result_line(&self, report: &Report, rebooting: bool) -> Line {
        let line = Line::new().strong(&self.device).plain(": ").plain(&self.path).plain(' ');
        let resumed = if report.outcome == Outcome::Installed && report.sent < report.bytes {
            format!(", {} of them sent", size(report.sent))
        } else {
            String::new()
        };
        let took = format!("({}{resumed} in {})", size(report.bytes), time(report.elapsed));
        match &report.outcome {
            Outcome::Installed => {
                after_boot(line.good("installed").plain(' ').plain(took), report, rebooting)
            }
            Outcome::TakenBack => after_boot(line.good("taken back"), report, false),
            Outcome::Unchanged => line.good("unchanged").plain(": the device already has this file"),
            Outcome::Unconfirmed => line.doubtful("delivered, unconfirmed").plain(format!(
                " {took}: it announces nothing, or this user may not read {0}/OTA/device and {0}/OTA/status",
                self.device
            )),
            other => line.plain(other),
        }
    }

    /// Records in the JSON that this file was not tried.
    pub(crate) fn skipped(&self, because: &'static str) {
        if self.printer.json() {
            self.record(Some(Step::Skipped { because }));
        }
    }
}

/// Adds to the line that the device reboots, or that it is back.
fn after_boot(line: Line, report: &Report, rebooting: bool) -> Line {
    match &report.back_online {
        Some(back) => {
            let line = line.plain(format!(", back online {} later", time(back.after)));
            if back.announcement.is_safe { line.plain(", in ").doubtful(SAFE_MODE) } else { line }
        }
        None if report.at_boot => line.plain(", fetched at its boot"),
        None if rebooting => line.plain(", rebooting"),
        None => line,
    }
}
