use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Time between two readings.
const PAUSE: Duration = Duration::from_millis(1);

/// Peak resident memory of a process, in KiB. `None` if the system does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peak(Option<u64>);

impl Peak {
    /// Returns the peak so far of a running process.
    pub(crate) fn of(process: u32) -> Self {
        Self(read(process))
    }

    /// Follows a process while `work` waits for its end.
    ///
    /// The system keeps the peak itself, so the last reading misses only the growth of the last millisecond. (The
    /// figure of `wait4` would include the memory of this process, which the child starts as a copy of.)
    pub(crate) fn during<T>(process: u32, work: impl FnOnce() -> T) -> (T, Self) {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak = None;
                while !ended.load(Ordering::Relaxed) {
                    peak = peak.max(read(process));
                    thread::sleep(PAUSE);
                }
                peak
            });
            let done = work();
            ended.store(true, Ordering::Relaxed);
            (done, Self(watcher.join().expect("the watcher ends")))
        })
    }
}

fn read(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.split_whitespace().next()?.parse().ok()
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(kib) => write!(f, "{:8.1} MiB", kib as f64 / 1024.0),
            None => f.write_str("unknown on this system"),
        }
    }
}
