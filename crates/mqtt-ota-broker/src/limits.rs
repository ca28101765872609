//! Limits on everything that a client can make grow, and on every wait for a client.

use std::time::Duration;

/// Default number of simultaneous clients. A home has some hundred devices.
pub(crate) const CONNECTIONS: usize = 1_000;

/// Simultaneous connections from inside this process, in addition to those from the network. A program needs one or
/// two, and one more while it reconnects.
pub(crate) const INSIDE: usize = 64;

/// Bytes that each direction of such a connection buffers, as a socket does.
pub(crate) const INSIDE_BUFFER: usize = 64 * 1024;

/// Default for the longest packet that is read, in bytes. An offer takes less than 1 KiB, and an announcement less
/// than 512 bytes. Messages of other programs on a home's broker rarely exceed 16 KiB.
pub(crate) const PACKET: usize = 64 * 1024;

/// Maximum number of retained messages besides announcements. Messages beyond this limit and [`RETAINED_BYTES`] are
/// delivered to current subscribers but not retained.
pub(crate) const RETAINED: usize = 10_000;
/// Bytes that the messages of [`RETAINED`] may take.
pub(crate) const RETAINED_BYTES: usize = 32 * 1024 * 1024;

/// Maximum number of retained announcements of devices, also in the file if there is one.
pub(crate) const ANNOUNCEMENTS: usize = 65_536;

/// Longest announcement, in bytes: the limit of the protocol.
pub(crate) const ANNOUNCEMENT: usize = 1_024;
/// Longest name of a device, in bytes: the limit of the protocol.
pub(crate) const DEVICE_NAME: usize = 64;

/// Longest line in the file of announcements, in bytes: three for each byte of the name and of the message, a space
/// and the end of the line.
pub(crate) const ARCHIVE_LINE: u64 = 3 * (ANNOUNCEMENT + DEVICE_NAME) as u64 + 2;

/// Longest file of announcements, in bytes. The rest of a longer file is not read.
pub(crate) const ARCHIVE: u64 = ANNOUNCEMENTS as u64 * ARCHIVE_LINE;

/// Delay between a new announcement and the write of the file. Announcements of this time share a write, so that a
/// disk that wears out is written to at most once a second.
pub(crate) const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Delay after a failed write of the file of announcements.
pub(crate) const SAVE_AGAIN: Duration = Duration::from_secs(30);

/// Longest topic or filter, in bytes.
pub(crate) const TOPIC: usize = 1_024;
/// Maximum number of levels in a topic or filter.
pub(crate) const LEVELS: usize = 64;

/// Longest client id, in bytes.
pub(crate) const CLIENT_ID: usize = 256;

/// Bytes that a message takes besides its topic, payload and properties.
pub(crate) const OVERHEAD: usize = 160;

/// Minimum size of a message in a log, in bytes. rumqttd counts the bytes that are written, and takes some 300 bytes
/// more for each message. With this minimum, a log of short messages takes not much more memory than rumqttd counts.
pub(crate) const SHORTEST: usize = 384;

/// Maximum for the configured number of clients. rumqttd allocates room for all of them when it starts.
pub(crate) const MOST_CONNECTIONS: usize = 65_536;

/// Bytes that one level of a filter takes besides its text.
pub(crate) const LEVEL: usize = 256;

/// Maximum number of subscriptions of one client: two for each device of a fleet of 2,000.
pub(crate) const SUBSCRIPTIONS: usize = 4_096;

/// Bytes that the subscriptions of all clients may take, in addition to each client's guaranteed share.
pub(crate) const SUBSCRIPTIONS_BYTES: usize = 32 * 1024 * 1024;

/// Number of subscriptions that each client may always have, within [`SUBSCRIPTIONS_SHARE_BYTES`].
pub(crate) const SUBSCRIPTIONS_SHARE: usize = 16;
/// Bytes that the subscriptions of [`SUBSCRIPTIONS_SHARE`] may take.
pub(crate) const SUBSCRIPTIONS_SHARE_BYTES: usize = 16 * 1024;

/// Bytes of messages that wait for one client or for its acknowledgement: some 900 offers.
pub(crate) const QUEUE: usize = 512 * 1024;

/// Value of [`QUEUE`] for a client from inside this process, which is trusted: the announcements of a large fleet.
pub(crate) const INSIDE_QUEUE: usize = 16 * 1024 * 1024;

/// Bytes of messages that may wait for all clients, in addition to each client's guaranteed share.
pub(crate) const QUEUES: usize = 64 * 1024 * 1024;

/// Bytes of messages that may always wait for each client: some 80 offers.
pub(crate) const QUEUE_SHARE: usize = 32 * 1024;

/// Bytes of one segment of a log. The router keeps the last messages of a session in its log, whether they were read
/// or not, and discards them a segment at a time.
pub(crate) const SEGMENT: usize = 64 * 1024;

/// Segments of a log in addition to those for waiting messages: one being written to, and one being read from.
pub(crate) const SPARE_SEGMENTS: usize = 2;

/// Messages that the router hands to one session before the next session has its turn.
pub(crate) const TURN: u64 = 100;

/// Messages with QoS 1 or 2 that may wait for one client's acknowledgement, and messages with QoS 2 that a client may
/// leave unreleased.
pub(crate) const WINDOW: usize = 100;

/// Bytes that the answers to one client's subscriptions may take while they wait to be sent. The cursors of the
/// replays of retained messages count too.
pub(crate) const ANSWERS: usize = 256 * 1024;

/// Minimum buffer space for a read, in bytes. Most packets fit.
pub(crate) const READ: usize = 512;

/// Retained messages that are examined for one subscriber before the others have their turn.
pub(crate) const SCAN: usize = 1_000;

/// Longest time for which a session outlives its connection: 60 days.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Interval between checks for expired sessions, wills and retained messages.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// Delay between the end of a connection and its removal from the queue of rumqttd's router.
pub(crate) const PASS_CLOSED: Duration = Duration::from_millis(10);

/// Time in which a new connection must identify its client.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for which a client may leave its data unread once the buffer of its socket is full.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes to collect before a write to a client's socket.
pub(crate) const BATCH: usize = 64 * 1024;

/// Pause after a connection could not be accepted. The usual cause is a lack of file descriptors, which retrying at
/// once does not free.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Minimum interval between log lines about connections that are closed because the limit was reached.
pub(crate) const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Time in which the broker must deliver a message to itself over TCP when it starts. About 1 ms is usual.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time in which a client that the broker disconnects may read the reason.
pub(crate) const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);

/// Time in which a refused client may read the answer and close.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
