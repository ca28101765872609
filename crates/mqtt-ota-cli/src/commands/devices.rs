use std::path::Path;

use mqtt_ota::wire::{Announcement, DeviceName};
use mqtt_ota::{Config, LinkError, SendError, Sender};
use serde::Serialize;

use crate::args::Devices;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::report::Announced;
use crate::settings::Settings;
use crate::table;
use crate::units::{self, short};

/// Lists the announced devices.
pub(super) fn run(args: &Devices, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let settings = super::settings(args.connection.flags(), config)?;
    super::block_on(list(&settings, printer))
}

async fn list(settings: &Settings, printer: &Printer) -> Result<Exit, Problem> {
    let broker = settings.broker()?;
    let mut interrupt = Interrupt::ctrl_c().map_err(Problem::no_signals)?;
    let asked = interrupt
        .during(async {
            let sender = Sender::connect(broker, Config::default())
                .await
                .map_err(|error| Problem::from(error).with_settings(settings))?;
            let devices = sender.devices().await;
            sender.close().await;
            devices.map_err(|error| match error {
                SendError::Broker(LinkError::Lost) => {
                    Problem::from(error).hint("ask again once the broker is back")
                }
                other => other.into(),
            })
        })
        .await;
    let Ok(devices) = asked else { return Ok(Exit::Interrupted) };
    let devices = devices?;
    if printer.json() {
        for (name, announcement) in &devices {
            printer.object(&Object { device: name.as_str(), announced: announcement.into() });
        }
    } else if devices.is_empty() {
        let none = format!("no device has announced itself at {}", settings.broker.value);
        printer.note(&Line::new().plain(none));
    } else {
        show(&devices, printer);
    }
    printer.finish()?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    #[serde(flatten)]
    announced: Announced,
}

/// Whether a set is on trial, and which was taken back.
fn state(announcement: &Announcement) -> String {
    let trial = announcement.boots.map(|boots| format!("on trial, boot {boots}"));
    let back = announcement.rolled_back.map(|digest| match &announcement.error {
        Some(error) => format!("rolled back {}: {error}", short(digest)),
        None => format!("rolled back {}", short(digest)),
    });
    trial.into_iter().chain(back).collect::<Vec<_>>().join("; ")
}

fn show(devices: &[(DeviceName, Announcement)], printer: &Printer) {
    let mut rows =
        vec![["DEVICE", "ADDRESS", "SYSTEM", "CLIENT", "FREE", "HASHES", "SET", "STATE"].map(str::to_owned)];
    for (name, announcement) in devices {
        let or_dash =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
        let hashes: Vec<_> = announcement.algorithms.iter().map(|algorithm| algorithm.code()).collect();
        rows.push([
            name.to_string(),
            or_dash(announcement.address.map(|address| address.to_string())),
            or_dash(announcement.system.clone()),
            or_dash(announcement.client.clone()),
            or_dash(announcement.free.map(units::size)),
            or_dash(Some(hashes.join(","))),
            announcement.set.map(|set| set.digest().map_or_else(|| "-".into(), short)).unwrap_or_default(),
            state(announcement),
        ]);
    }
    table::print(printer, rows);
}
