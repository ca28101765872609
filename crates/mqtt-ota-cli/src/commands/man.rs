use clap::CommandFactory as _;

use crate::args::{Cli, Man};
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};

/// Prints a manual page, or writes all of them.
pub(super) fn run(args: &Man, printer: &Printer) -> Result<Exit, Problem> {
    let mut command = Cli::command().disable_help_flag(false);
    if let Some(folder) = &args.dir {
        clap_mangen::generate_to(command, folder).map_err(|error| {
            Problem::failed(format!("cannot write the manual pages to {}", folder.display())).caused_by(error)
        })?;
        printer.note(&Line::new().plain(format!("the manual pages are in {}", folder.display())));
        return Ok(Exit::Done);
    }
    // Gives the pages of commands their full name, mqtt-ota-send.
    command.build();
    let command = match &args.command {
        None => command,
        Some(name) => {
            let known: Vec<_> =
                command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            let Some(found) = command.find_subcommand(name) else {
                return Err(Problem::usage(format!("there is no command {name:?}"))
                    .hint(format!("the commands are {}", known.join(", "))));
            };
            let full_name = found.get_display_name().unwrap_or(name).to_owned();
            found.clone().name(full_name)
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Problem::failed("cannot make the manual page").caused_by(error))?;
    printer.raw(&page);
    printer.finish()?;
    Ok(Exit::Done)
}
