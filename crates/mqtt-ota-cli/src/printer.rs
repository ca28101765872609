//! The one value that controls every output stream.
//!
//! Standard output carries what was asked for: results, tables, JSON. Everything else, progress, logs,
//! errors and hints, goes to standard error. Nothing is said by colour alone.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use anstream::{AutoStream, ColorChoice};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::line::Line;
use crate::problem::{OutputError, Problem};
use crate::sanitize;

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// `-q`: errors only.
    Quiet,
    /// Progress and what the user should know.
    Normal,
    /// `-v`: each step as well.
    Steps,
    /// `-vv`: what the library does.
    Debug,
    /// `-vvv`: what every library does.
    Trace,
}

pub(crate) struct Printer {
    color: ColorChoice,
    verbosity: Verbosity,
    json: bool,
    bars: MultiProgress,
    /// What went wrong with standard output first; nothing is written after it.
    output: Mutex<Option<io::Error>>,
}

impl Printer {
    /// `json`: standard output carries one JSON object a line and nothing else.
    pub(crate) fn new(color: ColorChoice, verbosity: Verbosity, json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let shows_bars = verbosity >= Verbosity::Normal && !json && !dumb && io::stderr().is_terminal();
        let target = if shows_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            color,
            verbosity,
            json,
            bars: MultiProgress::with_draw_target(target),
            output: Mutex::new(None),
        }
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Where progress bars are drawn; hidden where there is no terminal.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Whether progress bars are drawn.
    pub(crate) fn shows_bars(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// How many columns the terminal has that standard output is; None where it is none.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into())
    }

    /// A line of what was asked for.
    pub(crate) fn data(&self, line: &Line) {
        self.write_output(line.as_styled_str());
    }

    /// A line of what was asked for that `-q` makes dispensable, as the exit status says the same.
    pub(crate) fn result(&self, line: &Line) {
        if self.verbosity > Verbosity::Quiet {
            self.data(line);
        }
    }

    /// One JSON object.
    pub(crate) fn object(&self, object: &impl Serialize) {
        match serde_json::to_string(object) {
            Ok(line) => self.write_output(&sanitize::for_json(&line)),
            Err(error) => self.remember(error.into()),
        }
    }

    /// Bytes as they are: a completion script, a manual page.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        if let Err(error) = io::stdout().lock().write_all(bytes) {
            self.remember(error);
        }
    }

    /// Something the user should know.
    pub(crate) fn note(&self, line: &Line) {
        if self.verbosity > Verbosity::Quiet {
            self.write_error(line.as_styled_str());
        }
    }

    /// A step, shown with `-v`.
    pub(crate) fn step(&self, line: &Line) {
        if self.verbosity > Verbosity::Normal {
            self.write_error(line.as_styled_str());
        }
    }

    /// Something that may turn out wrong.
    pub(crate) fn warning(&self, message: impl fmt::Display) {
        self.note(&Line::new().doubtful("warning:").plain(' ').plain(message));
    }

    /// An error with its causes and its hint.
    pub(crate) fn problem(&self, problem: &Problem) {
        let mut chain = problem.error.chain().map(ToString::to_string);
        let mut above = chain.next().unwrap_or_default();
        let mut lines = vec![Line::new().bad("error:").plain(' ').plain(&above)];
        for cause in chain {
            // Some libraries repeat their cause in their own message; once is enough.
            if !above.ends_with(&cause) {
                lines.push(Line::new().plain("  ").strong("cause:").plain(' ').plain(&cause));
            }
            above = cause;
        }
        lines.extend(problem.hint.as_ref().map(|hint| Line::new().helpful("hint:").plain(' ').plain(hint)));
        // At once, so that no bar is drawn in between.
        let lines: Vec<_> = lines.iter().map(Line::as_styled_str).collect();
        self.write_error(&lines.join("\n"));
    }

    /// A log record; how much is logged has been decided before.
    pub(crate) fn log(&self, record: &Line) {
        self.write_error(record.as_styled_str());
    }

    /// # Errors
    /// What went wrong with standard output, if anything did.
    pub(crate) fn finish(&self) -> Result<(), OutputError> {
        let mut failed = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.take().or_else(|| io::stdout().flush().err()).map_or(Ok(()), |error| Err(OutputError(error)))
    }

    fn write_output(&self, line: &str) {
        let mut failed = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failed.is_none() {
            *failed = self
                .bars
                .suspend(|| {
                    writeln!(AutoStream::new(io::stdout().lock(), self.choice(&io::stdout())), "{line}")
                })
                .err();
        }
    }

    fn write_error(&self, line: &str) {
        // Where even standard error is closed there is nobody left to tell.
        let _ = self
            .bars
            .suspend(|| writeln!(AutoStream::new(io::stderr().lock(), self.choice(&io::stderr())), "{line}"));
    }

    fn remember(&self, error: io::Error) {
        let mut failed = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.get_or_insert(error);
    }

    /// `--color` decides; where it says `auto`, `NO_COLOR`, `TERM=dumb` and whether it is a terminal.
    fn choice(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.color {
            ColorChoice::Auto => AutoStream::choice(stream),
            decided => decided,
        }
    }
}
