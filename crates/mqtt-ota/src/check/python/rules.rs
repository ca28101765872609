//! Rules of Python that tree-sitter's grammar does not enforce. The grammar is made for editors, and accepts Python 2
//! as well.

use tree_sitter::Node;

use super::fault::Fault;

const SYNTAX: &str = "invalid syntax";

/// Context of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    in_function: bool,
    /// True directly in an asynchronous function, and false in a function or class within it.
    in_async: bool,
    in_loop: bool,
    /// True if lines may end anywhere.
    in_brackets: bool,
}

impl Place {
    /// Returns the context of a node's children.
    fn within(self, node: Node<'_>, children: &[Node<'_>]) -> Self {
        let place = match node.kind() {
            "function_definition" | "lambda" => {
                Self { in_function: true, in_async: is_async(children), in_loop: false, ..self }
            }
            "class_definition" => Self { in_function: false, in_async: false, in_loop: false, ..self },
            "for_statement" | "while_statement" => Self { in_loop: true, ..self },
            "block" => Self { in_brackets: false, ..self },
            _ => self,
        };
        let has_bracket = children.iter().any(|child| matches!(child.kind(), "(" | "[" | "{"));
        Self { in_brackets: place.in_brackets || has_bracket, ..place }
    }
}

/// Walk over a syntax tree, without recursion.
pub(super) struct Walk<'a> {
    source: &'a [u8],
    /// First fault so far, with its offset.
    first: Option<(usize, Fault)>,
}

impl<'a> Walk<'a> {
    /// Returns the first fault of a tree.
    pub(super) fn over(source: &'a [u8], root: Node<'a>) -> Option<Fault> {
        let mut walk = Self { source, first: None };
        let mut open = vec![(root, Place::default())];
        let mut cursor = root.walk();
        while let Some((node, place)) = open.pop() {
            if node.is_error() || node.is_missing() {
                walk.note(node, SYNTAX);
                continue;
            }
            let is_code = |child: &Node<'_>| !matches!(child.kind(), "comment" | "line_continuation");
            let children: Vec<_> = node.children(&mut cursor).filter(is_code).collect();
            let within = place.within(node, &children);
            walk.look(node, &children, place, within);
            open.extend(children.into_iter().map(|child| (child, within)));
        }
        walk.first.map(|(_, fault)| fault)
    }

    fn note(&mut self, node: Node<'a>, what: &'static str) {
        let at = node.start_byte();
        if self.first.as_ref().is_none_or(|(first, _)| at < *first) {
            let line = node.start_position().row + 1;
            let until = if node.is_error() { node.end_position().row + 1 } else { line };
            self.first = Some((at, Fault { line, until, what }));
        }
    }

    /// Notes the faults of a node itself.
    fn look(&mut self, node: Node<'a>, children: &[Node<'a>], place: Place, within: Place) {
        match node.kind() {
            "module" => self.look_at_lines(children, Some(0)),
            "block" if children.iter().any(Node::is_named) => self.look_at_lines(children, None),
            "block" => self.note(node, "an indented block is missing"),
            "if_statement"
            | "for_statement"
            | "while_statement"
            | "try_statement"
            | "decorated_definition" => {
                self.look_at_clauses(node, children);
            }
            _ => {}
        }
        let has_lines =
            matches!(node.kind(), "module" | "block" | "decorated_definition" | "string" | "string_content");
        if !has_lines && !within.in_brackets && self.breaks_off(children) {
            self.note(node, SYNTAX);
        }
        if let Some(what) = self.broken_rule(node, children, place) {
            self.note(node, what);
        }
    }

    /// Returns the rule that a node breaks, of those that concern only this node.
    fn broken_rule(&self, node: Node<'a>, children: &[Node<'a>], place: Place) -> Option<&'static str> {
        let has = |kind: &str| children.iter().any(|child| child.kind() == kind);
        let first = children.first().map(Node::kind);
        let comes_second = |kind: &str| children.get(1).is_some_and(|child| child.kind() == kind);
        let text = self.source.get(node.byte_range()).unwrap_or_default();
        let rule = match node.kind() {
            "try_statement" if !has("except_clause") && (has("else_clause") || !has("finally_clause")) => {
                "a try without except"
            }
            "print_statement" if !has("chevron") => "print is a function: print(…)",
            "exec_statement" => "exec is a function: exec(…)",
            "except_clause" if has(",") => "except takes one expression: except (A, B) as error",
            "except_clause" if has("*") => "MicroPython has no except*",
            "raise_statement" if has("expression_list") => "raise takes one exception",
            "comparison_operator" if has("<>") => "<> is written !=",
            "parameters" | "lambda_parameters" if has("tuple_pattern") => "a parameter is a name",
            "default_parameter" if first == Some("tuple_pattern") => "a parameter is a name",
            "assert_statement" if children.iter().filter(|child| child.kind() == ",").count() > 1 => SYNTAX,
            "argument_list" | "dictionary" if comes_second(",") => SYNTAX,
            "argument_list" if is_out_of_order(children) => {
                "a positional argument follows a keyword argument"
            }
            "import_statement" if children.last().is_some_and(|child| child.kind() == ",") => SYNTAX,
            "constrained_type" => SYNTAX,
            "identifier" if matches!(text, b"async" | b"await") => SYNTAX,
            "match_statement" => "MicroPython has no match statement",
            "type_alias_statement" => "MicroPython has no type statement",
            "function_definition" | "class_definition" if has("type_parameter") => {
                "MicroPython has no type parameters"
            }
            "positional_separator" => "MicroPython has no positional-only parameters",
            "string_start" if !is_string_start(text) => SYNTAX,
            "integer" if text.ends_with(b"l") || text.ends_with(b"L") => "a number has no L at its end",
            "return_statement" | "yield" if !place.in_function => "only a function can return or yield",
            "await" if !place.in_function => "only a function can await",
            "for_statement" | "with_statement" | "for_in_clause" if is_async(children) && !place.in_async => {
                "async for and async with are for async functions"
            }
            "break_statement" | "continue_statement" if !place.in_loop => "only a loop can break or continue",
            "expression_statement" if first == Some("named_expression") => SYNTAX,
            "with_clause" if first == Some("(") && children.iter().any(is_named_item) => {
                "MicroPython has no parentheses around the items of with"
            }
            "with_item" | "except_clause" | "case_pattern" => return None,
            _ if has("as_pattern") => SYNTAX,
            _ => return None,
        };
        Some(rule)
    }

    /// Checks that statements begin in the same column, each on a line of its own or behind a semicolon.
    fn look_at_lines(&mut self, children: &[Node<'a>], mut column: Option<usize>) {
        let mut last: Option<(usize, bool)> = None;
        for child in children {
            let begins_line = last.is_none_or(|(row, _)| row != child.start_position().row);
            if begins_line && child.is_named() {
                let own = self.indent(*child);
                if let (Some(own), Some(column)) = (own, column)
                    && own != column
                {
                    self.note(*child, "unexpected indentation");
                }
                column = column.or(own);
            } else if child.is_named() && last.is_some_and(|(_, is_separated)| !is_separated) {
                self.note(*child, SYNTAX);
            }
            last = Some((child.end_position().row, !child.is_named()));
        }
    }

    /// Checks that clauses such as `else`, and decorated definitions, begin in the column of their statement.
    fn look_at_clauses(&mut self, node: Node<'a>, children: &[Node<'a>]) {
        let Some(column) = self.indent(node) else { return };
        let is_aligned = |kind: &str| kind.ends_with("_clause") || kind.ends_with("_definition");
        for clause in children.iter().filter(|child| is_aligned(child.kind())) {
            if self.indent(*clause) != Some(column) {
                self.note(*clause, "unexpected indentation");
            }
        }
    }

    /// Returns true if a line ends between two of these nodes where none may end.
    fn breaks_off(&self, children: &[Node<'a>]) -> bool {
        let has_lines = |node: &Node<'_>| node.kind() == "block" || node.kind().ends_with("_clause");
        children.iter().zip(children.iter().skip(1)).any(|(one, next)| {
            let between = self.source.get(one.end_byte()..next.start_byte()).unwrap_or_default();
            let is_broken = one.end_position().row < next.start_position().row;
            is_broken && !has_lines(one) && !has_lines(next) && !between.contains(&b'\\')
        })
    }

    /// Returns the column in which a node's line begins, if the node begins it. A tab goes to the next multiple of
    /// eight.
    fn indent(&self, node: Node<'a>) -> Option<usize> {
        let before = self.source.get(..node.start_byte())?;
        let blank = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | 0x0c)).count();
        let (before, blank) = before.split_at_checked(before.len() - blank)?;
        if !matches!(before.last(), None | Some(b'\n' | b'\r')) {
            return None;
        }
        let column = |column, byte: &u8| if *byte == b'\t' { column / 8 * 8 + 8 } else { column + 1 };
        Some(blank.iter().fold(0, column))
    }
}

fn is_async(children: &[Node<'_>]) -> bool {
    children.first().is_some_and(|child| child.kind() == "async")
}

fn is_named_item(item: &Node<'_>) -> bool {
    item.kind() == "with_item" && item.named_child(0).is_some_and(|child| child.kind() == "as_pattern")
}

fn is_out_of_order(arguments: &[Node<'_>]) -> bool {
    let mut arguments = arguments.iter().filter(|argument| argument.is_named());
    let is_named = |argument: &&Node<'_>| matches!(argument.kind(), "keyword_argument" | "dictionary_splat");
    arguments.any(|argument| is_named(&argument))
        && arguments.any(|argument| !is_named(&argument) && argument.kind() != "list_splat")
}

fn is_string_start(text: &[u8]) -> bool {
    let prefix = text.iter().take_while(|byte| byte.is_ascii_alphabetic());
    let prefix: Vec<_> = prefix.map(u8::to_ascii_lowercase).collect();
    let known = [b"".as_slice(), b"r", b"u", b"b", b"f", b"t", b"br", b"rb", b"fr", b"rf", b"tr", b"rt"];
    known.contains(&prefix.as_slice()) && !text.contains(&b'`')
}
