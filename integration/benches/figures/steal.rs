use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Length of one tick, the unit in which Linux reports processor times to all programs.
const TICK: Duration = Duration::from_millis(10);
/// Share of the processors' time that the host may take without a repetition, in percent. One tick is always allowed.
const ALLOWED: u32 = 3;
/// Maximum number of attempts at an undisturbed measurement.
const ATTEMPTS: usize = 6;

/// Number of measurements, of repetitions, and of disturbed results that were kept.
static MEASURED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Measures, and repeats the measurement if the host of this virtual machine meanwhile ran other things on its
/// processors.
///
/// Linux calls this time "steal" in `/proc/stat` (see proc(5)). Work that needs all processors at once loses more by it
/// than what bounds the work.
pub(crate) fn undisturbed<T>(measure: impl FnMut() -> T) -> T {
    undisturbed_after(|| (), measure)
}

/// Like [`undisturbed`], with work before each attempt that is not part of the measurement.
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

/// Describes what the host has disturbed since the last call. `None` if nothing was measured.
pub(crate) fn told() -> Option<String> {
    let [all, again, kept] = MEASURED.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
    (all > 0).then(|| {
        format!("(disturbed by the machine's host: {again} measurements that were made again, {kept} that were kept)")
    })
}

/// Returns the time of all processors that the host has used otherwise so far, and the number of processors. Both are
/// zero if the system does not report them.
fn stolen() -> (Duration, u32) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok());
    let cores = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u32;
    (TICK * ticks.unwrap_or_default(), cores)
}
