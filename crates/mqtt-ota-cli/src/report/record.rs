//! JSON of a delivery. `mqtt-ota send --help` documents it.

use std::fmt;
use std::time::Duration;

use mqtt_ota::wire::{Announcement, DevicePath};
use mqtt_ota::{Event, Outcome, Plan, Report, SendError, SyncReport};
use serde::Serialize;

use crate::problem::Problem;

/// Line of JSON: the step of a file on a device.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) device: &'a str,
    pub(crate) path: &'a str,
    #[serde(flatten)]
    pub(crate) step: Step,
}

/// Step of a delivery.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Step {
    Announced(Announced),
    Noticed {
        file: String,
        message: String,
    },
    Listening {
        local: String,
        advertised: String,
        why: String,
    },
    Offered {
        attempt: u32,
        offer: String,
    },
    Receiving,
    AtBoot,
    Connected {
        peer: String,
    },
    Asked {
        peer: String,
        path: String,
        files: usize,
        offset: u64,
    },
    Progress {
        peer: String,
        sent: u64,
        total: u64,
    },
    Dropped {
        peer: String,
        sent: u64,
        cause: String,
    },
    TurnedAway {
        count: u64,
        last: String,
        cause: String,
    },
    WaitingForDevice {
        limit: f64,
    },
    Delivered {
        peer: String,
    },
    Retrying {
        attempt: u32,
        of: u32,
        after: f64,
        because: String,
    },
    Postponed {
        after: f64,
        why: String,
    },
    TooLittleMemory {
        text: String,
    },
    /// The device imports another file instead of this one.
    Hidden {
        by: String,
    },
    /// The device's application has died of this exception.
    Crashed {
        text: String,
    },
    Installed,
    WaitingForBoot,
    Result(Box<Result>),
    Skipped {
        because: &'static str,
    },
}

/// Announcement of a device.
#[derive(Debug, Serialize)]
pub(crate) struct Announced {
    version: u32,
    client: Option<String>,
    system: Option<String>,
    address: Option<String>,
    free: Option<u64>,
    hashes: Vec<&'static str>,
    set: Option<String>,
    boots: Option<u32>,
    rolled_back: Option<String>,
    error: Option<String>,
    safe: bool,
    extended: bool,
    answers: bool,
    log: bool,
    hardware: Option<String>,
}

impl From<&Announcement> for Announced {
    fn from(announcement: &Announcement) -> Self {
        Self {
            version: announcement.version,
            client: announcement.client.clone(),
            system: announcement.system.clone(),
            address: announcement.address.map(|address| address.to_string()),
            free: announcement.free,
            hashes: announcement.algorithms.iter().map(|algorithm| algorithm.code()).collect(),
            set: announcement.set.map(|set| set.to_string()),
            boots: announcement.boots,
            rolled_back: announcement.rolled_back.map(|digest| digest.to_string()),
            error: announcement.error.clone(),
            safe: announcement.is_safe,
            extended: announcement.understands_extended(),
            answers: announcement.answers,
            log: announcement.logs,
            hardware: announcement.hardware.map(|address| address.to_string()),
        }
    }
}

/// Result of a file or a set.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Result {
    outcome: &'static str,
    ok: bool,
    confirmed: bool,
    message: String,
    hint: Option<String>,
    reason: Option<String>,
    bytes: Option<u64>,
    sent: Option<u64>,
    hash: Option<String>,
    attempts: Option<u32>,
    seconds: Option<f64>,
    peer: Option<String>,
    advertised: Option<String>,
    why: Option<String>,
    back_online_after: Option<f64>,
    /// True if the device has fetched it at its boot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    at_boot: bool,
    /// For a postponed delivery: time after which the device wants the offer again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<f64>,
    /// For a set: the number of its files. `fetched` is the number of files that the device asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Planned>,
}

/// Plan of a device for a set.
#[derive(Debug, Serialize)]
struct Planned {
    send: Vec<File>,
    keep: Vec<File>,
    delete: Vec<String>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    bytes: u64,
}

impl From<&Plan> for Planned {
    fn from(plan: &Plan) -> Self {
        let files = |files: &[(DevicePath, u64)]| {
            files.iter().map(|(path, bytes)| File { path: path.to_string(), bytes: *bytes }).collect()
        };
        Self {
            send: files(&plan.send),
            keep: files(&plan.keep),
            delete: plan.delete.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Step {
    /// Returns the JSON of an event. `None` for an event that this version does not know.
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Announced(announcement) => Self::Announced(announcement.into()),
            Event::Noticed(finding) => {
                Self::Noticed { file: finding.path.to_string(), message: finding.to_string() }
            }
            Event::Listening { local, advertised } => Self::Listening {
                local: local.to_string(),
                advertised: advertised.to_string(),
                why: advertised.why.to_string(),
            },
            Event::Offered { attempt, offer } => {
                Self::Offered { attempt: *attempt, offer: offer.to_string() }
            }
            Event::Receiving => Self::Receiving,
            Event::AtBoot => Self::AtBoot,
            Event::Connected { peer } => Self::Connected { peer: peer.to_string() },
            Event::Asked { peer, path, files, offset } => {
                Self::Asked { peer: peer.to_string(), path: path.to_string(), files: *files, offset: *offset }
            }
            Event::Progress { peer, sent, total } => {
                Self::Progress { peer: peer.to_string(), sent: *sent, total: *total }
            }
            Event::Dropped { peer, sent, cause } => {
                Self::Dropped { peer: peer.to_string(), sent: *sent, cause: cause.to_string() }
            }
            Event::TurnedAway { count, last, cause } => {
                Self::TurnedAway { count: *count, last: last.to_string(), cause: cause.to_string() }
            }
            Event::WaitingForDevice { limit } => Self::WaitingForDevice { limit: seconds(*limit) },
            Event::Delivered { peer } => Self::Delivered { peer: peer.to_string() },
            Event::Retrying { attempt, of, after, because } => Self::Retrying {
                attempt: *attempt,
                of: *of,
                after: seconds(*after),
                because: because.to_string(),
            },
            Event::Postponed { after, why } => Self::Postponed { after: seconds(*after), why: why.clone() },
            Event::TooLittleMemory { text } => Self::TooLittleMemory { text: text.clone() },
            Event::Hidden { by } => Self::Hidden { by: by.clone() },
            Event::Crashed(crash) => Self::Crashed { text: crash.to_string() },
            Event::Installed => Self::Installed,
            Event::WaitingForBoot => Self::WaitingForBoot,
            _ => return None,
        })
    }

    /// Returns the JSON of a result. `bytes` is the length of what was to be sent, if anything was.
    pub(super) fn result(report: &Report, bytes: Option<u64>, ok: bool) -> Self {
        Self::Result(Box::new(Result { bytes, ..Self::result_of(report, ok) }))
    }

    pub(super) fn set_result(sync: &SyncReport, ok: bool) -> Self {
        Self::Result(Box::new(Result {
            files: Some(sync.files),
            fetched: Some(sync.fetched),
            plan: sync.plan.as_ref().map(Planned::from),
            ..Self::result_of(&sync.report, ok)
        }))
    }

    /// Replaces the hint of a result.
    pub(super) fn hinting(self, hint: Option<String>) -> Self {
        match self {
            Self::Result(result) => Self::Result(Box::new(Result { hint, ..*result })),
            other => other,
        }
    }

    fn result_of(report: &Report, ok: bool) -> Result {
        let reason = match &report.outcome {
            Outcome::Failed { reason, .. } => Some(reason.to_string()),
            _ => None,
        };
        let after = match &report.outcome {
            Outcome::Postponed { after, .. } => Some(seconds(*after)),
            _ => None,
        };
        Result {
            after,
            at_boot: report.at_boot,
            outcome: code(&report.outcome),
            ok,
            confirmed: report.outcome.is_confirmed(),
            message: report.outcome.to_string(),
            hint: report.outcome.hint(),
            reason,
            bytes: Some(report.bytes),
            sent: Some(report.sent),
            hash: report.digest.map(|digest| digest.to_string()),
            attempts: Some(report.attempts),
            seconds: Some(seconds(report.elapsed)),
            peer: report.peer.map(|peer| peer.to_string()),
            advertised: report.advertised.as_ref().map(ToString::to_string),
            why: report.advertised.as_ref().map(|advertised| advertised.why.to_string()),
            back_online_after: report.back_online.as_ref().map(|back| seconds(back.after)),
            ..Result::default()
        }
    }

    pub(super) fn error(error: &SendError, bytes: Option<u64>) -> Self {
        Self::Result(Box::new(Result {
            outcome: "error",
            message: Described::of(error).to_string(),
            hint: error.hint(),
            bytes,
            ..Result::default()
        }))
    }
}

/// Returns the word for an outcome.
pub(crate) fn code(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Installed => "installed",
        Outcome::Unchanged => "unchanged",
        Outcome::Unconfirmed => "unconfirmed",
        Outcome::Silent => "silent",
        Outcome::Failed { .. } => "failed",
        Outcome::Postponed { .. } => "postponed",
        Outcome::NotSubscribed { .. } => "not-subscribed",
        Outcome::NotFetchedAtBoot { .. } => "not-fetched-at-boot",
        Outcome::NobodyConnected { .. } => "nobody-connected",
        Outcome::NoRoom { .. } => "no-room",
        Outcome::TakenByAnother { .. } => "taken-by-another",
        Outcome::Interrupted { .. } => "interrupted",
        Outcome::NotBackOnline { .. } => "not-back-online",
        Outcome::OnTrial => "on-trial",
        Outcome::RolledBack { .. } => "rolled-back",
        Outcome::Planned => "planned",
        Outcome::TakenBack => "taken-back",
        Outcome::NotTakenBack { .. } => "not-taken-back",
        Outcome::NoSet => "no-set",
        Outcome::NoSets { .. } => "no-sets",
        _ => "other",
    }
}

/// Converts a duration to seconds, rounded to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// Counts of the results, over all files and devices.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "event", rename = "summary")]
pub(crate) struct Summary {
    pub(crate) ok: bool,
    pub(crate) devices: usize,
    pub(crate) devices_ok: usize,
    pub(crate) installed: usize,
    pub(crate) unchanged: usize,
    pub(crate) unconfirmed: usize,
    pub(crate) planned: usize,
    pub(crate) taken_back: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Reason why nothing was sent at all.
    pub(crate) error: Option<String>,
}

impl Summary {
    /// Creates the summary of a command that sent nothing, for this reason.
    pub(crate) fn of_nothing(problem: &Problem) -> Self {
        Self { error: Some(Described::of(&*problem.error).to_string()), ..Self::default() }
    }

    /// Counts one result.
    pub(crate) fn add(&mut self, result: std::result::Result<&Report, &SendError>, ok: bool) {
        match result {
            Ok(Report { outcome: Outcome::Planned, .. }) => self.planned += 1,
            Ok(Report { outcome: Outcome::TakenBack, .. }) => self.taken_back += 1,
            Ok(Report { outcome: Outcome::Unconfirmed, .. }) => self.unconfirmed += 1,
            Ok(Report { outcome: Outcome::Unchanged, .. }) if ok => self.unchanged += 1,
            Ok(_) if ok => self.installed += 1,
            _ => self.failed += 1,
        }
    }
}

/// Error with its causes as text, for where the error itself cannot be kept.
#[derive(Debug)]
pub(crate) struct Described(String);

impl Described {
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(text)
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Described {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_to_which_file_on_which_device() {
        let step = Step::of(&Event::Connected { peer: "127.0.0.1:5".parse().unwrap() }).unwrap();
        let line = serde_json::to_string(&Record { device: "LAMP", path: "main.py", step }).unwrap();
        assert_eq!(line, r#"{"device":"LAMP","path":"main.py","event":"connected","peer":"127.0.0.1:5"}"#);
        let step = Step::of(&Event::WaitingForBoot).unwrap();
        let line = serde_json::to_string(&Record { device: "LAMP", path: "main.py", step }).unwrap();
        assert_eq!(line, r#"{"device":"LAMP","path":"main.py","event":"waiting-for-boot"}"#);
    }

    #[test]
    fn a_summary_is_an_event_like_the_others() {
        let line = serde_json::to_string(&Summary { ok: true, devices: 2, ..Summary::default() }).unwrap();
        assert!(line.starts_with(r#"{"event":"summary","ok":true,"devices":2,"#), "{line}");
    }
}
