//! Line of output for people.

use std::fmt;

use anstyle::{AnsiColor, Style};

use crate::sanitize;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const HELPFUL: Style = AnsiColor::Cyan.on_default().bold();

/// Line that is made of pieces. Each piece is made safe for a terminal as it is added, so that no caller can forget it.
/// The output stream decides if the colours reach the terminal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn plain(self, text: impl fmt::Display) -> Self {
        self.styled(Style::new(), text)
    }

    pub(crate) fn strong(self, text: impl fmt::Display) -> Self {
        self.styled(STRONG, text)
    }

    pub(crate) fn faint(self, text: impl fmt::Display) -> Self {
        self.styled(FAINT, text)
    }

    pub(crate) fn good(self, text: impl fmt::Display) -> Self {
        self.styled(GOOD, text)
    }

    pub(crate) fn doubtful(self, text: impl fmt::Display) -> Self {
        self.styled(DOUBTFUL, text)
    }

    pub(crate) fn bad(self, text: impl fmt::Display) -> Self {
        self.styled(BAD, text)
    }

    pub(crate) fn helpful(self, text: impl fmt::Display) -> Self {
        self.styled(HELPFUL, text)
    }

    /// Appends another line to this one.
    #[cfg(feature = "broker")]
    pub(crate) fn then(mut self, line: &Self) -> Self {
        self.0.push_str(&line.0);
        self
    }

    fn styled(mut self, style: Style, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let safe = sanitize::for_terminal(&text);
        self.0.push_str(&format!("{style}{safe}{style:#}"));
        self
    }

    /// Returns the line with its colours, without an end of line.
    pub(crate) fn as_styled_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_made_safe() {
        let line = Line::new().plain("a\u{1b}[31m").plain("\n").plain("b");
        assert_eq!(line.as_styled_str(), "a\\u{1b}[31m\\nb");
    }

    #[test]
    fn only_the_line_itself_adds_colour() {
        let line = Line::new().bad("error").plain(": x");
        assert_eq!(anstream::adapter::strip_str(line.as_styled_str()).to_string(), "error: x");
        assert!(line.as_styled_str().contains("\u{1b}["));
    }
}
