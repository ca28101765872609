//! Text that came from a device, a broker or a file name, made safe for a terminal.
//!
//! A device's status is printed in somebody's terminal, and a terminal obeys what it is sent: an escape
//! sequence can clear the screen, set the title or fake an "installed". So control characters, and the
//! invisible ones that reorder or hide text, are shown as what they are.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal, or the eye, may take this character for something else than text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Zero-width characters and direction marks; line and paragraph separators; the bidirectional
            // embeddings, overrides and isolates; the byte order mark; the invisible tags.
            '\u{00ad}'
                | '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with everything unsafe written as an escape: `\n`, `\u{1b}`, `\u{202e}`.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, |c, into| into.extend(c.escape_default()))
}

/// The same for a line of JSON, where the escape has to be JSON's own.
pub(crate) fn for_json(line: &str) -> Cow<'_, str> {
    escaped(line, |c, into| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(into, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { escape(c, &mut safe) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_clearing_sequence_is_shown_not_obeyed() {
        assert_eq!(for_terminal("\u{1b}[2J\u{1b}[1;1H"), "\\u{1b}[2J\\u{1b}[1;1H");
    }

    #[test]
    fn a_line_cannot_be_added_or_overwritten() {
        assert_eq!(for_terminal("ok\r\nNIGHTLAMP: installed"), "ok\\r\\nNIGHTLAMP: installed");
    }

    #[test]
    fn an_eight_bit_control_sequence_is_shown() {
        assert_eq!(for_terminal("\u{9b}31m"), "\\u{9b}31m");
    }

    #[test]
    fn a_name_cannot_be_written_backwards_or_hidden() {
        assert_eq!(for_terminal("main\u{202e}yp.exe"), "main\\u{202e}yp.exe");
        assert_eq!(for_terminal("a\u{200b}b\u{2066}c\u{feff}"), "a\\u{200b}b\\u{2066}c\\u{feff}");
    }

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        for text in ["main.py", "Größe.bin", "ランプ", "🙂 a\\b"] {
            assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let text = "a\u{7f}b\u{202e}c\u{e0041}\u{9b}d";
        let line = serde_json::to_string(text).unwrap();
        let safe = for_json(&line);
        assert!(!safe.contains(is_unsafe));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
