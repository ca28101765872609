//! Suggestions of names that are similar to one that does not exist.

use std::path::Path;

use strsim::osa_distance;

/// Maximum number of names that are suggested.
const PROPOSED: usize = 3;
/// Maximum number of known names that are compared, as anybody can invent some.
const LOOKED_AT: usize = 16 * 1024;
/// Minimum length, in characters, of a name that counts as the beginning of a longer one.
const BEGINNING: usize = 3;

/// Returns the known names that were probably meant, the likeliest first. They differ in capitals and separators alone,
/// are a typo away, or are longer and begin with the wanted name.
pub(crate) fn to<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let folded = fold(wanted);
    let mut found: Vec<_> = known
        .into_iter()
        .take(LOOKED_AT)
        .filter(|name| *name != wanted)
        .filter_map(|name| Some((distance(&folded, &fold(name))?, name)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(PROPOSED);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Returns a question that suggests similar names. `None` if there are none.
pub(crate) fn question<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let names = to(wanted, known);
    let (last, others) = names.split_last()?;
    let others = others.join(", ");
    Some(if others.is_empty() {
        format!("did you mean {last}?")
    } else {
        format!("did you mean {others} or {last}?")
    })
}

/// Like [`question`], for a file that does not exist and the files beside it.
pub(crate) fn file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?.take(LOOKED_AT).flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let names: Vec<_> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    question(path.file_name()?.to_str()?, names.iter().map(String::as_str))
}

/// Folds a name for comparison: lower case, without separators. A group is compared without its `@`.
fn fold(name: &str) -> String {
    let name = name.strip_prefix('@').unwrap_or(name);
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Returns how far a known name is from the wanted one. `None` if the two are not similar.
fn distance(wanted: &str, known: &str) -> Option<usize> {
    let (length, known_length) = (wanted.chars().count(), known.chars().count());
    let limit = (length.min(known_length) / 3).max(1);
    if length.abs_diff(known_length) <= limit {
        // A single letter in place of another is not a similarity.
        let away = osa_distance(wanted, known);
        if away <= limit && away < length.min(known_length) {
            return Some(away);
        }
    }
    (length >= BEGINNING && known.starts_with(wanted)).then(|| known_length - length + limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = ["NIGHTLAMP", "HALL", "kitchen-plug", "@lamps", "P1", "Küche"];

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        for (wanted, meant) in [
            ("nightlamp", "NIGHTLAMP"),
            ("NIGHTLMAP", "NIGHTLAMP"),
            ("NIGTLAMP", "NIGHTLAMP"),
            ("NIGHTLAMPP", "NIGHTLAMP"),
            ("NIGHT-LAMP", "NIGHTLAMP"),
            ("NIGHT", "NIGHTLAMP"),
            ("lamps", "@lamps"),
            ("lamp", "@lamps"),
            ("Kitchen_Plug", "kitchen-plug"),
            ("hal", "HALL"),
            ("KÜCHE", "Küche"),
            ("Kuche", "Küche"),
        ] {
            assert_eq!(to(wanted, KNOWN).first(), Some(&meant), "{wanted}");
        }
    }

    #[test]
    fn another_name_is_no_name_that_was_meant() {
        for wanted in ["BOILER", "x", "", "NIGHTLAMP2000", "P"] {
            assert_eq!(to(wanted, KNOWN), [""; 0], "{wanted}");
        }
        assert_eq!(question("BOILER", KNOWN), None);
    }

    #[test]
    fn at_most_three_names_are_proposed_the_likeliest_first() {
        let known = ["LAMP-4", "LAMP-3", "LAMP-22", "LAMP-2", "lamp_1"];
        assert_eq!(question("LAMP1", known).unwrap(), "did you mean lamp_1, LAMP-2 or LAMP-3?");
    }

    #[test]
    fn however_many_names_are_known_the_work_has_a_bound() {
        let mut looked_at = 0;
        to("NIGHTLMAP", std::iter::repeat_n("x", 1_000_000).inspect(|_| looked_at += 1));
        assert_eq!(looked_at, LOOKED_AT);
    }
}
