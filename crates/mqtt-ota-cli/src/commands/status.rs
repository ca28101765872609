use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::UNIX_EPOCH;

use mqtt_ota::keeper::{DeviceStatus, FolderStatus, Standing};
use mqtt_ota::wire::{Crash, DeviceName};
use mqtt_ota::{Config, Sender, keeper};
use serde::Serialize;

use crate::args::Status;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::report::{Announced, SAFE_MODE};
use crate::settings::Settings;
use crate::table;
use crate::units::{ago, short};

/// Shows the state of a folder's devices.
pub(super) fn run(args: &Status, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let settings = super::settings(args.connection.flags(), config)?;
    super::block_on(show(args, &settings, printer))
}

async fn show(args: &Status, settings: &Settings, printer: &Printer) -> Result<Exit, Problem> {
    let folder = args.folder.as_path();
    let broker = settings.broker()?;
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let asked = interrupt
        .during(async {
            let sender = Sender::connect(broker, Config::default())
                .await
                .map_err(|error| Problem::from(error).with_settings(settings))?;
            let status = keeper::status(&sender, folder, args.name.as_deref()).await?;
            let questions = questions(&status.devices, &Neighbours::new(&sender, settings)).await;
            sender.close().await;
            Ok::<_, Problem>((status, questions))
        })
        .await;
    let Ok(answer) = asked else { return Ok(Exit::Interrupted) };
    let (FolderStatus { devices, keeper, is_kept, .. }, questions) = answer?;
    if printer.json() {
        for device in &devices {
            let why = why(device, &questions);
            printer.object(&Object { why, ..Object::from(device) });
        }
    } else if devices.is_empty() {
        printer.note(&Line::new().plain(format!("there is no device's folder in {}", folder.display())));
    } else {
        print(&devices, &questions, printer);
    }
    if is_kept == Some(false) {
        let what = format!(
            "no keeper named {keeper} is at work at {}, so nothing is sent automatically: start one with `mqtt-ota keep`, or \
             give the name of yours (--name); or the broker's access list does not let this user read mqtt-ota/keeper/+",
            settings.broker.value
        );
        printer.note(&Line::new().plain(what));
    }
    printer.finish()?;
    let is_fine = |device: &DeviceStatus| {
        matches!(device.standing, Standing::InStep | Standing::Held | Standing::Unknown)
            && device.problem.is_none()
            && !is_safe(device)
    };
    Ok(if devices.iter().all(is_fine) { Exit::Done } else { Exit::Failed })
}

/// Questions that suggest another device, by the name of a device that was never heard of. The suggested device has
/// announced itself, and has no folder.
type Questions = HashMap<DeviceName, String>;

async fn questions(devices: &[DeviceStatus], neighbours: &Neighbours<'_>) -> Questions {
    let mut questions = Questions::new();
    let has_folder: HashSet<_> = devices.iter().map(|device| &device.device).collect();
    for device in devices.iter().filter(|device| device.standing == Standing::Unknown) {
        let name = &device.device;
        if let Some(question) = neighbours.question_of(name, |other| !has_folder.contains(other)).await {
            questions.insert(name.clone(), question);
        }
    }
    questions
}

fn print(devices: &[DeviceStatus], questions: &Questions, printer: &Printer) {
    let mut rows = vec![["DEVICE", "STATE", "SINCE", "SET", "FOLDER", "KEEPER", "WHY"].map(str::to_owned)];
    for device in devices {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let set = device.announcement.as_ref().and_then(|announcement| announcement.set?.digest());
        rows.push([
            device.device.to_string(),
            state(device).replace('-', " "),
            or_dash(device.since.map(ago)),
            or_dash(set.map(short)),
            or_dash(device.wanted.map(short)),
            or_dash(device.keeper.clone()),
            why(device, questions).unwrap_or_default(),
        ]);
    }
    table::print(printer, rows, &["KEEPER", "FOLDER", "SET", "SINCE"]);
}

fn state(device: &DeviceStatus) -> &'static str {
    if let Some(problem) = &device.problem {
        return if problem.is_held() { "waiting" } else { "unusable" };
    }
    match device.standing {
        Standing::Unknown => "unknown",
        Standing::InStep => "in-step",
        Standing::Pending | Standing::Receiving | Standing::Rebooting => "pending",
        Standing::Asleep => "asleep",
        Standing::Postponed { .. } => "postponed",
        Standing::Failing { .. } => "failing",
        Standing::LeftAlone { .. } => "left-alone",
        Standing::RolledBack { .. } => "rolled-back",
        Standing::Waiting { .. } => "waiting",
        Standing::Held => "held",
        Standing::KeptElsewhere { .. } => "kept-elsewhere",
        _ => "nothing",
    }
}

/// Returns true if the device runs its client alone, whatever files it has.
fn is_safe(device: &DeviceStatus) -> bool {
    device.announcement.as_ref().is_some_and(|announcement| announcement.is_safe)
}

fn why(device: &DeviceStatus, questions: &Questions) -> Option<String> {
    let safe = is_safe(device).then(|| SAFE_MODE.to_owned());
    let crash = device.crash.as_ref().map(|crash| format!("last crash: {}", crash.summary()));
    let whys: Vec<_> = safe.into_iter().chain(why_so(device, questions)).chain(crash).collect();
    (!whys.is_empty()).then(|| whys.join("; "))
}

/// Returns the reason of the device's state.
fn why_so(device: &DeviceStatus, questions: &Questions) -> Option<String> {
    if let Some(problem) = &device.problem {
        let causes = std::iter::successors(std::error::Error::source(&**problem), |error| error.source());
        return Some(causes.fold(problem.to_string(), |text, cause| format!("{text}: {cause}")));
    }
    match &device.standing {
        Standing::Failing { why, .. }
        | Standing::Postponed { why }
        | Standing::Waiting { why }
        | Standing::LeftAlone { why, .. }
        | Standing::RolledBack { why, .. } => Some(why.clone()).filter(|why| !why.is_empty()),
        Standing::KeptElsewhere { keeper } => Some(format!(
            "the keeper {keeper} keeps it with other files: stop that one, or take it out of one of the folders"
        )),
        _ => questions.get(&device.device).cloned(),
    }
}

#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    state: &'static str,
    why: Option<String>,
    since: Option<u64>,
    keeper: Option<&'a str>,
    wanted: Option<String>,
    crash: Option<&'a str>,
    #[serde(flatten)]
    announced: Option<Announced>,
}

impl<'a> From<&'a DeviceStatus> for Object<'a> {
    fn from(device: &'a DeviceStatus) -> Self {
        let since = device.since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        Self {
            device: device.device.as_str(),
            state: state(device),
            why: None,
            since: since.map(|since| since.as_secs()),
            keeper: device.keeper.as_deref(),
            wanted: device.wanted.map(|digest| digest.to_string()),
            crash: device.crash.as_ref().map(Crash::as_str),
            announced: device.announcement.as_ref().map(Announced::from),
        }
    }
}
