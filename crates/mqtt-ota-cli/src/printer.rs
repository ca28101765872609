//! Printer that controls every output stream.
//!
//! Standard output carries the results: lines, tables, JSON. Everything else goes to standard error: progress, logs,
//! errors and hints. Colour alone never carries a meaning.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use anstream::{AutoStream, ColorChoice};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::line::Line;
use crate::problem::{OutputError, Problem};
use crate::sanitize;

/// Amount of output on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// `-q`: errors only.
    Quiet,
    /// Default: progress, and whatever the user should know.
    Normal,
    /// `-v`: each step as well.
    Steps,
    /// `-vv`: debug records of this project's library as well.
    Debug,
    /// `-vvv`: trace records of all libraries as well.
    Trace,
}

pub(crate) struct Printer {
    color: ColorChoice,
    verbosity: Verbosity,
    json: bool,
    bars: MultiProgress,
    /// First error of standard output. Nothing is written after it.
    output: Mutex<Option<io::Error>>,
}

impl Printer {
    /// Creates a printer. With `json`, standard output carries one JSON object per line and nothing else.
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

    /// Returns the progress bars, which are hidden unless standard error is a terminal.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Returns true if progress bars are drawn.
    pub(crate) fn shows_bars(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// Returns the width in columns of the terminal on standard output. `None` if standard output is no terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into())
    }

    /// Prints a line of the requested data.
    pub(crate) fn data(&self, line: &Line) {
        self.write_output(line.as_styled_str());
    }

    /// Prints a line of the result. `-q` omits it, as the exit status says the same.
    pub(crate) fn result(&self, line: &Line) {
        if self.verbosity > Verbosity::Quiet {
            self.data(line);
        }
    }

    /// Prints one JSON object.
    pub(crate) fn object(&self, object: &impl Serialize) {
        match serde_json::to_string(object) {
            Ok(line) => self.write_output(&sanitize::for_json(&line)),
            Err(error) => self.remember(error.into()),
        }
    }

    /// Writes bytes unchanged, such as a completion script or a manual page.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        if let Err(error) = io::stdout().lock().write_all(bytes) {
            self.remember(error);
        }
    }

    /// Prints a note that the user should read. `-q` omits it.
    pub(crate) fn note(&self, line: &Line) {
        if self.verbosity > Verbosity::Quiet {
            self.write_error(line.as_styled_str());
        }
    }

    /// Prints a step, with `-v` or more.
    pub(crate) fn step(&self, line: &Line) {
        if self.verbosity > Verbosity::Normal {
            self.write_error(line.as_styled_str());
        }
    }

    /// Prints a warning. `-q` omits it.
    pub(crate) fn warning(&self, message: impl fmt::Display) {
        self.note(&Line::new().doubtful("warning:").plain(' ').plain(message));
    }

    /// Prints an error with its causes and its hint.
    pub(crate) fn problem(&self, problem: &Problem) {
        let mut chain = problem.error.chain().map(ToString::to_string);
        let mut above = chain.next().unwrap_or_default();
        let mut lines = vec![Line::new().bad("error:").plain(' ').plain(&above)];
        for cause in chain {
            // Some libraries repeat the cause in their own message. Once is enough.
            if !above.ends_with(&cause) {
                lines.push(Line::new().plain("  ").strong("cause:").plain(' ').plain(&cause));
            }
            above = cause;
        }
        lines.extend(problem.hint.as_ref().map(|hint| Line::new().helpful("hint:").plain(' ').plain(hint)));
        // All lines go out in a single write, so that no bar is drawn in between.
        let lines: Vec<_> = lines.iter().map(Line::as_styled_str).collect();
        self.write_error(&lines.join("\n"));
    }

    /// Prints a log record. The log level has already been applied.
    pub(crate) fn log(&self, record: &Line) {
        self.write_error(record.as_styled_str());
    }

    /// Flushes standard output.
    ///
    /// # Errors
    /// Returns the first error of standard output, if there was one.
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
        // If standard error is closed as well, nobody can be told.
        let _ = self
            .bars
            .suspend(|| writeln!(AutoStream::new(io::stderr().lock(), self.choice(&io::stderr())), "{line}"));
    }

    fn remember(&self, error: io::Error) {
        let mut failed = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.get_or_insert(error);
    }

    /// Chooses the colours of a stream: `--color` decides. With `auto`, `NO_COLOR` and `TERM=dumb` count, and colours
    /// need a terminal.
    fn choice(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.color {
            ColorChoice::Auto => AutoStream::choice(stream),
            decided => decided,
        }
    }
}
