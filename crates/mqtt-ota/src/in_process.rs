use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::DuplexStream;

type Connecting = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;

/// How to connect to a broker that runs in this process.
#[derive(Clone)]
pub(crate) struct InProcess(Arc<dyn Fn() -> Connecting + Send + Sync>);

impl InProcess {
    pub(crate) fn new<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<DuplexStream>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(connect())))
    }

    /// Asks for a connection; the caller limits the time.
    pub(crate) async fn connect(&self) -> io::Result<DuplexStream> {
        self.0().await
    }
}

/// Two are the same where they ask the same function.
impl PartialEq for InProcess {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for InProcess {}

impl fmt::Display for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in-process")
    }
}
