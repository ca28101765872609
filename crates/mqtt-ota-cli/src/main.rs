//! The command `mqtt-ota`: see `mqtt-ota --help`.

mod args;
mod commands;
mod device_path;
mod files;
mod interrupt;
mod line;
mod log;
mod neighbours;
mod printer;
mod problem;
mod progress;
mod report;
mod sanitize;
mod service;
mod settings;
mod similar;
mod table;
mod targets;
mod units;

use std::process::ExitCode;
use std::sync::Arc;

use args::Cli;
use mimalloc::MiMalloc;
use printer::Printer;
use problem::Exit;

/// Memory allocator. A keeper of many devices allocates all the time, and musl's allocator, used in small containers,
/// is slow.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(message) => {
            // Help goes to standard output, and a usage error to standard error. Either may be closed.
            let _ = message.print();
            return if message.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let printer = Arc::new(Printer::new(cli.general.color(), cli.general.verbosity(), cli.json()));
    log::start(&printer, cli.is_service());
    match commands::run(cli, &printer) {
        Ok(exit) => exit.into(),
        Err(problem) if problem.is_closed_output() => Exit::Done.into(),
        Err(problem) => {
            printer.problem(&problem);
            problem.exit.into()
        }
    }
}
