use std::path::Path;
use std::time::UNIX_EPOCH;

use mqtt_ota::wire::{Announcement, Crash, DeviceName};
use mqtt_ota::{Config, KnownDevice, LinkError, Presence, SendError, Sender, SurveyOptions};
use serde::Serialize;

use crate::args::Devices;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::progress::Bar;
use crate::report::{Announced, SAFE_MODE};
use crate::settings::Settings;
use crate::table;
use crate::targets;
use crate::units::{self, ago, short};

mod forget;

/// Lists the announced devices, or forgets some of them.
pub(super) fn run(args: &Devices, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let settings = super::settings(args.groups.add_to(args.connection.flags()), config)?;
    let named = targets::resolve("DEVICE", &args.names, &settings.groups)?;
    let survey = SurveyOptions {
        names: if named.is_empty() { targets::members(&settings.groups) } else { named.clone() },
        all: named.is_empty(),
        timeout: (!args.no_ask).then_some(args.timeout),
    };
    super::block_on(survey_and_tell(args, &settings, &named, survey, printer))
}

async fn survey_and_tell(
    args: &Devices,
    settings: &Settings,
    named: &[DeviceName],
    survey: SurveyOptions,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let broker = settings.broker()?;
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let told = interrupt
        .during(async {
            let sender = Sender::connect(broker, Config::default())
                .await
                .map_err(|error| Problem::from(error).with_settings(settings))?;
            let waiting = if args.no_ask { "listing the devices" } else { "asking the devices" };
            let bar = Bar::of_all(printer, waiting);
            let devices = sender.survey(&survey).await.map_err(unheard)?;
            drop(bar);
            let neighbours = Neighbours::new(&sender, settings);
            let ok = if args.forget {
                forget::all(&devices, &sender, &neighbours, printer).await?
            } else {
                list(args, settings, named, &devices, printer);
                name_the_unknown(named, &devices, settings, &neighbours, printer).await
            };
            drop(neighbours);
            sender.close().await;
            Ok::<_, Problem>(ok)
        })
        .await;
    let Ok(ok) = told else { return Ok(Exit::Interrupted) };
    let exit = if ok? { Exit::Done } else { Exit::Failed };
    printer.finish()?;
    Ok(exit)
}

/// Adds a hint to the error of a survey that failed.
fn unheard(error: SendError) -> Problem {
    let hint = match &error {
        SendError::Broker(LinkError::Lost) => "ask again once the broker is back".to_owned(),
        SendError::Broker(refused @ (LinkError::SubscribeRefused { .. } | LinkError::NoWildcards { .. })) => {
            format!("{}; or name the devices: mqtt-ota devices NAME", refused.hint().unwrap_or_default())
        }
        _ => return error.into(),
    };
    Problem::from(error).hint(hint)
}

fn list(
    args: &Devices,
    settings: &Settings,
    named: &[DeviceName],
    devices: &[KnownDevice],
    printer: &Printer,
) {
    let is_shown = |device: &&KnownDevice| device.announcement.is_some();
    let shown: Vec<_> = devices.iter().filter(is_shown).collect();
    if printer.json() {
        let is_told = |device: &&KnownDevice| is_shown(device) || named.contains(&device.name);
        devices.iter().filter(is_told).for_each(|device| printer.object(&Object::from(device)));
    } else if shown.is_empty() && named.is_empty() {
        nobody(settings, printer);
    } else if !shown.is_empty() {
        show(&shown, args.no_ask, printer);
    }
    let asks = |device: &&&KnownDevice| device.announcement.as_ref().is_some_and(|it| it.asks);
    let mut asked = shown.iter().filter(asks).peekable();
    if !args.no_ask && asked.peek().is_some() && asked.all(|device| device.presence == Presence::Silent) {
        let hint = "no device has answered: they may be away, or the broker's access list does not let this user write to NAME/OTA";
        printer.note(&Line::new().helpful("hint:").plain(' ').plain(hint));
    }
}

/// Prints that no device has announced itself, and what else may be the cause. A broker is silent about topics that a
/// user may not read.
fn nobody(settings: &Settings, printer: &Printer) {
    let broker = &settings.broker.value;
    printer.note(&Line::new().plain(format!("no device has announced itself at {broker}")));
    let user =
        settings.user.shown.as_ref().map_or_else(|| "this user".to_owned(), |user| format!("{user:?}"));
    let hint = format!(
        "if there should be some: the broker's access list may not let {user} read +/OTA/device, or it is one that has to be asked by name (RabbitMQ): mqtt-ota devices NAME"
    );
    printer.note(&Line::new().helpful("hint:").plain(' ').plain(hint));
}

/// Prints an error for each named device that the broker knows nothing of. Returns true if there is none.
async fn name_the_unknown(
    named: &[DeviceName],
    devices: &[KnownDevice],
    settings: &Settings,
    neighbours: &Neighbours<'_>,
    printer: &Printer,
) -> bool {
    let mut all_known = true;
    for device in devices.iter().filter(|it| it.announcement.is_none() && named.contains(&it.name)) {
        all_known = false;
        let name = &device.name;
        let problem =
            Problem::failed(format!("{name} has not announced itself at {}", settings.broker.value));
        let otherwise = format!(
            "if it should have: the broker's access list may not let the device's user write {name}/OTA/device (it logs in \
             with the device's name), or this user read it"
        );
        printer.problem(&problem.hint(otherwise).maybe_hint(neighbours.question(name).await));
    }
    all_known
}

#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    reachable: Option<bool>,
    last_heard: Option<u64>,
    crash: Option<&'a str>,
    #[serde(flatten)]
    announced: Option<Announced>,
}

impl<'a> From<&'a KnownDevice> for Object<'a> {
    fn from(device: &'a KnownDevice) -> Self {
        let heard = device.last_heard.and_then(|heard| heard.duration_since(UNIX_EPOCH).ok());
        Self {
            device: device.name.as_str(),
            reachable: match device.presence {
                Presence::Reachable => Some(true),
                Presence::Away | Presence::Silent => Some(false),
                Presence::Unknown => None,
            },
            last_heard: heard.map(|heard| heard.as_secs()),
            crash: device.crash.as_ref().map(Crash::as_str),
            announced: device.announcement.as_ref().map(Announced::from),
        }
    }
}

/// Describes safe mode, the trial of a set, the set that was rolled back last, and the application's last crash.
fn state(announcement: &Announcement, crash: Option<&Crash>) -> String {
    let crash = crash.map(|crash| format!("last crash: {}", crash.summary()));
    let safe = announcement.is_safe.then(|| SAFE_MODE.to_owned());
    let trial = announcement.boots.map(|boots| format!("on trial, boot {boots}"));
    let back = announcement.rolled_back.map(|digest| match &announcement.error {
        Some(error) => format!("rolled back {}: {error}", short(digest)),
        None => format!("rolled back {}", short(digest)),
    });
    safe.into_iter().chain(trial).chain(back).chain(crash).collect::<Vec<_>>().join("; ")
}

fn show(devices: &[&KnownDevice], is_unasked: bool, printer: &Printer) {
    let titles = [
        "DEVICE",
        "REACHABLE",
        "LAST HEARD",
        "ADDRESS",
        "SYSTEM",
        "CLIENT",
        "FREE",
        "HASHES",
        "SET",
        "STATE",
    ];
    let mut rows = vec![titles.map(str::to_owned)];
    for device in devices {
        let Some(announcement) = &device.announcement else { continue };
        let or_dash =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
        let hashes: Vec<_> = announcement.algorithms.iter().map(|algorithm| algorithm.code()).collect();
        let (reachable, heard) = match device.presence {
            Presence::Reachable => ("yes", Some("now".to_owned())),
            Presence::Away => ("no", device.last_heard.map(ago)),
            Presence::Silent => ("no answer", device.last_heard.map(ago)),
            Presence::Unknown if is_unasked => ("not asked", device.last_heard.map(ago)),
            Presence::Unknown => ("not known", device.last_heard.map(ago)),
        };
        rows.push([
            device.name.to_string(),
            reachable.to_owned(),
            or_dash(heard),
            or_dash(announcement.address.map(|address| address.to_string())),
            or_dash(announcement.system.clone()),
            or_dash(announcement.client.clone()),
            or_dash(announcement.free.map(units::size)),
            or_dash(Some(hashes.join(","))),
            announcement.set.map(|set| set.digest().map_or_else(|| "-".into(), short)).unwrap_or_default(),
            state(announcement, device.crash.as_ref()),
        ]);
    }
    table::print(
        printer,
        rows,
        &["HASHES", "CLIENT", "FREE", "SYSTEM", "LAST HEARD", "STATE", "ADDRESS", "SET"],
    );
}
