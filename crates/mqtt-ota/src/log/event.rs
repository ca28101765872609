use crate::LinkError;
use crate::wire::DeviceName;

/// Something that came from a device, or that became of the connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// A line that the device has printed or logged. Make it safe before it reaches a terminal.
    Line {
        /// The device.
        device: DeviceName,
        /// The line, without its end. What is not UTF-8 in it is replaced.
        text: String,
        /// How many lines are missing here, where the line is the device's own word for that.
        lost: Option<u64>,
    },
    /// An exception that the device's application did not catch. Make it safe before it reaches a terminal.
    Crash {
        /// The device.
        device: DeviceName,
        /// The exception, which may have several lines.
        text: String,
        /// The broker has kept it: nobody knows since when.
        retained: bool,
    },
    /// The device was asked to publish its log, and the broker has the request.
    Asked {
        /// The device.
        device: DeviceName,
    },
    /// The device was asked, and is not on the broker (MQTT 5 only). It is asked again when it announces itself.
    Away {
        /// The device.
        device: DeviceName,
    },
    /// The device was not asked, as it has not announced that it can publish its log. What it publishes all the same is
    /// heard.
    NotAsked {
        /// The device.
        device: DeviceName,
        /// Whether it has announced itself.
        announced: bool,
    },
    /// The broker does not allow to ask the device, and is not tried again.
    Refused {
        /// The device.
        device: DeviceName,
        /// What the broker says.
        error: LinkError,
    },
    /// Messages were dropped here, as they came faster than they were read.
    Missed {
        /// How many.
        count: u64,
    },
    /// The connection to the broker is lost: what devices say now is not heard.
    Lost,
    /// The connection is back, and the devices are asked again.
    Reconnected,
}

/// The last crash of a device, as far as the broker has kept it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastCrash {
    /// The device.
    pub device: DeviceName,
    /// The exception, which may have several lines. Make it safe before it reaches a terminal.
    pub text: Option<String>,
    /// Whether the device has announced itself.
    pub announced: bool,
}
