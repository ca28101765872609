use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Config, DeviceLog, LogEvent, Sender};
use serde::Serialize;
use tokio::time::timeout;

use super::send::GOODBYE;
use crate::args::Log;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::settings::Settings;
use crate::targets;

mod last;

/// Shows what devices print and log, or only the last crash of each.
pub(super) fn run(args: &Log, config: Option<&Path>, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let settings = super::settings(args.groups.add_to(args.connection.flags()), config)?;
    let devices = targets::resolve("DEVICE", &args.names, &settings.groups)?;
    super::block_on(connected(args, &settings, &devices, printer))
}

async fn connected(
    args: &Log,
    settings: &Settings,
    devices: &[DeviceName],
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::service().map_err(Problem::no_signals)?;
    let connecting = Sender::connect(settings.broker()?, Config::default());
    let sender = match interrupt.during(connecting).await {
        Ok(connected) => connected.map_err(|error| Problem::from(error).with_settings(settings))?,
        Err(signal) => return Ok(signal.into()),
    };
    let neighbours = Neighbours::new(&sender, settings);
    let ended = if args.no_follow {
        let shown = interrupt.during(last::show(devices, &sender, &neighbours, printer)).await;
        shown.unwrap_or_else(|signal| Ok(signal.into()))
    } else {
        follow(devices, &sender, &neighbours, &mut interrupt, printer).await
    };
    drop(neighbours);
    let _ = timeout(GOODBYE, sender.close()).await;
    ended
}

/// Shows events until a signal arrives, and then tells the devices that the log is no longer wanted.
async fn follow(
    devices: &[DeviceName],
    sender: &Sender,
    neighbours: &Neighbours<'_>,
    interrupt: &mut Interrupt,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut log = match interrupt.during(sender.log(devices)).await {
        Ok(opened) => opened?,
        Err(signal) => return Ok(signal.into()),
    };
    let ended = interrupt.during(show_all(&mut log, neighbours, printer)).await;
    let _ = timeout(GOODBYE, log.stop()).await;
    match ended {
        Ok(problem) => Err(problem),
        Err(signal) => Ok(signal.into()),
    }
}

/// Shows events until output fails or the connection is lost for good, and returns that problem.
async fn show_all(log: &mut DeviceLog<'_>, neighbours: &Neighbours<'_>, printer: &Printer) -> Problem {
    while let Some(event) = log.next().await {
        if printer.json() {
            Object::of(&event).iter().for_each(|object| printer.object(object));
        } else {
            show(&event, printer);
        }
        explain(&event, neighbours, printer).await;
        if let Err(error) = printer.finish() {
            return error.into();
        }
    }
    Problem::failed("the connection to the broker is lost for good")
}

/// Shows the lines and crashes of a device on standard output.
fn show(event: &LogEvent, printer: &Printer) {
    // The time of a crash that the broker has retained is not known.
    let time = match event {
        LogEvent::Crash { retained: true, .. } => String::new(),
        _ => clock(),
    };
    let about = |device| Line::new().faint(&time).strong(device).plain(": ");
    match event {
        LogEvent::Line { device, text, lost: None } => printer.data(&about(device).plain(text)),
        LogEvent::Line { device, text, .. } => printer.data(&about(device).doubtful(text)),
        LogEvent::Crash { device, text, retained } => {
            let what = if *retained { "its last crash, which the broker has kept:" } else { "it crashed:" };
            printer.data(&about(device).bad(what));
            text.lines().for_each(|line| printer.data(&about(device).plain("  ").plain(line)));
        }
        _ => {}
    }
}

/// Explains on standard error why no lines come, or why some are missing.
async fn explain(event: &LogEvent, neighbours: &Neighbours<'_>, printer: &Printer) {
    let note = |text: String| printer.note(&Line::new().plain(text));
    match event {
        LogEvent::Asked { device } => printer.step(&Line::new().strong(device).plain(": asked for its log")),
        LogEvent::Away { device } => {
            note(format!("{device} is not on the broker now; it is asked for its log when it is back"));
        }
        LogEvent::NotAsked { device, announced: true } => note(format!(
            "{device} was not asked for its log, as its client does not say that it can publish one; what it publishes \
             all the same is shown"
        )),
        LogEvent::NotAsked { device, .. } => match neighbours.question(device).await {
            Some(question) => {
                printer.warning(format!("{device}: no such device has announced itself; {question}"));
            }
            None => note(format!(
                "{device} was not asked for its log, as it has not announced itself; what it publishes all the same is \
                 shown"
            )),
        },
        LogEvent::Refused { device, error } => {
            printer.warning(format!("{device} was not asked for its log: {error}"));
            if let Some(hint) = error.hint() {
                printer.note(&Line::new().helpful("hint:").plain(' ').plain(hint));
            }
        }
        LogEvent::Missed { count } => {
            printer.warning(format!("{count} lines came faster than they could be shown, and are lost"));
        }
        LogEvent::Reconnected => note("connected again; what devices said meanwhile is lost".to_owned()),
        _ => {}
    }
}

/// Returns the local time of day as the beginning of a line.
fn clock() -> String {
    jiff::Zoned::now().strftime("%H:%M:%S%.3f ").to_string()
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Object<'a> {
    Line { device: &'a str, time: f64, text: &'a str, lost: Option<u64> },
    Crash { device: &'a str, time: Option<f64>, text: &'a str, kept: bool },
    Asked { device: &'a str },
    Away { device: &'a str },
    NotAsked { device: &'a str, announced: bool },
    Refused { device: &'a str, error: String },
    Missed { count: u64 },
    Disconnected,
    Reconnected,
}

impl<'a> Object<'a> {
    fn of(event: &'a LogEvent) -> Option<Self> {
        Some(match event {
            LogEvent::Line { device, text, lost } => {
                Self::Line { device: device.as_str(), time: now(), text, lost: *lost }
            }
            LogEvent::Crash { device, text, retained } => {
                let time = (!retained).then(now);
                Self::Crash { device: device.as_str(), time, text, kept: *retained }
            }
            LogEvent::Asked { device } => Self::Asked { device: device.as_str() },
            LogEvent::Away { device } => Self::Away { device: device.as_str() },
            LogEvent::NotAsked { device, announced } => {
                Self::NotAsked { device: device.as_str(), announced: *announced }
            }
            LogEvent::Refused { device, error } => {
                Self::Refused { device: device.as_str(), error: error.to_string() }
            }
            LogEvent::Missed { count } => Self::Missed { count: *count },
            LogEvent::Lost => Self::Disconnected,
            LogEvent::Reconnected => Self::Reconnected,
            _ => return None,
        })
    }
}

/// Returns the time in seconds since 1970, rounded to the millisecond.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}
