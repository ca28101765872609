use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One tick of the times below, as Linux tells them to all programs.
const TICK: Duration = Duration::from_millis(10);
/// The part of the processors' time that may be gone without a word, in percent; one tick always may.
const ALLOWED: u32 = 3;
/// How often something is measured at most, until nothing disturbs it.
const ATTEMPTS: usize = 6;

/// How often something was measured here, was measured again, and was kept though it was disturbed to the last.
static MEASURED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Measures, and measures again if the host of this virtual machine has meanwhile run other things on its processors
/// ("steal" in `/proc/stat`, see proc(5)): what needs all processors at once loses more by that than what bounds it.
pub(crate) fn undisturbed<T>(measure: impl FnMut() -> T) -> T {
    undisturbed_after(|| (), measure)
}

/// The same, with something to be done before each attempt that is not part of it.
pub(crate) fn undisturbed_after<T>(mut prepare: impl FnMut(), mut measure: impl FnMut() -> T) -> T {
    let [all, again, kept] = &MEASURED;
    all.fetch_add(1, Ordering::Relaxed);
    let mut attempts = 1;
    loop {
        prepare();
        let ((before, cores), started) = (stolen(), Instant::now());
        let measured = measure();
        let allowed = (started.elapsed() * cores * ALLOWED / 100).max(TICK);
        if stolen().0.saturating_sub(before) <= allowed {
            return measured;
        }
        if attempts == ATTEMPTS {
            kept.fetch_add(1, Ordering::Relaxed);
            return measured;
        }
        again.fetch_add(1, Ordering::Relaxed);
        attempts += 1;
    }
}

/// What the host has disturbed since this was last asked; nothing where that was not looked at.
pub(crate) fn told() -> Option<String> {
    let [all, again, kept] = MEASURED.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
    (all > 0).then(|| {
        format!("(disturbed by the machine's host: {again} measurements that were made again, {kept} that were kept)")
    })
}

/// The time of all processors that the host has used otherwise so far, and how many processors that is about; nothing
/// where the system does not say.
fn stolen() -> (Duration, u32) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok());
    let cores = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u32;
    (TICK * ticks.unwrap_or_default(), cores)
}
