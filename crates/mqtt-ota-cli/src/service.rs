//! Reports to a service manager, by the protocol of systemd's `Type=notify`.
//!
//! Nothing is reported if `NOTIFY_SOCKET` is not set. A report that fails is logged, and stops nothing.

#[cfg(unix)]
use sd_notify::NotifyState;

/// Environment variable that names the service manager's socket. A child process must not inherit it, as it would speak
/// for the service.
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Reports that the service is ready, with a one-line `status`. May be called again with another status.
#[cfg(unix)]
pub(crate) fn ready(status: &str) {
    // A line break in the name of a folder would begin another message.
    let status = crate::sanitize::for_terminal(status);
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

#[cfg(not(unix))]
pub(crate) fn ready(_status: &str) {}

/// Reports that the service is stopping.
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
