use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How long one thing may take before the test fails. Far above what anything needs on a slow day: it
/// is never waited out, except by a test that fails.
pub const GUARD: Duration = Duration::from_secs(60);

/// Drives the children, the gates and the MQTT clients, so that tests can block.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
    })
}

/// Waits for `future`, and fails the test, naming `what`, when [`GUARD`] has passed.
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_for(GUARD, what, future)
}

/// Waits for `future`, and fails the test, naming `what`, when `limit` has passed.
pub(crate) fn within_for<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    runtime()
        .block_on(async { tokio::time::timeout(limit, future).await })
        .unwrap_or_else(|_| panic!("{what}: nothing within {} s", limit.as_secs()))
}
