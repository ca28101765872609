use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::address::Advertised;
use crate::serve::DropCause;
use crate::wire::{Announcement, DeviceName, DevicePath, Digest, Reason, Status};

/// Outcome of an offer. Only a confirmation by the device itself counts as installed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The device confirms that the file is in place and has the offered hash.
    Installed,
    /// The device confirms that it already had this very file, and fetched nothing.
    Unchanged,
    /// The device took the whole file. It does not announce itself, and so will not report an outcome.
    Unconfirmed,
    /// The device took the whole file, and did not report an outcome, although it announced that it reports.
    Silent,
    /// The device reports why it did not install the file. The old file is untouched.
    Failed {
        /// Reason that the device gives.
        reason: Reason,
        /// Text from the device. Escape it before it reaches a terminal.
        text: String,
    },
    /// The device asks for the offer at a later time, for which the sender does not wait.
    Postponed {
        /// Time after which the device wants the offer.
        after: Duration,
        /// Text from the device, which may be empty. Escape it before it reaches a terminal.
        why: String,
    },
    /// The broker reports that nobody is subscribed to the device's topic (MQTT 5 brokers only).
    NotSubscribed {
        /// Topic of the device.
        topic: String,
        /// Time for which the sender waited for the device.
        ///
        /// `None` if it did not wait, because the device was not known to exist (it had not announced itself, and was
        /// not there before) or because waiting was turned off.
        waited: Option<Duration>,
    },
    /// The offer was published, and nobody connected.
    NobodyConnected {
        /// Address in the offer, and the reason for choosing it.
        advertised: Advertised,
        /// True if the device had reported that it takes the offer.
        receiving: bool,
    },
    /// The device had noted the offer, to fetch it at its boot, and did not come for it.
    NotFetchedAtBoot {
        /// Address in the offer, and the reason for choosing it.
        advertised: Advertised,
    },
    /// The file does not fit: the device has announced less free space, and does not have the file already. Nothing was
    /// sent.
    NoRoom {
        /// Length of the file, in bytes. The old file stays beside the new one until that is whole.
        needed: u64,
        /// Free space that the device has announced last, in bytes.
        free: u64,
    },
    /// A client with a different address from the one that the device has announced took the whole file, and the device
    /// reported nothing.
    TakenByAnother {
        /// Address of the client that took the file.
        peer: SocketAddr,
        /// Address that the device has announced.
        device: IpAddr,
    },
    /// A client connected and did not take the whole file.
    Interrupted {
        /// Bytes that the client took.
        sent: u64,
        /// Length of the file, in bytes.
        total: u64,
        /// Reason for which the connection ended.
        cause: DropCause,
    },
    /// The device installed the file, and was not heard of in time after its reboot.
    NotBackOnline {
        /// True if the connection to the broker was lost meanwhile. The device may be back all the same.
        link_lost: bool,
    },
    /// The device is back with the set, but did not confirm in time that it works. A device takes back a set that it
    /// never confirms.
    OnTrial,
    /// The installed file or set did not work, and the device is back at the old state.
    RolledBack {
        /// Text from the device. Escape it before it reaches a terminal.
        text: String,
    },
    /// Dry run: the device has reported what it would do.
    Planned,
    /// The device has taken a set back as requested, and is at the state before it.
    TakenBack,
    /// The device was asked to take a set back, and did not report in time that it has.
    NotTakenBack {
        /// True if the connection to the broker was lost meanwhile. The device may have taken the set back all the
        /// same.
        link_lost: bool,
    },
    /// The device has no set that could be taken back.
    NoSet,
    /// The device has not announced that it understands sets. Nothing was offered to it.
    NoSets {
        /// True if the device has announced itself at all.
        announced: bool,
    },
}

impl Outcome {
    /// Returns the outcome of a status in which a device reports a failure.
    pub(crate) fn of_failure(status: &Status) -> Self {
        if let Some((after, why)) = status.postponed() {
            return Self::Postponed { after, why: why.to_owned() };
        }
        let (reason, text) = status.reason();
        Self::Failed { reason, text: text.to_owned() }
    }

    /// Returns true if the request is done, as far as this device can tell.
    ///
    /// True for installed, unchanged, planned, taken back, and delivered to a device that does not report.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Installed | Self::Unchanged | Self::Unconfirmed | Self::Planned | Self::TakenBack
        )
    }

    /// Returns true if the device itself has confirmed that it has the file or the set.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Installed | Self::Unchanged)
    }

    /// Returns true if the same offer may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { reason, .. } => reason.may_pass(),
            Self::Interrupted { .. } | Self::Silent | Self::TakenByAnother { .. } => true,
            _ => false,
        }
    }

    /// Returns what to try next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotSubscribed { waited: None, .. } => {
                "is the device awake and on this broker, and is its name spelt exactly so, capitals included?".into()
            }
            Self::NotSubscribed { waited: Some(_), .. } => {
                "the device has been on this broker: is it switched on and in reach? One that sleeps is waited for with a longer --connect-timeout".into()
            }
            Self::Postponed { .. } => {
                "offer it again then, or wait for it with a longer --connect-timeout; `mqtt-ota keep` offers it again by itself".into()
            }
            Self::NoRoom { .. } => {
                "delete something on the device, and let it announce itself again (a reboot does): the old file stays until the new one is whole".into()
            }
            Self::TakenByAnother { .. } => {
                "something else connects to the sender's port, a port scan or a monitor: keep it away, or put the client on the device that takes extended offers (mqtt_ota_boot), which no stranger can take. If the device is behind a router that changes its address, ask it what it runs".into()
            }
            Self::NobodyConnected { advertised, receiving } => format!(
                "the offer named {advertised}, {}; {}if the device cannot reach that, advertise another address and open the firewall for it (--advertise, --listen)",
                advertised.why,
                if *receiving {
                    ""
                } else {
                    "the device may be asleep or busy, or the broker's access list may not let the device's user read DEVICE/OTA; "
                },
            ),
            Self::NotFetchedAtBoot { advertised } => format!(
                "look at the device's console: it may not have come up, or not have found its network (mqtt_ota_boot.boot(connect=…) brings that up), or it cannot reach {advertised}, {}",
                advertised.why
            ),
            Self::Failed { reason: Reason::Connect, .. } => {
                "the device cannot reach the address in the offer: advertise another one, or open the firewall (--advertise, --listen)".into()
            }
            Self::Failed { reason: Reason::BadName, text } if is_in_the_way(text) => {
                "a file on the device is in the way of a folder, or a folder of a file: with --delete, `mqtt-ota sync` removes what earlier syncs have brought; a device's client of version 0.1 needs a sync without either first".into()
            }
            Self::Failed { reason: Reason::Write, text } if is_not_a_file(text) => {
                "a folder on the device has this name, or a file has the name of a folder: give it another one (--as on the command line; `--as lib/` puts it into lib)".into()
            }
            Self::Failed { reason: Reason::BadName, .. } => {
                "give it another name on the device (--as on the command line)".into()
            }
            Self::Failed { reason: Reason::NoSpace, text } if is_over_limit(text) => {
                "that is the device's own limit: raise it there (`limit` of the MicroPython client)".into()
            }
            Self::Failed { reason: Reason::NoSpace, .. } => "delete something on the device first".into(),
            Self::Failed { reason: Reason::Write, text } if is_read_only(text) => {
                "nothing can be written on the device: mount its file system to be written to (it is read-only, or another user's), and look why it was not".into()
            }
            // A device that was sent everything may have installed it.
            Self::Interrupted { sent, total, .. } if sent >= total => return Self::Silent.hint(),
            Self::Failed { reason: Reason::HashMismatch, .. } | Self::Interrupted { .. } => {
                "the device keeps its old file; a weak link or a tired flash does this, so try again".into()
            }
            Self::Failed { reason: Reason::Busy, .. } => {
                "the set before is on trial on the device: once its application has confirmed it, or it was taken back, send again".into()
            }
            Self::Failed { reason: Reason::Gone, .. } => {
                "the device keeps only what the last set replaced, until the next one comes: sync the folder as it was".into()
            }
            Self::Failed { reason: Reason::NoMemory, .. } => {
                "the device's application has taken its memory: the client can fetch this at the device's boot, before the application is imported (mqtt_ota_boot.boot(connect=…) in its boot.py)".into()
            }
            Self::NotTakenBack { link_lost: false } => "it may be asleep or busy, or at its reboot: `mqtt-ota devices` shows what it has".into(),
            Self::NotTakenBack { link_lost: true } => "the connection to the broker was lost meanwhile: `mqtt-ota devices` shows what the device has".into(),
            Self::NoSet => "`mqtt-ota devices` shows which set a device has; one file that was sent by itself ends it".into(),
            Self::NoSets { announced: true } => {
                "send single files with `mqtt-ota send`, or put the client that knows sets on the device: mqtt_ota_boot in its boot.py".into()
            }
            Self::NoSets { announced: false } => {
                "is its name spelt exactly so? `mqtt-ota devices` lists who has announced itself; others take single files only, with `mqtt-ota send`. If it has, the broker's access list may keep DEVICE/OTA/device from this user".into()
            }
            Self::RolledBack { text } if Announcement::is_no_network(text) => {
                "the device had no network while it tried the set, so the set need not be at fault: see to its Wi-Fi and to the broker, and send it again".into()
            }
            Self::RolledBack { .. } => "the device's own words and its console say why; mend it, and send it again".into(),
            Self::Failed { reason: Reason::Unauthorised, .. } => "the device accepts signed offers only".into(),
            Self::Silent => "ask the device what it runs, or send again: a file that is there already is not sent twice. If it says so every time, the broker's access list may not let the device's user write DEVICE/OTA/status, or this user read it".into(),
            Self::Unconfirmed => "a client that announces itself confirms what it installs (micropython-client). If the device has one, the broker's access list may keep DEVICE/OTA/device and DEVICE/OTA/status from this user".into(),
            Self::NotBackOnline { link_lost: false } => "look at the device's console: the file is in place, and the device has not announced itself since".into(),
            Self::NotBackOnline { link_lost: true } => "the file is in place; ask the device, or look at its console, whether it runs".into(),
            Self::OnTrial => "its application takes longer to confirm the set: --boot-timeout TIME waits for that. `devices` shows what has become of it".into(),
            _ => return None,
        })
    }
}

/// Returns true if a device's text for `no-space` concerns a limit that was set for it rather than its disk.
fn is_over_limit(text: &str) -> bool {
    ["limit", "over ", "allowed"].iter().any(|word| text.contains(word))
}

/// Returns true if a device's text for `write` says that it has no permission.
fn is_read_only(text: &str) -> bool {
    ["read-only", "Read-only", "EROFS", "Errno 30]", "EACCES", "EPERM", "denied"]
        .iter()
        .any(|word| text.contains(word))
}

/// Returns true if a device's text for `write` concerns a folder in a file's place, or the reverse.
fn is_not_a_file(text: &str) -> bool {
    ["EISDIR", "ENOTDIR", "Errno 21]", "Errno 20]", "Is a directory", "Not a directory"]
        .iter()
        .any(|words| text.contains(words))
}

/// Returns true if a device's text concerns a folder in a file's place, or the reverse.
fn is_in_the_way(text: &str) -> bool {
    ["is a folder", "is not a folder", "is no file", "folder is a file"]
        .iter()
        .any(|words| text.ends_with(words))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => f.write_str("installed"),
            Self::Unchanged => f.write_str("unchanged: the device already had this file"),
            Self::Unconfirmed => f.write_str("delivered, unconfirmed: the device has announced nothing, or this user may not read it"),
            Self::Silent => f.write_str("delivered, but the device did not say what became of it"),
            Self::Failed { reason, text } if text.is_empty() => write!(f, "the device failed: {reason}"),
            Self::Failed { reason, text } => write!(f, "the device failed: {reason} ({text})"),
            Self::Postponed { after, why } => {
                write!(f, "postponed: the device asks to be offered it again in {after:?}")?;
                if why.is_empty() { Ok(()) } else { write!(f, " ({why})") }
            }
            Self::NotSubscribed { topic, waited: None } => write!(f, "no device is subscribed to {topic}"),
            Self::NotSubscribed { topic, waited: Some(waited) } => {
                write!(f, "no device is subscribed to {topic}, and none was within {waited:?}")
            }
            Self::NoRoom { needed, free } => {
                write!(f, "the file does not fit: {needed} bytes needed, {free} bytes free on the device")
            }
            Self::TakenByAnother { peer, device } => write!(
                f,
                "{peer} took the whole file, and the device, which announced the address {device}, did not say that it has it"
            ),
            Self::NotFetchedAtBoot { advertised } => write!(
                f,
                "the device rebooted to fetch it, and did not connect to {advertised}"
            ),
            Self::NobodyConnected { advertised, .. } => write!(f, "nobody connected to {advertised}"),
            Self::Interrupted { sent, total, cause } => {
                write!(f, "the transfer ended after {sent} of {total} bytes: {cause}")
            }
            Self::NotBackOnline { link_lost: false } => {
                f.write_str("installed, but the device did not come back online")
            }
            Self::NotBackOnline { link_lost: true } => f.write_str(
                "installed; whether the device is back is not known, as the connection to the broker was lost meanwhile",
            ),
            Self::OnTrial => {
                f.write_str("installed and back online, but on trial: the device has not confirmed the set yet")
            }
            Self::RolledBack { text } if text.is_empty() => {
                f.write_str("rolled back: the device is at its old state")
            }
            Self::Planned => f.write_str("planned: nothing was changed"),
            Self::TakenBack => f.write_str("taken back: the device is at the state before its last set"),
            Self::NotTakenBack { .. } => f.write_str("the device did not say in time that it has taken its set back"),
            Self::NoSet => f.write_str("there is no set on the device"),
            Self::NoSets { announced: true } => f.write_str("this device takes single files only"),
            Self::NoSets { announced: false } => f.write_str("this device has not announced itself, and so not that it takes sets"),
            Self::RolledBack { text } => write!(f, "rolled back: the device is at its old state ({text})"),
        }
    }
}

/// Report on a delivery: the offer, and its outcome.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Outcome of the offer.
    pub outcome: Outcome,
    /// Device.
    pub device: DeviceName,
    /// File name on the device, or `set` for a set.
    pub path: DevicePath,
    /// Digest in the offer: that of the file, or of the set's manifest. `None` if there was no set to take back.
    pub digest: Option<Digest>,
    /// Length of the file, or of all files of the set, in bytes. 0 for a set that was to be taken back.
    pub bytes: u64,
    /// Bytes that clients took: fewer than the file has if the device had some already, more if some were lost.
    pub sent: u64,
    /// Number of times that it was offered.
    pub attempts: u32,
    /// Address in the last offer, and the reason for choosing it. `None` if no address was needed.
    pub advertised: Option<Advertised>,
    /// Address of the client that took the whole file, if one did.
    pub peer: Option<SocketAddr>,
    /// Time from the call to the outcome.
    pub elapsed: Duration,
    /// True if the device fetched the offer at its boot, and so has rebooted already.
    pub at_boot: bool,
    /// Device after its reboot, if the sender waited for that.
    pub back_online: Option<BackOnline>,
}

/// A device that has announced itself again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackOnline {
    /// New announcement of the device.
    pub announcement: Announcement,
    /// Time since the installation.
    pub after: Duration,
}
