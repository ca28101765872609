use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::peak::Peak;

/// Sender, about to be run and measured.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
}

/// Result of a measurement.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Time from the start of the process to its end.
    pub(crate) whole: Duration,
    /// Time from the first offer to the device's `installed`.
    pub(crate) delivery: Duration,
    pub(crate) peak: Peak,
}

impl Run {
    pub(crate) fn of(mut command: Command) -> Self {
        // Errors are so short that the pipe holds them.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self { command }
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Measures the time of the whole process. Nothing else is measured, so that nothing slows it down.
    pub(crate) fn time(mut self) -> Duration {
        let started = Instant::now();
        let mut child = self.start();
        let status = child.wait().expect("a child ends");
        let elapsed = started.elapsed();
        self.check(child, status);
        elapsed
    }

    /// Measures the peak of the process's memory.
    pub(crate) fn peak(mut self) -> Peak {
        let mut child = self.start();
        let (status, peak) = Peak::during(child.id(), || child.wait().expect("a child ends"));
        self.check(child, status);
        peak
    }

    /// Measures everything, by the events that the sender prints.
    pub(crate) fn measure(mut self) -> Measured {
        self.command.arg("--json").stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = self.start();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ((offered, installed), peak) = Peak::during(child.id(), || {
            let (mut offered, mut installed) = (None, None);
            for line in lines.map_while(Result::ok) {
                if line.contains("\"event\":\"offered\"") {
                    offered.get_or_insert_with(Instant::now);
                } else if line.contains("\"event\":\"installed\"") {
                    installed = Some(Instant::now());
                }
            }
            (offered, installed)
        });
        let status = child.wait().expect("a child ends");
        let whole = started.elapsed();
        self.check(child, status);
        let delivery = installed.expect("a device that installs") - offered.expect("an offer");
        Measured { whole, delivery, peak }
    }

    fn check(&self, child: Child, status: ExitStatus) {
        let said = child.stderr.and_then(|stderr| io::read_to_string(stderr).ok()).unwrap_or_default();
        assert!(status.success(), "{:?}: {status}\n{said}", self.command);
    }

    fn start(&mut self) -> Child {
        self.command.spawn().unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.command))
    }
}
