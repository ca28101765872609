use crate::wire::{Announcement, DevicePath, Digest, ExtendedOffer, Offer, Reason};

/// Event of a [`Receiver`](super::Receiver).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReceiverEvent {
    /// The device is subscribed and has announced itself: at the start, after each lost connection and after each
    /// reboot.
    Online(Announcement),
    /// The device takes this offer of a file.
    Receiving(Offer),
    /// The device takes this offer of a set.
    ReceivingSet(ExtendedOffer),
    /// Bytes came in.
    Progress {
        /// Number of bytes so far, of all that the offer brings.
        received: u64,
    },
    /// A file is in place, and its status is published.
    Installed {
        /// Name of the file.
        path: DevicePath,
        /// Digest of the file.
        digest: Digest,
        /// Length of the file, in bytes.
        bytes: u64,
    },
    /// The file was there already.
    Unchanged {
        /// Name of the file.
        path: DevicePath,
    },
    /// A set is in place, and its status is published. The trial begins with the reboot.
    SetInstalled {
        /// Digest of the set's manifest.
        digest: Digest,
        /// Number of files that are new or replaced.
        files: usize,
        /// Number of files that are deleted.
        deleted: usize,
        /// Total length of the new and replaced files, in bytes.
        bytes: u64,
    },
    /// Every file of the set was there already.
    SetUnchanged {
        /// Digest of the set's manifest.
        digest: Digest,
    },
    /// A dry run has reported what a set would change.
    Planned {
        /// Digest of the set's manifest.
        digest: Digest,
        /// Number of files that would be new or replaced.
        files: usize,
        /// Number of files that would be deleted.
        deleted: usize,
        /// Total length of the new and replaced files, in bytes.
        bytes: u64,
    },
    /// The set on trial is confirmed, and stays.
    Confirmed {
        /// Digest of the set's manifest.
        digest: Digest,
    },
    /// A set was taken back, and the files before it are in place.
    RolledBack {
        /// Digest of the set's manifest.
        digest: Digest,
        /// Reason, or empty if none is known.
        text: String,
    },
    /// An offer was refused, or failed before its end. The old file is untouched.
    Failed {
        /// File that the offer names, as far as the offer could be read. From a peer.
        path: String,
        /// Reason code.
        reason: Reason,
        /// Description of the failure. Partly from a peer.
        text: String,
    },
    /// A board would reboot now.
    ///
    /// Call [`Receiver::rebooted`](super::Receiver::rebooted) once the reboot, or whatever stands for it, is done.
    /// Until then the device does not answer requests to announce itself.
    Reboot,
}
