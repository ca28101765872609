use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::line::Line;
use crate::printer::Printer;
use crate::problem::OutputError;

/// Printer of the demo's lines, each with its speaker in front.
#[derive(Clone)]
pub(super) struct Stage {
    printer: Arc<Printer>,
    device_ready: Arc<Notify>,
}

impl Stage {
    pub(super) fn new(printer: Arc<Printer>) -> Self {
        Self { printer, device_ready: Arc::default() }
    }

    pub(super) fn title(&self, title: &str) {
        self.printer.result(&Line::new().strong(title));
        self.printer.result(&Line::new());
    }

    pub(super) fn scene(&self, title: &str) {
        self.printer.result(&Line::new());
        self.printer.result(&Line::new().strong(title));
    }

    pub(super) fn says(&self, who: &str, what: impl fmt::Display) {
        self.line(Line::new().plain(what), who);
    }

    pub(super) fn good(&self, who: &str, word: &str, what: impl fmt::Display) {
        self.line(Line::new().good(word).plain(what), who);
    }

    pub(super) fn line(&self, what: Line, who: &str) {
        self.printer.result(&Line::new().plain("  ").helpful(format!("{who:<8}")).then(&what));
    }

    /// Wakes [`Self::device_is_ready`].
    pub(super) fn device_ready(&self) {
        self.device_ready.notify_one();
    }

    pub(super) async fn device_is_ready(&self) {
        self.device_ready.notified().await;
    }

    /// Prints the commands to try next.
    pub(super) fn curtain(&self) {
        // The program's name is printed as the user typed it, so that the lines below can be copied.
        let program = std::env::args().next().unwrap_or_else(|| "mqtt-ota".to_owned());
        self.scene("For real");
        for (what, command) in [
            ("a broker, where the network has none", "broker"),
            ("a device, where there is no board at hand", "receive --as LAMP --root lamp"),
            (
                "the delivery; with --broker mqtt://HOST for a broker on another machine",
                "send main.py --to LAMP",
            ),
            ("who else is there?", "devices"),
        ] {
            self.printer.result(&Line::new().faint(format!("  # {what}")));
            self.printer.result(&Line::new().plain("  ").helpful(format!("{program} {command}")));
        }
    }

    pub(super) fn finish(&self) -> Result<(), OutputError> {
        self.printer.finish()
    }
}
