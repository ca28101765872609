//! The device's side in Rust: for Linux boards, and for tests.

mod about;
mod announcer;
mod config;
mod device;
mod disk;
mod event;
mod extended;
mod failure;
mod fetch;
mod install;
mod journal;
mod noted;
mod owner;
mod pace;
mod place;
mod plan;
mod recovery;
mod set;
mod single;
mod space;
mod stage;
mod store;
mod stream;
mod supply;
mod sweep;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::config::ReceiverConfig;
use self::device::{Command, Device};
pub use self::event::ReceiverEvent;
use self::install::Root;
use crate::Broker;
use crate::mqtt::{self, ConnectError, Link, LinkConfig, LinkError, Qos};
use crate::wire::DeviceName;

/// Events that wait to be read; the receiver waits for their reader after that.
const BACKLOG: usize = 256;

/// A device: takes offers for `name`, and keeps its files below a folder.
///
/// A file is streamed to a temporary file in the same file system, checked, synced to the disk, renamed
/// over the old one, and the folder is synced. The old file stays whole until then.
///
/// A set of files is put in place all at once, and is on trial then: [`Receiver::start`], and
/// [`Receiver::rebooted`], stand for the device's boot. A set that is not confirmed within its boots is taken
/// back by one of these, and so is whatever a power cut left undone.
pub struct Receiver {
    events: mpsc::Receiver<ReceiverEvent>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Receiver {
    /// Ends what was begun with a set, counts a boot of one that is on trial, then connects, subscribes and
    /// announces the device.
    ///
    /// # Errors
    /// The folder cannot be used, or the broker not be reached.
    ///
    /// Cancellation: the connection is closed. An announcement that was made already stays.
    pub async fn start(
        broker: Broker,
        name: DeviceName,
        root: impl AsRef<Path>,
        config: ReceiverConfig,
    ) -> Result<Self, ReceiverError> {
        let path = root.as_ref().to_owned();
        let opened = Root::open(path.clone()).await;
        let (root, recovery) = opened.map_err(|source| ReceiverError::Root { path, source })?;
        let client_id = config.client_id.clone().unwrap_or_else(|| format!("mqtt-ota-{name}"));
        let link = Link::connect(&broker, LinkConfig { client_id: Some(client_id) }).await?;
        let offer_topic = name.offer_topic();
        let offers = link.subscribe(&[(&offer_topic, Qos::AtLeastOnce)], mqtt::BACKLOG).await?;
        let (events, receiver) = mpsc::channel(BACKLOG);
        let (commands, commanded) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let mut device = Device::new(link, name, root, config, events);
        device.online().await?;
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped => {}
                () = device.run(recovery, offers, commanded) => {}
            }
            device.close().await;
        });
        Ok(Self { events: receiver, commands, task, stop: Some(stop) })
    }

    /// What happens next; None once the receiver has ended. Cancel safe.
    ///
    /// The events must be read: with 256 of them waiting, the receiver waits as well.
    pub async fn next(&mut self) -> Option<ReceiverEvent> {
        self.events.recv().await
    }

    /// Says that what stands for a reboot is done: the device announces itself again, and reports that what
    /// was installed is running. It is a boot of the set that is on trial.
    pub async fn rebooted(&self) {
        let _ = self.commands.send(Command::Rebooted).await;
    }

    /// The set on trial works, and stays; yields whether there was one. Without [`ReceiverConfig::confirms`]
    /// nothing else confirms a set.
    ///
    /// # Errors
    /// The disk refuses, or the receiver has ended.
    ///
    /// Cancellation: the set is confirmed all the same, or not.
    pub async fn confirm(&self) -> io::Result<bool> {
        self.command(Command::Confirm).await
    }

    /// Notes why the set on trial does not work, for the announcement that follows when it is taken back. The
    /// first 200 characters count.
    ///
    /// # Errors
    /// The disk refuses, or the receiver has ended.
    ///
    /// Cancellation: it is noted all the same, or not.
    pub async fn note_error(&self, text: impl Into<String>) -> io::Result<()> {
        let text = text.into();
        self.command(|done| Command::Note(text, done)).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Command,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the receiver has ended");
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Finishes what is under way with the broker and says goodbye. A file that is being received is
    /// abandoned, and the old one stays.
    pub async fn stop(mut self) {
        self.stop.take();
        self.events.close();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a receiver cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The folder.
    #[error("cannot keep a device's files in {}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No connection to the broker.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker does not let the device subscribe or announce itself.
    #[error(transparent)]
    Broker(#[from] LinkError),
}
