//! Everything that a client can make grow, and everything that it can make the broker wait for.

use std::time::Duration;

/// Clients at once where the caller names no number; a home has some hundred devices.
pub(crate) const CONNECTIONS: usize = 1_000;

/// Connections from inside this process at once, besides those. A program needs one or two, and one more while it
/// tries again.
pub(crate) const INSIDE: usize = 64;

/// Bytes that each direction of such a connection holds, as a socket does.
pub(crate) const INSIDE_BUFFER: usize = 64 * 1024;

/// The longest packet that is read, in bytes, where the caller names none. An offer takes less than 1 KiB, an
/// announcement less than 512 bytes; other programs' messages on a home's broker are rarely above 16 KiB.
pub(crate) const PACKET: usize = 64 * 1024;

/// Retained messages, besides announcements, and the bytes that they take. What goes beyond is delivered to those who
/// listen, and not kept.
pub(crate) const RETAINED: usize = 10_000;
/// See [`RETAINED`].
pub(crate) const RETAINED_BYTES: usize = 32 * 1024 * 1024;

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

/// The longest topic and filter, in bytes, and the most levels that they have.
pub(crate) const TOPIC: usize = 1_024;
/// See [`TOPIC`].
pub(crate) const LEVELS: usize = 64;

/// The longest client id, in bytes.
pub(crate) const CLIENT_ID: usize = 256;

/// Bytes that a message takes besides its topic, its payload and its properties.
pub(crate) const OVERHEAD: usize = 160;

/// Bytes that a message is written with at least. rumqttd counts what is written, and takes some 300 bytes more for each
/// message: so a log of short ones is not much longer than it says.
pub(crate) const SHORTEST: usize = 384;

/// The most clients at once that can be asked for: rumqttd makes room for all of them when it starts.
pub(crate) const MOST_CONNECTIONS: usize = 65_536;

/// Bytes that one level of a filter takes, besides its text.
pub(crate) const LEVEL: usize = 256;

/// Subscriptions of one client: two for each device of a fleet of 2,000.
pub(crate) const SUBSCRIPTIONS: usize = 4_096;

/// Bytes that the subscriptions of all clients take, besides what each client may have in any case.
pub(crate) const SUBSCRIPTIONS_BYTES: usize = 32 * 1024 * 1024;

/// What each client may have in any case: subscriptions, and the bytes that they take.
pub(crate) const SUBSCRIPTIONS_SHARE: usize = 16;
/// See [`SUBSCRIPTIONS_SHARE`].
pub(crate) const SUBSCRIPTIONS_SHARE_BYTES: usize = 16 * 1024;

/// Bytes of messages that wait for one client, or for its acknowledgement: some 900 offers.
pub(crate) const QUEUE: usize = 512 * 1024;

/// The same for a client from inside this process, where nobody strange is: the announcements of a large fleet.
pub(crate) const INSIDE_QUEUE: usize = 16 * 1024 * 1024;

/// Bytes of messages that wait for all clients, besides what each client may have in any case.
pub(crate) const QUEUES: usize = 64 * 1024 * 1024;

/// Bytes of messages that may wait for each client in any case: some 80 offers.
pub(crate) const QUEUE_SHARE: usize = 32 * 1024;

/// Bytes of one part of a log. The router keeps the last messages of a session in its log, read or not, and forgets them a
/// part at a time.
pub(crate) const SEGMENT: usize = 64 * 1024;

/// Parts of a log besides those that what may wait takes: the one that is written to, and the one that is read from.
pub(crate) const SPARE_SEGMENTS: usize = 2;

/// Messages that the router hands out to one session before the others have their turn.
pub(crate) const TURN: u64 = 100;

/// Messages with QoS 1 or 2 that wait for one client's acknowledgement, and messages with QoS 2 that a client has yet to
/// release.
pub(crate) const WINDOW: usize = 100;

/// Bytes of what waits to be sent in the order of one client's subscriptions: the answers, and where it is in what is
/// retained for each.
pub(crate) const ANSWERS: usize = 256 * 1024;

/// Bytes that there is room for whenever something is read: most packets.
pub(crate) const READ: usize = 512;

/// Retained messages that one subscriber has looked through before the others have their turn.
pub(crate) const SCAN: usize = 1_000;

/// How long a session may outlive its connection: two months.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// How often the broker looks for what has expired.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// Delay between the end of a connection and its removal from the queue of rumqttd's router.
pub(crate) const PASS_CLOSED: Duration = Duration::from_millis(10);

/// How long a new connection may take to say who it is.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may leave what it is sent unread, once its socket's buffer is full.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is collected, in bytes, before it is written to a client's socket.
pub(crate) const BATCH: usize = 64 * 1024;

/// How long to leave new connections alone after one could not be accepted: mostly for want of file
/// descriptors, and those do not come back faster by asking.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that connections are closed for want of a place.
pub(crate) const SAY_AGAIN: Duration = Duration::from_secs(10);

/// How long the broker may take to deliver a message to itself over TCP, when it starts. About 1 ms is usual.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that is sent away may take to read why.
pub(crate) const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long a refused client may take to read the answer and to close.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
