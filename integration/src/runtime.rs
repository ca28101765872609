use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Time limit of one step of a test. It is far more than anything needs on a slow day, and only a failing test waits
/// for all of it.
pub const GUARD: Duration = Duration::from_secs(60);

/// Returns the runtime that drives the children, the gates and the MQTT clients, so that tests can block.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
    })
}

/// Waits for `future`. Once [`GUARD`] has passed, fails the test with a message that names `what`.
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_for(GUARD, what, future)
}

/// Waits for `future`. Once `limit` has passed, fails the test with a message that names `what`.
pub(crate) fn within_for<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    runtime()
        .block_on(async { tokio::time::timeout(limit, future).await })
        .unwrap_or_else(|_| panic!("{what}: nothing within {} s", limit.as_secs()))
}
