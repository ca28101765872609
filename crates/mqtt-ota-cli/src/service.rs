//! What a service manager is told of a command that runs until it is stopped: systemd's `Type=notify`.
//!
//! Where none asks, as `NOTIFY_SOCKET` is not set, nothing is said; that it cannot be said stops nobody.

#[cfg(unix)]
use sd_notify::NotifyState;

/// Where a service manager wants to be told. Not for what a service starts: that would speak for the service.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// It does what it is for, and `status` says so in a line. May be told again, with another status.
#[cfg(unix)]
pub(crate) fn ready(status: &str) {
    // A line break in the name of a folder would begin another message.
    let status = crate::sanitize::for_terminal(status);
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

#[cfg(not(unix))]
pub(crate) fn ready(_status: &str) {}

/// It has been told to stop, and does.
#[cfg(unix)]
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

#[cfg(not(unix))]
pub(crate) fn stopping() {}

#[cfg(unix)]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how things are");
    }
}
