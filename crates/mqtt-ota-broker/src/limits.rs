//! Everything that a client can make grow, and everything that it can make the broker wait for.

use std::time::Duration;

/// Clients at once where the caller names no number. A connected client takes about 50 KB, so that is 50 MB
/// at most; a home has some hundred devices.
pub(crate) const CONNECTIONS: usize = 1_000;

/// Connections from inside this process at once, besides those. A program needs one or two, and one more while it
/// tries again.
pub(crate) const INSIDE: usize = 64;

/// Bytes that each direction of such a connection holds, as a socket does.
pub(crate) const INSIDE_BUFFER: usize = 64 * 1024;

/// The longest packet that is read, in bytes, where the caller names none. An offer takes less than 1 KiB, an
/// announcement less than 512 bytes; other programs' messages on a home's broker are rarely above 16 KiB.
pub(crate) const PACKET: usize = 64 * 1024;

/// Retained messages, besides announcements. What goes beyond is delivered to those who listen, and not kept.
pub(crate) const RETAINED: usize = 10_000;

/// Announcements of devices that are retained, and kept in the file if there is one.
pub(crate) const ANNOUNCEMENTS: usize = 65_536;

/// The longest announcement and the longest name of a device, in bytes: the limits of the protocol.
pub(crate) const ANNOUNCEMENT: usize = 1_024;
pub(crate) const DEVICE_NAME: usize = 64;

/// The longest line of the file of announcements, in bytes: three for each of the name's and the message's, a
/// space and the end of the line.
pub(crate) const ARCHIVE_LINE: u64 = 3 * (ANNOUNCEMENT + DEVICE_NAME) as u64 + 2;

/// The longest file of announcements, in bytes. What is behind it is not read.
pub(crate) const ARCHIVE: u64 = ANNOUNCEMENTS as u64 * ARCHIVE_LINE;

/// How long an announcement may take to the file. Others come along: a disk that wears out is written to once a
/// second at most.
pub(crate) const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait after the file could not be written.
pub(crate) const SAVE_AGAIN: Duration = Duration::from_secs(30);

/// Subscriptions of one client: two for each device of a fleet of 2,000. The router never forgets a filter.
pub(crate) const SUBSCRIPTIONS: usize = 4_096;

/// Messages with QoS 2 of one client that are received and not yet released by it.
pub(crate) const UNRELEASED: usize = 100;

/// Bytes of one part of a filter's log. The router keeps the last messages of every filter in memory for
/// subscribers that lag or are away: `SEGMENT * SEGMENTS` is 256 KiB, some 1,000 offers.
pub(crate) const SEGMENT: usize = 64 * 1024;
/// Parts of a filter's log.
pub(crate) const SEGMENTS: usize = 4;

/// How long a new connection may take to say who it is.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may leave what it is sent unread, once its socket's buffer is full.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is collected, in bytes, before it is written to a client's socket.
pub(crate) const BATCH: usize = 64 * 1024;

/// How long to leave new connections alone after one could not be accepted: mostly for want of file
/// descriptors, and those do not come back faster by asking.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the broker may take to deliver a message to itself over TCP, when it starts. About 1 ms is usual.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a refused client may take to read the answer and to close.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
