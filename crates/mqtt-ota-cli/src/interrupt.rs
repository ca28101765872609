//! Signals that end the command from outside.

use std::future::Future;
use std::io;

use crate::problem::Exit;
use crate::service;

/// Signal that ends the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Request of a service manager to stop. Unix only.
    Terminate,
}

impl From<Signal> for Exit {
    /// Returns `Done` for a request to stop, as a service is meant to follow it. Ctrl-C is an interruption.
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Terminate => Self::Done,
            Signal::Interrupt => Self::Interrupted,
        }
    }
}

/// Signal handler. It listens from its creation on, so that no signal is lost between two waits.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    /// Handles Ctrl-C alone. A request to terminate ends the process at once, as usual.
    ///
    /// # Errors
    /// Fails if the system refuses a handler.
    pub(crate) fn ctrl_c() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?,
            #[cfg(unix)]
            terminate: None,
            #[cfg(windows)]
            interrupt: tokio::signal::windows::ctrl_c()?,
        })
    }

    /// Handles Ctrl-C and a request to terminate, for a command that runs until it is told to stop. On Windows, Ctrl-C
    /// alone.
    ///
    /// # Errors
    /// Fails if the system refuses a handler.
    pub(crate) fn service() -> io::Result<Self> {
        #[cfg(unix)]
        {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            Ok(Self { terminate: Some(terminate), ..Self::ctrl_c()? })
        }
        #[cfg(windows)]
        Self::ctrl_c()
    }

    /// Waits for a signal. Cancel safe: a signal that arrives between two calls is seen by the next one.
    pub(crate) async fn wait(&mut self) -> Signal {
        #[cfg(unix)]
        {
            let terminated = async {
                match &mut self.terminate {
                    Some(terminate) => terminate.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.interrupt.recv() => Signal::Interrupt,
                _ = terminated => {
                    service::stopping();
                    Signal::Terminate
                }
            }
        }
        #[cfg(windows)]
        {
            self.interrupt.recv().await;
            Signal::Interrupt
        }
    }

    /// Runs `future` until it ends or a signal arrives. On a signal the future is dropped, which closes its ports.
    ///
    /// # Errors
    /// Returns the signal.
    pub(crate) async fn during<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.wait() => Err(signal),
            value = future => Ok(value),
        }
    }
}
