use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mqtt_ota::wire::{DeviceName, NameError};
use mqtt_ota::{Receiver, ReceiverConfig, ReceiverError, ReceiverEvent};
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::args::Receive;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::service;
use crate::settings::Settings;
use crate::units::size;

/// Time limit for the goodbye to the broker.
const GOODBYE: Duration = Duration::from_millis(500);

/// Shortest time between two `progress` objects.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Runs as a device until a signal arrives.
pub(super) fn run(args: &Receive, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let settings = super::settings(args.least_rate.add_to(args.connection.flags()), config)?;
    let name = args.name.parse::<DeviceName>().map_err(|error: NameError| {
        Problem::usage(format!("{:?} in --as is no device name", args.name))
            .caused_by(error)
            .hint("choose a name such as GATEWAY or door-2")
    })?;
    super::block_on(receive(args, &settings, name, printer))
}

async fn receive(
    args: &Receive,
    settings: &Settings,
    name: DeviceName,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::service().map_err(Problem::no_signals)?;
    let behaviour = ReceiverConfig { min_rate: settings.min_rate.value, ..ReceiverConfig::default() };
    let starting = Receiver::start(settings.broker()?, name.clone(), &args.root, behaviour);
    let receiver = match interrupt.during(starting).await {
        Ok(started) => started.map_err(|error| problem(error, settings))?,
        Err(signal) => return Ok(signal.into()),
    };
    let mut device = Device {
        args,
        name,
        broker: settings.broker.value.to_string(),
        printer,
        receiver,
        running: None,
        again: false,
        last_progress: None,
    };
    match interrupt.during(device.run()).await {
        Ok(problem) => Err(problem),
        Err(signal) => {
            let _ = tokio::time::timeout(GOODBYE, device.receiver.stop()).await;
            Ok(signal.into())
        }
    }
}

fn problem(error: ReceiverError, settings: &Settings) -> Problem {
    match error {
        ReceiverError::Connect(error) => Problem::from(error).with_settings(settings),
        ReceiverError::Root { path, source } => {
            Problem::failed(format!("cannot keep a device's files in {}", path.display()))
                .caused_by(source)
                .hint("--root names a folder that can be made, and written to")
        }
        ReceiverError::Broker(error) => error.into(),
        other => Problem { exit: Exit::Failed, error: other.into(), hint: None },
    }
}

struct Device<'a> {
    args: &'a Receive,
    name: DeviceName,
    broker: String,
    printer: &'a Printer,
    receiver: Receiver,
    /// Process that `--exec` has started and that has not ended.
    running: Option<Child>,
    /// True if another reboot is due once the running process has ended.
    again: bool,
    last_progress: Option<Instant>,
}

impl Device<'_> {
    /// Runs until the receiver ends, which happens only when it cannot go on, or until output fails.
    async fn run(&mut self) -> Problem {
        loop {
            tokio::select! {
                event = self.receiver.next() => match event {
                    None => return Problem::failed("the connection to the broker is lost for good"),
                    Some(event) => {
                        self.show(&event);
                        match event {
                            ReceiverEvent::Online(_) => {
                                service::ready(&format!("{} is online at {}", self.name, self.broker));
                            }
                            ReceiverEvent::Reboot => self.reboot().await,
                            _ => {}
                        }
                    }
                },
                ended = ended(&mut self.running) => {
                    self.running = None;
                    self.ran(ended).await;
                }
            }
            if let Err(error) = self.printer.finish() {
                return error.into();
            }
        }
    }

    /// Runs the `--exec` command in place of a reboot. Without one, the reboot is reported as done.
    async fn reboot(&mut self) {
        let Some(command) = &self.args.exec else { return self.receiver.rebooted().await };
        if self.running.is_some() {
            self.again = true;
            return;
        }
        match shell(command).current_dir(&self.args.root).spawn() {
            Ok(child) => self.running = Some(child),
            Err(error) => {
                let what = format!("cannot run {command:?} of --exec");
                self.printer.problem(&Problem::failed(what).caused_by(error));
            }
        }
    }

    /// Handles the end of the `--exec` command. Only a success counts as a boot, so a sender that waits for the boot
    /// hears nothing of a failure.
    async fn ran(&mut self, ended: std::io::Result<ExitStatus>) {
        let ok = ended.as_ref().is_ok_and(ExitStatus::success);
        let status = match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if self.printer.json() {
            self.printer.object(&Object::Ran { ok, status: status.clone() });
        }
        if !ok {
            self.printer.warning(format!("what --exec ran has failed: {status}"));
        }
        if std::mem::take(&mut self.again) {
            self.reboot().await;
        } else if ok {
            self.receiver.rebooted().await;
        }
    }

    fn show(&mut self, event: &ReceiverEvent) {
        if self.printer.json() {
            if let Some(object) = self.object(event) {
                self.printer.object(&object);
            }
            return;
        }
        let about = Line::new().strong(&self.name).plain(": ");
        let line = match event {
            ReceiverEvent::Online(_) => {
                about.plain(format!("online; files are in {}", self.args.root.display()))
            }
            ReceiverEvent::Receiving(offer) => {
                let line =
                    about.plain(format!("receiving {} from {} port {}", offer.path, offer.host, offer.port));
                self.printer.step(&Line::new().strong(&self.name).plain(": offered ").faint(offer));
                line
            }
            ReceiverEvent::Installed { path, bytes, .. } => {
                about.plain(format!("{path} ")).good("installed").plain(format!(" ({})", size(*bytes)))
            }
            ReceiverEvent::Unchanged { path } => about.plain(format!("{path} ")).good("unchanged"),
            ReceiverEvent::Failed { path, reason, text } => {
                let path = if path.is_empty() { "an offer" } else { path };
                about.plain(format!("{path} ")).bad("failed").plain(format!(": {reason} {text}"))
            }
            ReceiverEvent::ReceivingSet(offer) => {
                let line = about.plain(format!("receiving a set from {} port {}", offer.host, offer.port));
                self.printer.step(&Line::new().strong(&self.name).plain(": offered ").faint(offer));
                line
            }
            ReceiverEvent::SetInstalled { files, deleted, bytes, .. } => {
                about.plain("the set is ").good("installed").plain(changes(*files, *deleted, *bytes))
            }
            ReceiverEvent::SetUnchanged { .. } => about.plain("the set is ").good("unchanged"),
            ReceiverEvent::Planned { files, deleted, bytes, .. } => {
                about.plain(format!("the set would change{}", changes(*files, *deleted, *bytes)))
            }
            ReceiverEvent::Confirmed { .. } => about.plain("the set is ").good("confirmed"),
            ReceiverEvent::RolledBack { text, .. } => {
                let why = if text.is_empty() { String::new() } else { format!(": {text}") };
                about.plain("the set is ").bad("taken back").plain(why)
            }
            ReceiverEvent::Reboot => match &self.args.exec {
                Some(command) => about.plain(format!("running {command:?}")),
                None => about.plain("a board would reboot now"),
            },
            _ => return,
        };
        self.printer.note(&line);
    }

    fn object(&mut self, event: &ReceiverEvent) -> Option<Object> {
        Some(match event {
            ReceiverEvent::Online(announcement) => Object::Online {
                address: announcement.address.map(|address| address.to_string()),
                system: announcement.system.clone(),
            },
            ReceiverEvent::Receiving(offer) => {
                Object::Receiving { path: offer.path.to_string(), offer: offer.to_string() }
            }
            ReceiverEvent::Progress { received } => {
                if self.last_progress.is_some_and(|last| last.elapsed() < PROGRESS_PAUSE) {
                    return None;
                }
                self.last_progress = Some(Instant::now());
                Object::Progress { received: *received }
            }
            ReceiverEvent::Installed { path, digest, bytes } => {
                Object::Installed { path: path.to_string(), hash: digest.to_string(), bytes: *bytes }
            }
            ReceiverEvent::Unchanged { path } => Object::Unchanged { path: path.to_string() },
            ReceiverEvent::Failed { path, reason, text } => Object::Failed {
                path: Some(path.clone()).filter(|path| !path.is_empty()),
                reason: reason.to_string(),
                text: text.clone(),
            },
            ReceiverEvent::ReceivingSet(offer) => {
                Object::ReceivingSet { hash: offer.digest.to_string(), offer: offer.to_string() }
            }
            ReceiverEvent::SetInstalled { digest, files, deleted, bytes } => Object::SetInstalled {
                hash: digest.to_string(),
                files: *files,
                deleted: *deleted,
                bytes: *bytes,
            },
            ReceiverEvent::SetUnchanged { digest } => Object::SetUnchanged { hash: digest.to_string() },
            ReceiverEvent::Planned { digest, files, deleted, bytes } => {
                Object::Planned { hash: digest.to_string(), files: *files, deleted: *deleted, bytes: *bytes }
            }
            ReceiverEvent::Confirmed { digest } => Object::Confirmed { hash: digest.to_string() },
            ReceiverEvent::RolledBack { digest, text } => {
                Object::RolledBack { hash: digest.to_string(), text: text.clone() }
            }
            ReceiverEvent::Reboot => Object::Reboot,
            _ => return None,
        })
    }
}

/// Formats how much a set changes, as the end of a line.
fn changes(files: usize, deleted: usize, bytes: u64) -> String {
    let files = format!(" ({files} {}, {}", if files == 1 { "file" } else { "files" }, size(bytes));
    if deleted == 0 { files + ")" } else { format!("{files}, {deleted} deleted)") }
}

async fn ended(running: &mut Option<Child>) -> std::io::Result<ExitStatus> {
    match running {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// Returns the command to be run in the system's shell. Its output goes to standard error, as standard output is
/// reserved for data.
fn shell(command: &str) -> Command {
    #[cfg(windows)]
    let mut shell = {
        let mut shell = Command::new("cmd");
        shell.arg("/C").raw_arg(command);
        shell
    };
    #[cfg(not(windows))]
    let mut shell = {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command);
        shell
    };
    shell.env_remove(service::NOTIFY_SOCKET).stdin(Stdio::null()).stdout(std::io::stderr());
    shell
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Object {
    Online { address: Option<String>, system: Option<String> },
    Receiving { path: String, offer: String },
    Progress { received: u64 },
    Installed { path: String, hash: String, bytes: u64 },
    Unchanged { path: String },
    ReceivingSet { hash: String, offer: String },
    SetInstalled { hash: String, files: usize, deleted: usize, bytes: u64 },
    SetUnchanged { hash: String },
    Planned { hash: String, files: usize, deleted: usize, bytes: u64 },
    Confirmed { hash: String },
    RolledBack { hash: String, text: String },
    Failed { path: Option<String>, reason: String, text: String },
    Reboot,
    Ran { ok: bool, status: String },
}
