use crate::wire::{Announcement, DevicePath, Digest, ExtendedOffer, Offer, Reason};

/// What a receiver does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReceiverEvent {
    /// It is subscribed and has announced itself: at the start, and after each lost connection.
    Online(Announcement),
    /// It takes this offer of a file.
    Receiving(Offer),
    /// It takes this offer of a set.
    ReceivingSet(ExtendedOffer),
    /// Bytes came in.
    Progress {
        /// How many so far, of all that the offer brings.
        received: u64,
    },
    /// A file is in place, and its status is published.
    Installed {
        /// Its name.
        path: DevicePath,
        /// Its digest.
        digest: Digest,
        /// Its length.
        bytes: u64,
    },
    /// The file was there already.
    Unchanged {
        /// Its name.
        path: DevicePath,
    },
    /// A set is in place, and its status is published. It is on trial from the reboot on.
    SetInstalled {
        /// The digest of its manifest.
        digest: Digest,
        /// How many files are new or replaced.
        files: usize,
        /// How many are deleted.
        deleted: usize,
        /// The length of the new and replaced ones, in bytes.
        bytes: u64,
    },
    /// Every file of the set was there already.
    SetUnchanged {
        /// The digest of its manifest.
        digest: Digest,
    },
    /// A dry run has said what a set would change.
    Planned {
        /// The digest of its manifest.
        digest: Digest,
        /// How many files would be new or replaced.
        files: usize,
        /// How many would be deleted.
        deleted: usize,
        /// The length of the new and replaced ones, in bytes.
        bytes: u64,
    },
    /// The set on trial works, and stays.
    Confirmed {
        /// The digest of its manifest.
        digest: Digest,
    },
    /// A set is taken back: the files before it are in place.
    RolledBack {
        /// The digest of its manifest.
        digest: Digest,
        /// Why, if anybody knows.
        text: String,
    },
    /// An offer was not taken, or not to its end. The old file is untouched.
    Failed {
        /// The offer's file, as far as it could be read. From a peer.
        path: String,
        /// The code.
        reason: Reason,
        /// The words. Partly from a peer.
        text: String,
    },
    /// A board would reboot now. Call [`Receiver::rebooted`](super::Receiver::rebooted) once what stands for it
    /// is done; until then nobody who asks the device to announce itself gets an answer.
    Reboot,
}
