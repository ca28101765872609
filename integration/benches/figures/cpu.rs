use std::fs;
use std::time::Duration;

/// One tick of the times below, as Linux tells them to all programs.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a process has taken so far; nothing where the system does not say.
pub(crate) fn of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, in which there may be anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}
