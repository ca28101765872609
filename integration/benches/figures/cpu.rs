use std::fs;
use std::time::Duration;

/// Length of one tick, the unit in which Linux reports processor times to all programs.
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time that a process has used so far. Zero if the system does not report it.
pub(crate) fn of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, which may contain anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}
