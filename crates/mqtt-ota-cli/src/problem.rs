//! Errors of the command, with their exit status.

use std::process::ExitCode;
use std::{fmt, io};

use mqtt_ota::{ConnectError, LinkError, PayloadError, SendError, SetError};

use crate::similar;

/// Exit statuses of the command. `--help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work is done, and confirmed where the device can confirm it. Status 0.
    Done,
    /// The work failed, for a reason that is printed. Status 1.
    Failed,
    /// The command line or the settings are wrong, and nothing was done. Status 2.
    Usage,
    /// Ctrl-C interrupted the command. Status 130.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Usage => Self::from(2),
            // A shell reports 128 plus the number of the signal, which is 2 for SIGINT.
            Exit::Interrupted => Self::from(130),
        }
    }
}

/// Error on its way to the user, with the chain of causes, a hint and the exit status.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// Creates an error of the command line or the settings.
    pub(crate) fn usage(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Usage, error: anyhow::Error::msg(message), hint: None }
    }

    /// Creates an error of work that failed.
    pub(crate) fn failed(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Failed, error: anyhow::Error::msg(message), hint: None }
    }

    /// Puts `source` below this error as its cause. This error says what was attempted.
    pub(crate) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let message = self.error.to_string();
        Self { error: anyhow::Error::new(source).context(message), ..self }
    }

    /// Sets the hint: what the user can do about the error.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Sets the hint if there is one, and otherwise keeps the present one.
    pub(crate) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint: hint.or(self.hint), ..self }
    }

    /// Creates the error for signals that cannot be listened for.
    pub(crate) fn no_signals(error: io::Error) -> Self {
        Self::failed("cannot listen for Ctrl-C").caused_by(error)
    }

    /// Returns true if the error is that standard output could not be written.
    pub(crate) fn is_of_output(&self) -> bool {
        self.error.is::<OutputError>()
    }

    /// Returns true if the reader of standard output has closed it, as `head` does. This is no reason to complain.
    pub(crate) fn is_closed_output(&self) -> bool {
        self.error
            .downcast_ref::<OutputError>()
            .is_some_and(|error| error.0.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Error of standard output.
///
/// The type is separate because a broken pipe to the broker is a failure, and a broken pipe of the output is not.
#[derive(Debug)]
pub(crate) struct OutputError(pub(crate) io::Error);

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write to standard output")
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<OutputError> for Problem {
    fn from(error: OutputError) -> Self {
        Self { exit: Exit::Failed, error: error.into(), hint: None }
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let hint = error.hint();
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        let hint = error.hint();
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}

impl From<SetError> for Problem {
    fn from(error: SetError) -> Self {
        let hint = error.hint();
        Self { exit: Exit::Failed, error: error.into(), hint }
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        let hint = match &error {
            PayloadError::Open { path, source }
                if source.kind() == io::ErrorKind::NotFound && path.to_string_lossy().starts_with(':') =>
            {
                "FILE is a file on this computer; a path on the device goes into --as, without mpremote's colon"
            }
            PayloadError::Open { path, source }
                if source.kind() == io::ErrorKind::NotFound && path.is_relative() =>
            {
                "is the name right? It is looked for in the folder that you are in"
            }
            PayloadError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "is the name right?"
            }
            PayloadError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "this user may not read it: change its permissions, or be its owner"
            }
            PayloadError::NotAFile { folder: true, .. } => {
                "name the files in it; `mqtt-ota sync` sends a folder with all that is in it"
            }
            PayloadError::NotAFile { .. } => {
                "only files can be sent, as they are read more than once: copy it to one"
            }
            _ => "see that the file is whole and nobody writes to it, and send it again",
        };
        let question = match &error {
            PayloadError::Open { path, source } if source.kind() == io::ErrorKind::NotFound => {
                similar::file(path)
            }
            _ => None,
        };
        Self { exit: Exit::Failed, hint: Some(hint.to_owned()), error: error.into() }.maybe_hint(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_reader_is_no_failure_but_a_lost_broker_is() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Problem::from(OutputError(pipe())).is_closed_output());
        assert!(!Problem::failed("the broker is gone").caused_by(pipe()).is_closed_output());
        assert!(!Problem::from(OutputError(io::ErrorKind::StorageFull.into())).is_closed_output());
    }

    #[test]
    fn the_cause_comes_below_what_was_attempted() {
        let problem = Problem::failed("cannot read x").caused_by(io::Error::other("no"));
        let chain: Vec<_> = problem.error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["cannot read x", "no"]);
    }
}
