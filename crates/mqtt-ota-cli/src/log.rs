//! What the libraries log, on standard error.

use std::io;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::line::Line;
use crate::printer::{Printer, Verbosity};

/// Sends the libraries' log records to the printer.
pub(crate) fn start(printer: &Arc<Printer>) {
    let level = match printer.verbosity() {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Normal => LevelFilter::WARN,
        Verbosity::Steps => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    };
    let mut targets = Targets::new().with_target("mqtt_ota", level);
    if printer.verbosity() == Verbosity::Normal {
        // What a keeper does is heard of in no other way.
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
        .with_writer(Lines(Arc::clone(printer)));
    // Fails where there is a subscriber already; then that one has the records.
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

struct Lines(Arc<Printer>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { printer: &self.0, level: Level::ERROR, record: Vec::new() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { printer: &self.0, level: *metadata.level(), record: Vec::new() }
    }
}

/// Collects one record and hands it over whole.
struct LineWriter<'a> {
    printer: &'a Printer,
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
        let line = match self.level {
            Level::ERROR => Line::new().bad("error:").plain(' ').plain(record),
            Level::WARN => Line::new().doubtful("warning:").plain(' ').plain(record),
            Level::INFO => Line::new().plain(record),
            _ => Line::new().faint(record),
        };
        self.printer.log(&line);
    }
}
