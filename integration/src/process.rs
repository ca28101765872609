use std::fmt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Child;

use crate::runtime::{GUARD, runtime, within_for};
use crate::transcript::Transcript;

/// A child process whose output is read as it comes. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdout: Transcript,
    stderr: Transcript,
    started: Instant,
}

impl Process {
    /// Starts `command`, called `what` in messages. Streams that the command does not name are
    /// captured; standard input is empty.
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

    /// Its standard output.
    pub fn stdout(&self) -> &Transcript {
        &self.stdout
    }

    /// Its standard error.
    pub fn stderr(&self) -> &Transcript {
        &self.stderr
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended", self.what))
    }

    /// Waits for it to end by itself.
    pub fn wait(self) -> Finished {
        self.wait_for(GUARD)
    }

    /// Waits for it to end by itself, for so long.
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

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Whether it has ended, without waiting.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// What Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// What a service manager does that wants it to stop.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Stops it in the middle of what it does, so that its peers hear nothing more from it.
    #[cfg(unix)]
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
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
        // An error says that it has ended already, which is what is wanted.
        let _ = self.child.start_kill();
        let _ = runtime().block_on(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Captures output, and gives no input: what most children here want.
pub(crate) fn captured(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// How a child ended, and all that it wrote.
pub struct Finished {
    what: String,
    status: ExitStatus,
    /// From its start to its end.
    pub elapsed: Duration,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit status, unless a signal ended it.
    pub fn status(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn assert_status(&self, expected: i32) -> &Self {
        assert_eq!(self.status(), Some(expected), "{self:?}");
        self
    }

    /// Asserts that standard error has a line that starts with `error:`, and names `part` from there on.
    #[track_caller]
    pub fn assert_error(&self, part: &str) -> &Self {
        self.assert_said("error:", part)
    }

    /// Asserts that standard error has a line that starts with `hint:`, and names `part` from there on.
    #[track_caller]
    pub fn assert_hint(&self, part: &str) -> &Self {
        self.assert_said("hint:", part)
    }

    /// Asserts that standard output holds nothing.
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

    /// Standard output as one JSON object a line.
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

    /// The line of `--json` that tells how it ended, for the one device that there was.
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
