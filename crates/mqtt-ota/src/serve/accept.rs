use std::time::Duration;

/// Pause after a client that could not be accepted.
pub(super) const BREATHER: Duration = Duration::from_millis(50);
