//! Escaping of text from a device, a broker or a file name, so that a terminal can show it.
//!
//! A terminal obeys what it is sent: an escape sequence can clear the screen, set the title or fake an "installed".
//! Other characters are invisible, reorder the text around them, or are drawn over it. All of these are shown as
//! escapes. Unicode's own tables decide which characters they are.

use std::borrow::Cow;
use std::fmt::Write as _;

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Maximum number of marks on one letter. Pointed Hebrew has up to five. A terminal draws more marks over the lines
/// above and below.
const MARKS: usize = 5;

/// Returns true if a terminal, or the eye, may take the character for something else than text. These are control and
/// format characters, line and paragraph separators, private and unassigned characters, and all invisible ones.
fn is_unsafe(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return false;
    }
    match CodePointMapData::<GeneralCategory>::new().get(c) {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::Surrogate
        | GeneralCategory::PrivateUse
        | GeneralCategory::Unassigned
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        _ => CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c),
    }
}

/// Returns true if the character is drawn over the one before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// State of the check of a text, character by character. A mark is safe on a letter and nowhere else.
#[derive(Default)]
struct Judge {
    /// Number of further marks that the character before has room for.
    room: usize,
}

impl Judge {
    fn is_unsafe(&mut self, c: char) -> bool {
        if is_unsafe(c) {
            self.room = 0;
            return true;
        }
        if !is_mark(c) {
            self.room = if c.is_alphanumeric() { MARKS } else { 0 };
            return false;
        }
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        !has_room
    }
}

/// Escapes everything unsafe in a text: `\n`, `\u{1b}`, `\u{202e}`.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, |c, into| into.extend(c.escape_default()))
}

/// Escapes everything unsafe in a line of JSON, with JSON's own escapes.
pub(crate) fn for_json(line: &str) -> Cow<'_, str> {
    escaped(line, |c, into| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(into, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let mut judge = Judge::default();
    if !text.contains(|c| judge.is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let mut judge = Judge::default();
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if judge.is_unsafe(c) { escape(c, &mut safe) } else { safe.push(c) }
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
    fn whatever_is_invisible_or_has_no_meaning_is_shown() {
        for c in [
            '\u{180e}', // Mongolian vowel separator
            '\u{fff9}', // interlinear annotation
            '\u{fffb}',
            '\u{061c}', // Arabic letter mark
            '\u{00ad}', // soft hyphen
            '\u{034f}', // combining grapheme joiner
            '\u{115f}', // Hangul fillers
            '\u{3164}',
            '\u{fe0f}', // variation selectors
            '\u{e0100}',
            '\u{2028}', // line and paragraph separators
            '\u{2029}',
            '\u{206f}',  // deprecated format character
            '\u{e0041}', // tag
            '\u{1d173}', // musical format character
            '\u{13430}', // Egyptian format character
            '\u{e000}',  // private use
            '\u{10fffd}',
            '\u{0378}', // unassigned
            '\u{fffe}', // noncharacter
        ] {
            let text = format!("a{c}b");
            let shown = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(for_terminal(&text), shown);
        }
    }

    #[test]
    fn marks_are_drawn_on_letters_and_not_without_end() {
        let flood = format!("a{}", "\u{0301}".repeat(40));
        assert_eq!(for_terminal(&flood), format!("a{}{}", "\u{0301}".repeat(5), "\\u{301}".repeat(35)));
        // No mark is drawn over what precedes the text.
        assert_eq!(for_terminal("\u{0336}x \u{0301}"), "\\u{336}x \\u{301}");
    }

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        for text in [
            "main.py",
            "Größe.bin",
            "Gro\u{0308}ße",
            "ランプ",
            "🙂 a\\b",
            "बत्ती",
            "དཀར་པོ",
            "מְנוֹרָה",
            "đèn ngủ",
            "조명",
        ] {
            assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let text = "\u{0301}a\u{7f}b\u{202e}c\u{e0041}\u{9b}d\u{180e}";
        let line = serde_json::to_string(text).unwrap();
        let safe = for_json(&line);
        assert!(!safe.contains(is_unsafe) && !safe.contains(is_mark));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
