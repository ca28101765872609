use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::runtime::{GUARD, runtime};

/// Output of a child on one of its streams so far, and a way to wait for more.
#[derive(Clone, Default)]
pub struct Transcript {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

impl Transcript {
    /// Reads `stream` to its end, in the background.
    pub(crate) fn of(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let transcript = Self::default();
        let ours = transcript.clone();
        runtime().spawn(async move {
            let mut buffer = vec![0; 8192];
            loop {
                let got = stream.read(&mut buffer).await.unwrap_or(0);
                let mut written = ours.shared.written.lock().unwrap();
                written.bytes.extend_from_slice(&buffer[..got]);
                written.ended = got == 0;
                ours.shared.changed.notify_all();
                if written.ended {
                    return;
                }
            }
        });
        transcript
    }

    /// Creates a transcript that nothing will be added to.
    pub(crate) fn empty() -> Self {
        let transcript = Self::default();
        transcript.shared.written.lock().unwrap().ended = true;
        transcript
    }

    /// Returns the whole text so far, with replacements for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.written.lock().unwrap().bytes).into_owned()
    }

    /// Waits for a whole line that contains `part`, and returns the first such line.
    ///
    /// # Panics
    ///
    /// Panics if the stream ends, or the guard time passes, without one.
    pub fn wait_for(&self, part: &str) -> String {
        self.wait_until(&format!("a line with {part:?}"), |text| line_with(text, part))
    }

    /// Waits until `found` returns a value for the text so far.
    ///
    /// # Panics
    ///
    /// Panics if the stream ends, or the guard time passes, first.
    pub fn wait_until<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> T {
        self.search(GUARD, found)
            .unwrap_or_else(|why| panic!("{why} without {what}; so far:\n{}", self.text()))
    }

    /// Waits for a whole line that contains `part`. Returns false if the stream ends, or the guard time passes, without
    /// one.
    pub(crate) fn has_line_before_end(&self, part: &str) -> bool {
        self.has_line_within(GUARD, part)
    }

    /// Like [`Self::has_line_before_end`], with the limit `limit` in place of the guard time.
    pub(crate) fn has_line_within(&self, limit: Duration, part: &str) -> bool {
        self.search(limit, |text| line_with(text, part)).is_ok()
    }

    fn search<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, &'static str> {
        let give_up = Instant::now() + limit;
        let mut written = self.shared.written.lock().unwrap();
        loop {
            if let Some(found) = found(&String::from_utf8_lossy(&written.bytes)) {
                return Ok(found);
            }
            if written.ended {
                return Err("the output ended");
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("time is up");
            }
            written = self.shared.changed.wait_timeout(written, left).unwrap().0;
        }
    }

    /// Waits for the end of the stream, and returns all of it.
    pub fn wait_for_end(&self) -> String {
        let give_up = Instant::now() + GUARD;
        let mut written = self.shared.written.lock().unwrap();
        while !written.ended {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "an output did not end: something that the child started still holds it"
            );
            written = self.shared.changed.wait_timeout(written, left).unwrap().0;
        }
        String::from_utf8_lossy(&written.bytes).into_owned()
    }
}

/// Returns the first line that contains `part`. A line counts once its end has come.
fn line_with(text: &str, part: &str) -> Option<String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().find(|line| line.contains(part)).map(str::to_owned)
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transcript").field(&self.text()).finish()
    }
}
