use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why there is no broker, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Another program, mostly another broker, has the port.
    #[error("cannot listen on {address}: the port is taken")]
    PortTaken {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The address is not one of this machine, or its port needs rights that this process has not.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It listens, and a message to itself over TCP does not arrive: mostly because another program answers.
    #[error("the broker listens on {address}, and does not get its own message there")]
    NotReady {
        /// The address that is listened on.
        address: SocketAddr,
        /// What went wrong on the way, where anything did but the time.
        source: io::Error,
    },
    /// The system gives no thread, or no event queue.
    #[error("cannot start the broker's thread")]
    Thread {
        /// What the system says.
        source: io::Error,
    },
    /// The file for announcements cannot be one: it is a folder or a device, or its folder is missing.
    #[error("cannot keep announcements in {}", path.display())]
    Announcements {
        /// The path asked for.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It ended though nobody stopped it.
    #[error("the broker stopped by itself")]
    Died,
}

impl BrokerError {
    /// What a user can do about it.
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
