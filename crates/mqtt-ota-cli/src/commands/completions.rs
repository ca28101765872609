use clap::CommandFactory as _;

use crate::args::{Cli, Completions};
use crate::printer::Printer;
use crate::problem::{Exit, Problem};

/// Prints a completion script.
pub(super) fn run(args: &Completions, printer: &Printer) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mqtt-ota", &mut script);
    // In its Bash script, clap_complete 4.6 spells a name with a hyphen in two ways that do not match.
    let script = String::from_utf8_lossy(&script).replace("mqtt__subcmd__ota", "mqtt__ota");
    printer.raw(script.as_bytes());
    printer.finish()?;
    Ok(Exit::Done)
}
