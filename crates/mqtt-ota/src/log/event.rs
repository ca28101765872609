use crate::LinkError;
use crate::wire::DeviceName;

/// Event of a device, or of the connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// A line that the device has printed or logged. Escape it before it reaches a terminal.
    Line {
        /// Device that published the line.
        device: DeviceName,
        /// Line without its end. Bytes that are not UTF-8 are replaced.
        text: String,
        /// Number of lines that are missing here, if the device reports lost lines with this one.
        lost: Option<u64>,
    },
    /// An exception that the device's application did not catch. Escape it before it reaches a terminal.
    Crash {
        /// Device whose application failed.
        device: DeviceName,
        /// Exception, which may have several lines.
        text: String,
        /// True if the broker has retained the exception. Its time is not known then.
        retained: bool,
    },
    /// The device was asked to publish its log, and the broker has accepted the request.
    Asked {
        /// Device that was asked.
        device: DeviceName,
    },
    /// The device was asked, but is not connected to the broker (MQTT 5 only). It is asked again when it announces
    /// itself.
    Away {
        /// Device that is away.
        device: DeviceName,
    },
    /// The device was not asked, because it has not announced that it can publish its log. Lines that it publishes all
    /// the same are reported.
    NotAsked {
        /// Device that was not asked.
        device: DeviceName,
        /// True if the device has announced itself.
        announced: bool,
    },
    /// The broker does not allow asking the device, and no further request is made.
    Refused {
        /// Device that cannot be asked.
        device: DeviceName,
        /// Error from the broker.
        error: LinkError,
    },
    /// Messages were dropped here, because they came faster than they were read.
    Missed {
        /// Number of dropped messages.
        count: u64,
    },
    /// The connection to the broker is lost. Messages of devices are not received until it is back.
    Lost,
    /// The connection is back, and the devices are asked again.
    Reconnected,
}

/// Last crash of a device that the broker has retained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastCrash {
    /// Device.
    pub device: DeviceName,
    /// Exception, which may have several lines. `None` if the broker retains none. Escape it before it reaches a
    /// terminal.
    pub text: Option<String>,
    /// True if the device has announced itself.
    pub announced: bool,
}
