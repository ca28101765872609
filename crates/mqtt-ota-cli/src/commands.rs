//! Commands, one per file.

#[cfg(feature = "broker")]
mod broker;
mod completions;
mod config;
#[cfg(feature = "broker")]
mod demo;
mod devices;
mod keep;
mod log;
mod man;
mod receive;
mod rollback;
mod send;
mod status;
mod sync;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::args::{Cli, Command};
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::report::Summary;
use crate::settings::{Flags, Settings, process_environment};
use crate::units::count;

/// Runs the command that the command line names.
///
/// # Errors
/// Returns the reason of the failure, with its exit status.
pub(crate) fn run(cli: Cli, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let config = cli.general.config.as_deref();
    match cli.command {
        Command::Send(args) => send::run(args, config, printer),
        Command::Sync(args) => sync::run(&args, config, printer),
        Command::Rollback(args) => rollback::run(&args, config, printer),
        Command::Devices(args) => devices::run(&args, config, printer),
        Command::Log(args) => log::run(&args, config, printer),
        Command::Receive(args) => receive::run(&args, config, printer),
        Command::Keep(args) => keep::run(&args, config, printer),
        Command::Status(args) => status::run(&args, config, printer),
        #[cfg(feature = "broker")]
        Command::Broker(args) => broker::run(&args, config, printer),
        #[cfg(feature = "broker")]
        Command::Demo(args) => demo::run(&args, printer),
        Command::Config(args) => config::run(&args, config, printer),
        Command::Completions(args) => completions::run(&args, printer),
        Command::Man(args) => man::run(&args, printer),
    }
}

fn settings(flags: Flags, config: Option<&Path>) -> Result<Settings, Problem> {
    Settings::resolve(flags, config, &process_environment)
}

/// Prints the summary of all devices, and returns the exit status. A single device gets no summary in text mode, as its
/// result is already printed.
fn conclude(mut summary: Summary, printer: &Printer) -> Result<Exit, Problem> {
    summary.ok = summary.devices_ok == summary.devices;
    if printer.json() {
        printer.object(&summary);
    } else if summary.devices > 1 {
        let failed = summary.devices - summary.devices_ok;
        printer.result(&if summary.ok {
            Line::new().good("done").plain(format!(": {}", count(summary.devices, "device")))
        } else {
            Line::new().bad(format!("{failed} of {} failed", count(summary.devices, "device")))
        });
    }
    match printer.finish().map_err(Problem::from) {
        // The work is done. A reader that closed standard output does not undo it.
        Err(problem) if !problem.is_closed_output() => Err(problem),
        _ if summary.ok => Ok(Exit::Done),
        _ => Ok(Exit::Failed),
    }
}

/// Runs a command that waits for the network. One thread is enough, as the network is the slow part.
fn block_on<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::failed("cannot start").caused_by(error))?;
    let result = runtime.block_on(future);
    // A pending name resolution, or a file on a sleeping disk, must not delay the exit.
    runtime.shutdown_background();
    result
}
