use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// One tick of the times below, as Linux tells them to all programs.
const TICK: Duration = Duration::from_millis(10);
/// The part of the processors' time that may be gone without a word, in percent; one tick always may.
const ALLOWED: u32 = 3;
/// How often something is measured at most, until nothing disturbs it.
const ATTEMPTS: usize = 6;

static DISTURBED: AtomicUsize = AtomicUsize::new(0);

/// Measures, and measures again if the host of this virtual machine has meanwhile run other things on its processors
/// ("steal" in `/proc/stat`, see proc(5)): what needs all processors at once loses more by that than what bounds it.
pub(crate) fn undisturbed<T>(mut measure: impl FnMut() -> T) -> T {
    let mut attempts = 1;
    loop {
        let (before, started) = (stolen(), Instant::now());
        let measured = measure();
        let cores = available_parallelism().map_or(1, |cores| cores.get() as u32);
        let allowed = (started.elapsed() * cores * ALLOWED / 100).max(TICK);
        if stolen().saturating_sub(before) <= allowed {
            return measured;
        }
        DISTURBED.fetch_add(1, Ordering::Relaxed);
        if attempts == ATTEMPTS {
            return measured;
        }
        attempts += 1;
    }
}

/// How often the host has disturbed what was measured, since this was last asked.
pub(crate) fn told() -> String {
    let disturbed = DISTURBED.swap(0, Ordering::Relaxed);
    format!("({disturbed} measurements were disturbed by the machine's host, and made again)")
}

/// The time of all processors that the host has used otherwise so far; nothing where the system does not say.
fn stolen() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok());
    TICK * ticks.unwrap_or_default()
}
