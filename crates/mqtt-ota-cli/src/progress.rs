//! Progress bars, one per device. Hidden unless standard error is a terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mqtt_ota::wire::DeviceName;

use crate::printer::Printer;
use crate::sanitize;

/// Time between two moves of an idle bar, so that it is seen to live.
const TICK: Duration = Duration::from_millis(120);

const WAITING: &str = "{prefix}  {spinner} {wide_msg} {elapsed:>4}";
const WAITING_FOR_ALL: &str = "{spinner} {wide_msg} {elapsed:>4}";
const MOVING: &str = "{prefix}  {msg} {wide_bar} {bytes:>10}/{total_bytes} {bytes_per_sec:>12} eta {eta:>3}";

/// Progress bar of one device, or of all. Removed from the screen when dropped.
pub(crate) struct Bar {
    bar: ProgressBar,
    moving: AtomicBool,
}

impl Bar {
    /// Adds the bar of a device. `width` is the length of the longest name, so that the bars are aligned.
    pub(crate) fn new(printer: &Printer, device: &DeviceName, width: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, indicatif::ProgressDrawTarget::hidden());
        let bar = Self { bar, moving: AtomicBool::new(false) };
        if !printer.shows_bars() {
            return bar;
        }
        let name = sanitize::for_terminal(device.as_str()).into_owned();
        bar.bar.set_prefix(format!("{name:width$}"));
        bar.waiting("looking for the device");
        let shown = printer.bars().add(bar.bar);
        shown.enable_steady_tick(TICK);
        Self { bar: shown, ..bar }
    }

    /// Adds a bar that belongs to no single device and shows what is waited for.
    pub(crate) fn of_all(printer: &Printer, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, indicatif::ProgressDrawTarget::hidden());
        let bar = Self { bar, moving: AtomicBool::new(false) };
        if !printer.shows_bars() {
            return bar;
        }
        bar.styled(WAITING_FOR_ALL);
        bar.bar.set_message(sanitize::for_terminal(what).into_owned());
        let shown = printer.bars().add(bar.bar);
        shown.enable_steady_tick(TICK);
        Self { bar: shown, ..bar }
    }

    /// Shows what is waited for.
    pub(crate) fn waiting(&self, what: &str) {
        self.moving.store(false, Ordering::Relaxed);
        self.styled(WAITING);
        self.bar.reset_elapsed();
        self.bar.set_message(sanitize::for_terminal(what).into_owned());
    }

    /// Shows the progress of a file, in bytes.
    pub(crate) fn moving(&self, file: &str, sent: u64, total: u64) {
        if !self.moving.swap(true, Ordering::Relaxed) {
            self.bar.set_message(sanitize::for_terminal(file).into_owned());
            self.bar.set_length(total);
            self.bar.reset_eta();
            self.styled(MOVING);
        }
        self.bar.set_position(sent);
    }

    fn styled(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [WAITING, WAITING_FOR_ALL, MOVING] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
