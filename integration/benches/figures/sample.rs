use std::fmt;
use std::time::Duration;

/// Measured times of one thing, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|&other| other < time);
        self.0.insert(at, time);
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }

    /// Returns the ratio of the median to `other`.
    pub(crate) fn over(&self, other: Duration) -> f64 {
        self.median().as_secs_f64() / other.as_secs_f64()
    }

    fn at(&self, part: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |part| self.at(part).as_secs_f64() * 1000.0;
        write!(f, "{:8.1} ms [{:.1} – {:.1}]", ms(0.5), ms(0.25), ms(0.75))
    }
}
