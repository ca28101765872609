//! The commands, one a file.

#[cfg(feature = "broker")]
mod broker;
mod completions;
mod config;
#[cfg(feature = "broker")]
mod demo;
mod devices;
mod man;
mod receive;
mod send;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::args::{Cli, Command};
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::settings::{Flags, Settings, process_environment};

/// Does what the command line asks for.
///
/// # Errors
/// Why it could not be done, with the exit status.
pub(crate) fn run(cli: Cli, printer: &Arc<Printer>) -> Result<Exit, Problem> {
    let config = cli.general.config.as_deref();
    match cli.command {
        Command::Send(args) => send::run(args, config, printer),
        Command::Devices(args) => devices::run(&args, config, printer),
        Command::Receive(args) => receive::run(&args, config, printer),
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

/// Runs a command that waits for the network. One thread is enough: it is the network that is slow.
fn block_on<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::failed("cannot start").caused_by(error))?;
    let result = runtime.block_on(future);
    // A name that is still being resolved, or a file on a disk that sleeps, must not delay the end.
    runtime.shutdown_background();
    result
}
