use std::fmt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Child;

use crate::runtime::{GUARD, runtime, within_for};
use crate::transcript::Transcript;

/// Child process whose output is read as it comes. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdout: Transcript,
    stderr: Transcript,
    started: Instant,
}

impl Process {
    /// Starts `command`, called `what` in messages. Only output that the command pipes is captured.
    pub(crate) fn start(what: impl Into<String>, command: Command) -> Self {
        let what = what.into();
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let _entered = runtime().enter();
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what} does not start: {error}"));
        let stdout = child.stdout.take().map_or_else(Transcript::empty, Transcript::of);
        let stderr = child.stderr.take().map_or_else(Transcript::empty, Transcript::of);
        Self { what, child, stdout, stderr, started }
    }

    /// Returns the standard output.
    pub fn stdout(&self) -> &Transcript {
        &self.stdout
    }

    /// Returns the standard error.
    pub fn stderr(&self) -> &Transcript {
        &self.stderr
    }

    /// Returns the process id.
    ///
    /// # Panics
    ///
    /// Panics if the process has ended.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended", self.what))
    }

    /// Waits for the process to end by itself.
    pub fn wait(self) -> Finished {
        self.wait_for(GUARD)
    }

    /// Waits for the process to end by itself, for at most `limit`.
    pub fn wait_for(mut self, limit: Duration) -> Finished {
        let status = within_for(limit, &format!("the end of {}", self.what), self.child.wait());
        let status = status.unwrap_or_else(|error| panic!("{} cannot be waited for: {error}", self.what));
        Finished {
            what: self.what.clone(),
            status,
            elapsed: self.started.elapsed(),
            stdout: self.stdout.wait_for_end(),
            stderr: self.stderr.wait_for_end(),
        }
    }

    /// Kills the process, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Returns true if the process has ended, without waiting.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Sends SIGTERM, as a service manager does to stop a service.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Stops the process in the middle of its work, so that its peers hear nothing more from it.
    #[cfg(unix)]
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets a frozen process go on.
    #[cfg(unix)]
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        let id = id.expect("a process id is a positive i32");
        rustix::process::kill_process(id, signal).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    fn end(&mut self) {
        // An error means that the process has ended already, which is the goal.
        let _ = self.child.start_kill();
        let _ = runtime().block_on(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Captures the output and gives no input, as most children here need.
pub(crate) fn captured(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// End of a child, with all that it wrote.
pub struct Finished {
    what: String,
    status: ExitStatus,
    /// Time from the start of the child to its end.
    pub elapsed: Duration,
    /// Whole standard output.
    pub stdout: String,
    /// Whole standard error.
    pub stderr: String,
}

impl Finished {
    /// Returns the exit status. `None` if a signal ended the child.
    pub fn status(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn assert_status(&self, expected: i32) -> &Self {
        assert_eq!(self.status(), Some(expected), "{self:?}");
        self
    }

    /// Asserts that standard error has a line that starts with `error:`, and contains `part` from there on.
    #[track_caller]
    pub fn assert_error(&self, part: &str) -> &Self {
        self.assert_said("error:", part)
    }

    /// Asserts that standard error has a line that starts with `hint:`, and contains `part` from there on.
    #[track_caller]
    pub fn assert_hint(&self, part: &str) -> &Self {
        self.assert_said("hint:", part)
    }

    /// Asserts that standard output is empty.
    #[track_caller]
    pub fn assert_no_output(&self) -> &Self {
        assert!(self.stdout.is_empty(), "{self:?}");
        self
    }

    /// Asserts that `part` is in standard output or standard error.
    #[track_caller]
    pub fn assert_mentions(&self, part: &str) -> &Self {
        assert!(self.stdout.contains(part) || self.stderr.contains(part), "no {part:?} in {self:?}");
        self
    }

    /// Parses standard output as one JSON object per line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not JSON ({error}): {line:?} in {self:?}"));
            assert!(value.is_object(), "not an object: {line:?} in {self:?}");
            value
        };
        self.stdout.lines().map(parse).collect()
    }

    /// Returns the line of `--json` with the result, for a single device.
    #[track_caller]
    pub fn result(&self) -> serde_json::Value {
        let result = self.json_lines().into_iter().find(|line| line["event"] == "result");
        result.unwrap_or_else(|| panic!("no result in {self:?}"))
    }

    #[track_caller]
    fn assert_said(&self, label: &str, part: &str) -> &Self {
        let said = self.stderr.lines().any(|line| line.starts_with(label));
        let from = self.stderr.find(label).map_or("", |at| &self.stderr[at..]);
        assert!(said && from.contains(part), "no `{label}` with {part:?} in {self:?}");
        self
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nended with {} after {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.what, self.status, self.elapsed, self.stdout, self.stderr
        )
    }
}
