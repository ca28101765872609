use std::fs;
use std::io::{self, Write as _};

use clap::{Command, CommandFactory as _};

use crate::args::{Cli, Man};
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::similar;

/// Prints a manual page, or writes all of them.
pub(super) fn run(args: &Man, printer: &Printer) -> Result<Exit, Problem> {
    let mut command = Cli::command().disable_help_flag(false);
    // Building gives the pages of commands their full names, such as mqtt-ota-send.
    command.build();
    let failed = |error| Problem::failed("cannot make the manual page").caused_by(error);
    if let Some(folder) = &args.dir {
        for command in command.get_subcommands().chain([&command]) {
            let (name, page) = page(command).map_err(failed)?;
            fs::write(folder.join(format!("{name}.1")), page).map_err(|error| {
                Problem::failed(format!("cannot write the manual pages to {}", folder.display()))
                    .caused_by(error)
            })?;
        }
        printer.note(&Line::new().plain(format!("the manual pages are in {}", folder.display())));
        return Ok(Exit::Done);
    }
    let command = match &args.command {
        None => &command,
        Some(name) => command.find_subcommand(name).ok_or_else(|| {
            let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            Problem::usage(format!("there is no command {name:?}"))
                .hint(format!("the commands are {}", known.join(", ")))
                .maybe_hint(similar::question(name, known))
        })?,
    };
    printer.raw(&page(command).map_err(failed)?.1);
    printer.finish()?;
    Ok(Exit::Done)
}

/// Returns a command's full name and its manual page.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = clap_mangen::Man::new(command.clone().name(name.clone()));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_long_help() {
        // Examples and tables keep their line breaks. clap_mangen would refill them.
        writeln!(page, ".SH NOTES\n.nf")?;
        for line in notes.to_string().lines() {
            writeln!(page, "{}", verbatim(line))?;
        }
        writeln!(page, ".fi")?;
    }
    man.render_version_section(&mut page)?;
    Ok((name, page))
}

/// Escapes a line for roff, so that it is shown unchanged and can be copied.
fn verbatim(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_it_is() {
        assert_eq!(verbatim(r"jq 'a-b' \"), r"jq \(aqa\-b\(aq \e");
        assert_eq!(verbatim(".SH"), r"\&.SH");
    }
}
