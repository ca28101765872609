use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::address::Advertised;
use crate::serve::DropCause;
use crate::wire::{Announcement, DeviceName, DevicePath, Digest, Reason, Status};

/// What became of an offer. Only what the device itself has said counts as installed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The device says that the file is in place and has the offered hash.
    Installed,
    /// The device says that it had this very file already; it fetched nothing.
    Unchanged,
    /// The device took the whole file. It does not announce itself, so it will not say what became of it.
    Unconfirmed,
    /// The device took the whole file, and did not say what became of it although it announced that it
    /// reports.
    Silent,
    /// The device says why it did not install the file. The old file is untouched.
    Failed {
        /// The device's reason.
        reason: Reason,
        /// The device's own words. Make them safe before they reach a terminal.
        text: String,
    },
    /// The device asks to be offered this again later, which is later than anybody waits for it.
    Postponed {
        /// After which time.
        after: Duration,
        /// The device's own words; may be empty. Make them safe before they reach a terminal.
        why: String,
    },
    /// The broker says that nobody is subscribed to the device's topic (MQTT 5 brokers only).
    NotSubscribed {
        /// The topic.
        topic: String,
        /// How long a device was waited for that exists: it had announced itself, or was there before. `None` where
        /// nothing showed that, and so nobody waited.
        waited: Option<Duration>,
    },
    /// The offer was published, and nobody connected.
    NobodyConnected {
        /// The address in the offer, and why it was chosen.
        advertised: Advertised,
        /// Whether the device had said that it takes the offer.
        receiving: bool,
    },
    /// The device had noted the offer, to fetch it at its boot, and did not come for it.
    NotFetchedAtBoot {
        /// The address in the offer, and why it was chosen.
        advertised: Advertised,
    },
    /// The file does not fit: the device has announced less free space, and does not have the file already. Nothing was
    /// sent.
    NoRoom {
        /// The file's length in bytes. The old file stays beside it until it is whole.
        needed: u64,
        /// Free space, in bytes, that the device has announced last.
        free: u64,
    },
    /// A client took the whole file that has another address than the device has announced, and the device said nothing
    /// of it.
    TakenByAnother {
        /// Who took it.
        peer: SocketAddr,
        /// The address that the device has announced.
        device: IpAddr,
    },
    /// A client connected and did not take the whole file.
    Interrupted {
        /// Bytes that it took.
        sent: u64,
        /// The file's length in bytes.
        total: u64,
        /// How it ended.
        cause: DropCause,
    },
    /// The device installed the file, and was not heard to come back in time after its reboot.
    NotBackOnline {
        /// Whether the connection to the broker was lost meanwhile: then the device may be back all the same.
        link_lost: bool,
    },
    /// The device is back with the set, and had not confirmed in time that it works. It takes a set back that it never
    /// confirms.
    OnTrial,
    /// The device installed the file, or the set, which did not work, and is back at the old state.
    RolledBack {
        /// The device's own words. Make them safe before they reach a terminal.
        text: String,
    },
    /// A dry run: the device has said what it would do.
    Planned,
    /// A set was taken back, as it was asked to be: the device is at the state before it.
    TakenBack,
    /// A set was to be taken back, and the device was not heard to have done so.
    NotTakenBack {
        /// Whether the connection to the broker was lost meanwhile: then the device may have done it all the same.
        link_lost: bool,
    },
    /// There is no set on the device that could be taken back.
    NoSet,
    /// The device has not announced that it understands sets; nothing was offered to it.
    NoSets {
        /// Whether it has announced itself at all.
        announced: bool,
    },
}

impl Outcome {
    /// What it comes to that a device says it has failed.
    pub(crate) fn of_failure(status: &Status) -> Self {
        if let Some((after, why)) = status.postponed() {
            return Self::Postponed { after, why: why.to_owned() };
        }
        let (reason, text) = status.reason();
        Self::Failed { reason, text: text.to_owned() }
    }

    /// Whether what was asked is done, as far as this device can tell: installed, unchanged, planned, taken
    /// back, or delivered to a device that does not report.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Installed | Self::Unchanged | Self::Unconfirmed | Self::Planned | Self::TakenBack
        )
    }

    /// Whether the device itself has said that it has the file, or the set.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Installed | Self::Unchanged)
    }

    /// Whether the same offer may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { reason, .. } => reason.may_pass(),
            Self::Interrupted { .. } | Self::Silent | Self::TakenByAnother { .. } => true,
            _ => false,
        }
    }

    /// What to try next, as a sentence.
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
            // Whoever was sent everything may have installed it.
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

/// Whether the device's words on `no-space` are about what it was told to take, and not about its disk.
fn is_over_limit(text: &str) -> bool {
    ["limit", "over ", "allowed"].iter().any(|word| text.contains(word))
}

/// Whether the device's words on `write` say that it may not.
fn is_read_only(text: &str) -> bool {
    ["read-only", "Read-only", "EROFS", "Errno 30]", "EACCES", "EPERM", "denied"]
        .iter()
        .any(|word| text.contains(word))
}

/// Whether the device's words on `write` are about a folder where a file is wanted, or the reverse.
fn is_not_a_file(text: &str) -> bool {
    ["EISDIR", "ENOTDIR", "Errno 21]", "Errno 20]", "Is a directory", "Not a directory"]
        .iter()
        .any(|words| text.contains(words))
}

/// Whether a device's words are about a folder in a file's place, or the reverse.
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

/// What was sent where, and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What became of the offer.
    pub outcome: Outcome,
    /// The device.
    pub device: DeviceName,
    /// The file's name on the device; `set` for a set.
    pub path: DevicePath,
    /// The digest in the offer: the file's, or that of the set's manifest. `None` where there was no set to take back.
    pub digest: Option<Digest>,
    /// The length in bytes of the file, or of all files of the set; 0 of a set that was to be taken back.
    pub bytes: u64,
    /// Bytes that clients took: fewer than the file's where the device had some already, more where some were lost.
    pub sent: u64,
    /// How often it was offered.
    pub attempts: u32,
    /// The address in the last offer, and why it was chosen; None where none was needed.
    pub advertised: Option<Advertised>,
    /// Who took the whole file, if anyone did.
    pub peer: Option<SocketAddr>,
    /// From the call to the outcome.
    pub elapsed: Duration,
    /// Whether the device fetched it at its boot, and so has rebooted already.
    pub at_boot: bool,
    /// The device after its reboot, where that was waited for.
    pub back_online: Option<BackOnline>,
}

/// A device that announced itself again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackOnline {
    /// What it says of itself now.
    pub announcement: Announcement,
    /// How long after the installation.
    pub after: Duration,
}
