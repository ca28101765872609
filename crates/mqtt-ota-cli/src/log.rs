//! Log records of the libraries, on standard error.

use std::io;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::line::Line;
use crate::printer::{Printer, Verbosity};

/// Sends the libraries' log records to the printer. `is_dated` puts the local time before each record, unless standard
/// error goes to systemd's journal, which records the time itself.
pub(crate) fn start(printer: &Arc<Printer>, is_dated: bool) {
    let level = match printer.verbosity() {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Normal => LevelFilter::WARN,
        Verbosity::Steps => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    };
    let mut targets = Targets::new().with_target("mqtt_ota", level);
    if printer.verbosity() == Verbosity::Normal {
        // The log is the only account of a keeper's work.
        targets = targets.with_target("mqtt_ota::keeper", LevelFilter::INFO);
    }
    if printer.verbosity() == Verbosity::Trace {
        targets = targets.with_default(LevelFilter::TRACE);
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(printer.verbosity() >= Verbosity::Debug)
        .with_writer(Lines { printer: Arc::clone(printer), is_dated: is_dated && !is_journal() });
    // Initialisation fails if there is a subscriber already. That one then gets the records.
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

struct Lines {
    printer: Arc<Printer>,
    is_dated: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        self.line(Level::ERROR)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        self.line(*metadata.level())
    }
}

impl Lines {
    fn line(&self, level: Level) -> LineWriter<'_> {
        LineWriter { printer: &self.printer, is_dated: self.is_dated, level, record: Vec::new() }
    }
}

/// Returns true if standard error goes to systemd's journal. `JOURNAL_STREAM` names the journal's device and inode.
#[cfg(unix)]
fn is_journal() -> bool {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;

    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn is_journal() -> bool {
    false
}

/// Writer that collects one record and prints it as a whole.
struct LineWriter<'a> {
    printer: &'a Printer,
    is_dated: bool,
    level: Level,
    record: Vec<u8>,
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.record.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        let record = String::from_utf8_lossy(&self.record);
        let record = record.trim();
        let line = Line::new();
        let line = if self.is_dated {
            line.faint(jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S ").to_string())
        } else {
            line
        };
        let line = match self.level {
            Level::ERROR => line.bad("error:").plain(' ').plain(record),
            Level::WARN => line.doubtful("warning:").plain(' ').plain(record),
            Level::INFO => line.plain(record),
            _ => line.faint(record),
        };
        self.printer.log(&line);
    }
}
