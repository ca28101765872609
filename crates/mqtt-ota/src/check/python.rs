//! Parser for Python files: tree-sitter's grammar, and the rules that it leaves to its users.

mod client;
mod fault;
mod rules;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tree_sitter::{ParseOptions, ParseState, Parser, Tree};

pub(super) use self::fault::Fault;
use self::rules::Walk;

/// Longest time to parse one file. A file that takes longer counts as not checked.
const LONGEST: Duration = Duration::from_secs(2);

/// Result of parsing a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Sound,
    Faulty(Fault),
    /// Parsing was not finished within [`LONGEST`].
    Unknown,
}

/// Parses a Python file. Deep nesting costs heap, and no stack.
pub(super) fn parse(source: &[u8]) -> Parsed {
    let Some(tree) = tree(source) else { return Parsed::Unknown };
    match Walk::over(source, tree.root_node()) {
        Some(fault) => Parsed::Faulty(fault),
        None => Parsed::Sound,
    }
}

/// Returns true if a `boot.py` calls the client that puts sets in place. `None` if it takes too long to parse.
pub(super) fn starts_client(source: &[u8]) -> Option<bool> {
    Some(client::is_started(source, tree(source)?.root_node()))
}

/// Returns the syntax tree of a Python file. `None` if it takes too long to parse.
fn tree(source: &[u8]) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_python::LANGUAGE.into()).ok()?;
    let begun = Instant::now();
    let mut in_time = |_: &ParseState| match begun.elapsed() < LONGEST {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let options = ParseOptions::new().progress_callback(&mut in_time);
    let mut read = |offset: usize, _| source.get(offset..).unwrap_or_default();
    parser.parse_with_options(&mut read, None, Some(options))
}

#[cfg(test)]
mod tests;
