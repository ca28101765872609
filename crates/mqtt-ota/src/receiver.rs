//! Receiver: the device's side in Rust, for Linux boards and for tests.

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

/// Number of events that may wait to be read. The receiver waits for the reader beyond that.
const BACKLOG: usize = 256;

/// Device that takes offers for its name and keeps its files below a folder.
///
/// A file is streamed to a temporary file in the same file system, checked, synced to the disk and renamed over the
/// old one. Then the folder is synced. The old file stays whole until the rename.
///
/// A set of files is put in place all at once, and is then on trial. [`Receiver::start`] and [`Receiver::rebooted`]
/// stand for the device's boot. A boot takes back a set that was not confirmed within the boots of its trial, and
/// also finishes whatever a power cut left undone.
pub struct Receiver {
    events: mpsc::Receiver<ReceiverEvent>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Receiver {
    /// Boots the files, connects to the broker, subscribes and announces the device.
    ///
    /// The boot finishes what was begun with a set, and counts for a set that is on trial.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be used, or if the broker cannot be reached or refuses the device.
    ///
    /// Cancellation: the connection is closed. An announcement that was already made stays.
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

    /// Returns the next event, or `None` once the receiver has ended. Cancel safe.
    ///
    /// The events must be read. With 256 of them waiting, the receiver waits as well.
    pub async fn next(&mut self) -> Option<ReceiverEvent> {
        self.events.recv().await
    }

    /// Reports that the reboot, or whatever stands for it, is done.
    ///
    /// The device announces itself again and reports that the installed file is running. The call counts as a boot of
    /// the set that is on trial.
    pub async fn rebooted(&self) {
        let _ = self.commands.send(Command::Rebooted).await;
    }

    /// Confirms the set on trial, which then stays. Returns true if there was one.
    ///
    /// Without [`ReceiverConfig::confirms`], nothing else confirms a set.
    ///
    /// # Errors
    /// Returns an error if the disk refuses, or if the receiver has ended.
    ///
    /// Cancellation: the set may be confirmed all the same.
    pub async fn confirm(&self) -> io::Result<bool> {
        self.command(Command::Confirm).await
    }

    /// Notes why the set on trial does not work, for the announcement that follows when it is taken back.
    ///
    /// Only the first 200 characters are kept.
    ///
    /// # Errors
    /// Returns an error if the disk refuses, or if the receiver has ended.
    ///
    /// Cancellation: the text may be noted all the same.
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

    /// Stops the receiver, finishes its exchange with the broker and disconnects.
    ///
    /// A file that is being received is abandoned, and the old one stays.
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

/// Error of [`Receiver::start`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The folder cannot hold a device's files.
    #[error("cannot keep a device's files in {}", path.display())]
    Root {
        /// Path of the folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The broker could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker does not let the device subscribe or announce itself.
    #[error(transparent)]
    Broker(#[from] LinkError),
}
