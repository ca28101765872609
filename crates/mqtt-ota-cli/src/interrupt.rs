//! What ends the command from outside.

use std::future::Future;
use std::io;

use crate::problem::Exit;
use crate::service;

/// Why the command shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A service manager's request to stop; only on Unix.
    Terminate,
}

impl From<Signal> for Exit {
    /// A service manager's request to stop is what a service is meant to follow; Ctrl-C is an interruption.
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Terminate => Self::Done,
            Signal::Interrupt => Self::Interrupted,
        }
    }
}

/// Listens from the moment of its making, so that no signal is lost between two waits.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    /// Only Ctrl-C is waited for; a request to terminate ends the process at once, as it always does.
    ///
    /// # Errors
    /// The system's, where it refuses a handler.
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

    /// For a command that runs until it is told to stop: a request to terminate is waited for as well.
    ///
    /// # Errors
    /// The system's, where it refuses a handler.
    pub(crate) fn service() -> io::Result<Self> {
        #[cfg(unix)]
        {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            Ok(Self { terminate: Some(terminate), ..Self::ctrl_c()? })
        }
        #[cfg(windows)]
        Self::ctrl_c()
    }

    /// Waits for a signal. Cancel safe: a signal that comes between two calls is seen by the next one.
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

    /// Runs `future` until it ends or a signal comes; then it is dropped, and with it its ports.
    ///
    /// # Errors
    /// The signal.
    pub(crate) async fn during<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.wait() => Err(signal),
            value = future => Ok(value),
        }
    }
}
