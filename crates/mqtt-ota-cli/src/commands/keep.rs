use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use mqtt_ota::keeper::{self, Keeper, KeeperError, KeeperOptions, Role, Roles};
use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Config, Sender};

use super::send::GOODBYE;
use crate::args::{Keep, Keeping};
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::service;
use crate::settings::{Settings, Source};
use crate::similar;
use crate::targets;

/// Default limit on a device's silence. A device that takes a set hashes and copies files meanwhile.
const CONFIRM: Duration = Duration::from_secs(120);

/// Maximum number of entries of the kept folder that are searched for the name that was meant.
const FOLDERS: usize = 16 * 1024;

/// Keeps devices in step with a folder.
pub(super) fn run(args: &Keep, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let flags = args.keeping.add_to(args.parallel.add_to(args.connection.flags()));
    let flags = args.waiting.add_to(args.serving.add_to(flags));
    let settings = super::settings(flags, config)?;
    let options = options(&args.keeping, &settings)?;
    doubt_canaries(&args.folder, &options, printer);
    super::block_on(keep(&args.folder, options, &settings, printer))
}

async fn keep(
    folder: &Path,
    options: KeeperOptions,
    settings: &Settings,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::service().map_err(Problem::no_signals)?;
    let (listen, advertise) = (settings.listen.value.clone(), settings.advertise.value.clone());
    let connecting = Sender::connect(settings.broker()?, Config { listen, advertise, ..Config::default() });
    let sender = match interrupt.during(connecting).await {
        Ok(connected) => connected.map_err(|error| Problem::from(error).with_settings(settings))?,
        Err(signal) => return Ok(signal.into()),
    };
    let mut keeper = match interrupt.during(Keeper::start(sender, folder, options)).await {
        Ok(started) => started?,
        Err(signal) => return Ok(signal.into()),
    };
    let what =
        format!("keeping the devices of {} at {}; Ctrl-C stops it", folder.display(), settings.broker.value);
    printer.note(&Line::new().plain(what));
    let status = format!("{} at {}", folder.display(), settings.broker.value);
    match interrupt.during(run_told(&mut keeper, &status)).await {
        Ok(problem) => Err(problem),
        Err(signal) => {
            let _ = tokio::time::timeout(GOODBYE, keeper.stop()).await;
            printer.note(
                &Line::new()
                    .plain("stopped; unfinished deliveries were abandoned, and go on when a keeper runs"),
            );
            Ok(signal.into())
        }
    }
}

/// Runs a keeper, and reports its role to the service manager. The report contains `what`, a description of what is
/// kept.
pub(super) async fn run_told(keeper: &mut Keeper, what: &str) -> Problem {
    let roles = keeper.roles();
    tokio::select! {
        kept = keeper.run() => match kept {
            Ok(never) => match never {},
            Err(error) => error.into(),
        },
        never = tell(roles, what) => match never {},
    }
}

async fn tell(mut roles: Roles, what: &str) -> Infallible {
    while let Some(role) = roles.next().await {
        match role {
            Role::StandingBy => service::ready(&format!("standing by for another keeper of {what}")),
            _ => service::ready(&format!("keeping {what}")),
        }
    }
    std::future::pending().await
}

/// Combines the flags and the settings into the keeper's options.
pub(super) fn options(keeping: &Keeping, settings: &Settings) -> Result<KeeperOptions, Problem> {
    let mut options = KeeperOptions {
        at_once: match settings.parallel.source {
            Source::Default => KeeperOptions::default().at_once,
            _ => settings.parallel.value,
        },
        attempts: keeping.give_up_after.into(),
        stop_after: keeping.stop_after.map(usize::from),
        window: keeping.window,
        connect_timeout: settings.connect_timeout.value,
        idle_timeout: settings.idle_timeout.value,
        confirm_timeout: match settings.confirm_timeout.source {
            Source::Default => CONFIRM,
            _ => settings.confirm_timeout.value,
        },
        name: keeping.name.clone(),
        settle: keeping.settle,
        ..KeeperOptions::default()
    };
    for canary in &keeping.canary {
        match canary.trim().strip_prefix('@') {
            // A group that the settings lack may be defined in a `device.toml`.
            Some(group) if !settings.groups.contains_key(group) => {
                options.canary_groups.insert(group.to_owned());
            }
            _ => {
                let devices: Vec<DeviceName> =
                    targets::resolve("--canary", std::slice::from_ref(canary), &settings.groups)?;
                options.canaries.extend(devices);
            }
        }
    }
    Ok(options)
}

/// Warns of a canary without a folder if a folder has a similar name. All other devices would wait for a misspelt
/// canary.
pub(super) fn doubt_canaries(folder: &Path, options: &KeeperOptions, printer: &Printer) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(FOLDERS).flatten();
    let folders: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    for canary in options.canaries.iter().filter(|canary| !folders.iter().any(|it| it == canary.as_str())) {
        let names = similar::to(canary.as_str(), folders.iter().map(String::as_str));
        // A folder of a similar name may list the canary as an alias.
        let is_alias = |name: &&str| {
            let settings = std::fs::read_to_string(folder.join(name).join(keeper::SETTINGS_FILE));
            settings.is_ok_and(|text| text.contains(canary.as_str()))
        };
        if let Some(question) = similar::question(canary.as_str(), names.iter().copied())
            && !names.iter().any(is_alias)
        {
            let folder = folder.display();
            printer.warning(format!("--canary {canary}: there is no such folder in {folder}; {question}"));
        }
    }
}

impl From<KeeperError> for Problem {
    fn from(error: KeeperError) -> Self {
        let hint = error.hint();
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}
