//! Implementation of `mqtt-ota devices --forget`.

use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Forgotten, KnownDevice, LinkError, Presence, SendError, Sender};
use serde::Serialize;

use crate::line::Line;
use crate::neighbours::Neighbours;
use crate::printer::Printer;
use crate::problem::Problem;

#[derive(Serialize)]
struct Object<'a> {
    device: &'a str,
    /// True if the broker keeps nothing of the device any more.
    forgotten: bool,
    announcement: bool,
    memory: bool,
    crash: bool,
    error: Option<String>,
}

/// Clears what the broker keeps of these devices, unless they have answered. Returns true if nothing is kept of any.
pub(super) async fn all(
    devices: &[KnownDevice],
    sender: &Sender,
    neighbours: &Neighbours<'_>,
    printer: &Printer,
) -> Result<bool, Problem> {
    let mut all_forgotten = true;
    for device in devices {
        let ended = one(device, sender, neighbours).await;
        all_forgotten &= ended.is_ok();
        if printer.json() {
            let (error, forgotten) = match &ended {
                Ok(forgotten) => (None, *forgotten),
                Err(problem) => (Some(problem.error.to_string()), Forgotten::default()),
            };
            let Forgotten { announcement, memory, crash, .. } = forgotten;
            let (device, forgotten) = (device.name.as_str(), error.is_none());
            printer.object(&Object { device, forgotten, announcement, memory, crash, error });
        }
        match ended {
            Ok(_) if printer.json() => {}
            Ok(forgotten) => printer.result(&line(device, forgotten)),
            Err(problem) => printer.problem(&problem),
        }
    }
    Ok(all_forgotten)
}

async fn one(
    device: &KnownDevice,
    sender: &Sender,
    neighbours: &Neighbours<'_>,
) -> Result<Forgotten, Problem> {
    let name = &device.name;
    if device.presence == Presence::Reachable {
        return Err(Problem::failed(format!("{name} has answered: it is there, and was not forgotten"))
            .hint("it would announce itself again; forget it when it is off"));
    }
    let forgotten = sender.forget(name).await.map_err(|error| not_cleared(name, error))?;
    if forgotten == Forgotten::default() {
        return Err(Problem::failed(format!("the broker keeps nothing of {name}"))
            .hint("`mqtt-ota devices` lists those that have announced themselves")
            .maybe_hint(neighbours.question(name).await));
    }
    Ok(forgotten)
}

fn not_cleared(name: &DeviceName, error: SendError) -> Problem {
    let hint = match &error {
        SendError::Broker(LinkError::PublishRefused { topic, .. }) => {
            Some(format!("the broker's access list has to let this user write to {topic}"))
        }
        other => other.hint(),
    };
    Problem::failed(format!("{name} was not forgotten")).caused_by(error).maybe_hint(hint)
}

fn line(device: &KnownDevice, forgotten: Forgotten) -> Line {
    let what = match (forgotten.announcement, forgotten.memory) {
        (true, true) => "its announcement, and what a keeper remembered, are cleared",
        (true, false) => "its announcement is cleared",
        (false, true) => "what a keeper remembered is cleared",
        (false, false) => "its last crash is cleared",
    };
    let line = Line::new().strong(&device.name).plain(": ").good("forgotten").plain(": ").plain(what);
    match device.presence {
        Presence::Unknown | Presence::Silent => {
            line.plain("; if it is there after all, it announces itself when it next connects")
        }
        _ => line,
    }
}
