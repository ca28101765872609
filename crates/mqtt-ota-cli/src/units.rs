//! Sizes and times as people read them.

use std::time::{Duration, SystemTime};

use mqtt_ota::Digest;

/// Formats a size: the exact number of bytes below 10,000, and a binary unit from there on.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..10_000 => format!("{bytes} bytes"),
        _ => indicatif::HumanBytes(bytes).to_string(),
    }
}

pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(1) => "under 1 ms".to_owned(),
        0 => format!("{} ms", duration.as_millis()),
        1..100 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Formats the time since `since`. It is rounded down to minutes from one minute on, and to hours from one day on.
pub(crate) fn ago(since: SystemTime) -> String {
    let seconds = since.elapsed().unwrap_or_default().as_secs();
    let round = match seconds {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3600,
    };
    humantime::format_duration(Duration::from_secs(seconds / round * round)).to_string()
}

/// Returns the first 8 characters of a digest, which are enough to tell one set from another.
pub(crate) fn short(digest: Digest) -> String {
    digest.to_string().chars().take(8).collect()
}

/// Formats a number with its noun: `1 device`, `2 devices`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sizes_are_exact_and_large_ones_readable() {
        assert_eq!([0, 1, 3891, 268_435_456].map(size), ["0 bytes", "1 byte", "3891 bytes", "256.00 MiB"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let times = [84, 1_240, 185_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(times, ["84 ms", "1.2 s", "3 min 5 s"]);
    }
}
