use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Error that kept a broker from starting, or ended it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The port is taken, usually by another broker.
    #[error("cannot listen on {address}: the port is taken")]
    PortTaken {
        /// Address that was requested.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The address does not belong to this machine, or its port needs rights that this process lacks.
    #[error("cannot listen on {address}")]
    Bind {
        /// Address that was requested.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The broker listens, but a message to itself over TCP did not arrive. Usually another program answers there.
    #[error("the broker listens on {address}, and does not get its own message there")]
    NotReady {
        /// Address that the broker listens on.
        address: SocketAddr,
        /// Error on the way, or [`io::ErrorKind::TimedOut`] if the message did not arrive in time.
        source: io::Error,
    },
    /// The operating system provides no thread or no event queue.
    #[error("cannot start the broker's thread")]
    Thread {
        /// Error of the operating system.
        source: io::Error,
    },
    /// The path for announcements is not usable as a file: a folder, a device, or a path in a missing folder.
    #[error("cannot keep announcements in {}", path.display())]
    Announcements {
        /// Path that was requested.
        path: PathBuf,
        /// Reason why the path is not usable.
        source: io::Error,
    },
    /// The broker ended without being stopped.
    #[error("the broker stopped by itself")]
    Died,
}

impl BrokerError {
    /// Returns advice for a user who meets this error.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::PortTaken { .. } | Self::NotReady { .. } => {
                "another broker seems to run there: use that one, or choose another port (0 takes a free one)"
            }
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need extra rights: choose a higher one"
            }
            Self::Bind { .. } => "choose an address of this machine; 0.0.0.0 is all of them",
            Self::Thread { .. } => "the system is short of memory, threads or file descriptors",
            Self::Announcements { .. } => "give a file, new or of an earlier run, in a folder that exists",
            Self::Died => "this is a defect: start the broker again, and report what was sent to it",
        }
    }
}
