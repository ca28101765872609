use std::collections::VecDeque;

use bytes::Bytes;
use mqtt_ota::Digest;
use tokio::time::{Instant, sleep_until};

use super::ledger::FleetDevice;
use super::session::Session;

/// Maximum number of offers that a device notes while it is busy with another, as the companion client does.
const NOTED: usize = 4;

/// Period for which a device is on, from its boot or its waking to its end.
pub(super) struct Awake {
    /// Session at the broker. `None` once the broker is lost.
    pub(super) session: Option<Session>,
    /// Offers that came meanwhile.
    pub(super) noted: VecDeque<Bytes>,
    pub(super) until: Option<Instant>,
    /// Reboot that is due after an installation.
    pub(super) due: Option<Due>,
}

/// Reboot that is due.
pub(super) struct Due {
    pub(super) digest: Digest,
    pub(super) is_set: bool,
    /// State that the boot puts back.
    pub(super) former: Option<Box<FleetDevice>>,
}

/// Reason why an [`Awake`] ends.
pub(super) enum End {
    /// The device boots or connects anew at once.
    Again,
    /// The device goes to sleep.
    Asleep,
    /// The device's power is gone.
    Cut,
}

impl Awake {
    /// Runs `work`, and notes the messages that come meanwhile. If `is_cut` is true, the work is cut off when the time
    /// is up.
    pub(super) async fn during<T>(
        &mut self,
        is_cut: bool,
        heard: impl Fn(),
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let until = self.until.filter(|_| is_cut);
        tokio::pin!(work);
        loop {
            let message = async {
                match &mut self.session {
                    Some(session) => session.message().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                message = message => match message {
                    Ok(message) => {
                        if self.noted.len() < NOTED {
                            self.noted.push_back(message);
                        }
                        heard();
                    }
                    Err(_) => self.session = None,
                },
                () = end_of(until) => return Err(End::Cut),
            }
        }
    }
}

/// Waits for the end of the time that a device is on.
pub(super) async fn end_of(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
