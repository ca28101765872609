use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::DuplexStream;

type Connecting = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;

/// Function that connects to a broker in this process.
#[derive(Clone)]
pub(crate) struct InProcess(Arc<dyn Fn() -> Connecting + Send + Sync>);

impl InProcess {
    pub(crate) fn new<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<DuplexStream>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(connect())))
    }

    /// Asks for a connection. The caller limits the time.
    pub(crate) async fn connect(&self) -> io::Result<DuplexStream> {
        self.0().await
    }
}

/// Two values are equal if they call the same function.
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
