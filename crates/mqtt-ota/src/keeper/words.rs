//! Sizes, times and sets in words for the log.

use std::time::Duration;

use crate::wire::Digest;

/// Returns the first 8 digits of a digest: enough to tell one set from another.
pub(super) fn short(set: Digest) -> String {
    set.to_string().chars().take(8).collect()
}

/// Returns a size with its unit, exact below 10,000 bytes.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        1 => "1 byte".to_owned(),
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / KIB / KIB),
    }
}

pub(super) fn time(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..100 => format!("{:.1} s", duration.as_secs_f64()),
        seconds => format!("{} min", seconds / 60),
    }
}

/// Returns a number with its noun: `1 file`, `2 files`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns the first five names, and the number of the others.
pub(super) fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const FEW: usize = 5;
    let more = names.len().saturating_sub(FEW);
    let few = names.take(FEW).collect::<Vec<_>>().join(", ");
    if more == 0 { few } else { format!("{few} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_unit_that_fits_and_lists_an_end() {
        assert_eq!(
            [0, 1, 3891, 34_000, 20_000_000].map(size),
            ["0 bytes", "1 byte", "3891 bytes", "33 KiB", "19 MiB"]
        );
        assert_eq!(
            [84, 1_240, 185_000].map(|ms| time(Duration::from_millis(ms))),
            ["84 ms", "1.2 s", "3 min"]
        );
        assert_eq!(some(["a", "b"].into_iter()), "a, b");
        assert_eq!(some(["a"; 7].into_iter()), "a, a, a, a, a and 2 more");
    }
}
