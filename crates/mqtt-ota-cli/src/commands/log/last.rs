//! Implementation of `mqtt-ota log -n`.

use mqtt_ota::wire::DeviceName;
use mqtt_ota::{LastCrash, Sender};
use serde::Serialize;

use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};

#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    /// `null` if the broker has kept none.
    crash: Option<&'a str>,
}

/// Shows the last crash that the broker has kept of each device.
pub(super) async fn show(
    devices: &[DeviceName],
    sender: &Sender,
    neighbours: &Neighbours<'_>,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut exit = Exit::Done;
    for LastCrash { device, text, announced, .. } in sender.last_crashes(devices).await? {
        if printer.json() {
            printer.object(&Object { device: device.as_str(), crash: text.as_deref() });
        }
        match text {
            Some(_) if printer.json() => {}
            Some(text) => {
                let line = |text| Line::new().strong(&device).plain(": ").plain(text);
                text.lines().for_each(|text| printer.data(&line(text)));
            }
            None if announced => {
                printer.note(&Line::new().plain(format!("the broker has kept no crash of {device}")));
            }
            None => {
                exit = Exit::Failed;
                let problem = Problem::failed(format!("{device} has not announced itself"));
                let otherwise = "`mqtt-ota devices` lists those that have";
                printer.problem(&problem.hint(otherwise).maybe_hint(neighbours.question(&device).await));
            }
        }
    }
    printer.finish()?;
    Ok(exit)
}
