use clap::CommandFactory as _;

use crate::args::{Cli, Completions};
use crate::printer::Printer;
use crate::problem::{Exit, Problem};

/// Prints a completion script.
pub(super) fn run(args: &Completions, printer: &Printer) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mqtt-ota", &mut script);
    printer.raw(&script);
    printer.finish()?;
    Ok(Exit::Done)
}
